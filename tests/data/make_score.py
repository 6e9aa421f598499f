#!/usr/bin/env python3
"""Write tests/data/score/: what scikit-learn says about maps that tests/unit/score.c makes again.

sklearn.json: cases with the recipe of two maps and the scores; undefined ones are null. Maps: the generator x' = x *
6364136223846793005 + 1442695040888963407 (mod 2^64) from the seed, draw(n) = (x >> 33) % n after each step; per pixel in
row-major order: block = the label drawn for each 8x8 cell on first touch (draw(classes), or 255 when draw(20) == 0 and the
case ignores), then the prediction: draw(100) < noise ? draw(predicted) : label (0 for 255).
prep_1shot.npz: the maps and figures of the golden file, when GOLDEN is given.
usage: make_score.py DIRECTORY [GOLDEN]   (scikit-learn 1.9, NumPy 2.4)"""
import json
import struct
import sys

import numpy as np
from sklearn import metrics

MASK = 2**64 - 1


class Draw:
    def __init__(self, seed):
        self.x = seed

    def __call__(self, n):
        self.x = (self.x * 6364136223846793005 + 1442695040888963407) & MASK
        return (self.x >> 33) % n


def maps(c):
    d, cells = Draw(c["seed"]), {}
    label, pred = [], []
    for y in range(c["height"]):
        for x in range(c["width"]):
            k = (y // 8, x // 8)
            if k not in cells:
                v = d(c["classes"])
                cells[k] = 255 if c["ignore"] and d(20) == 0 else v
            v = cells[k]
            label.append(v)
            pred.append(d(c["predicted"]) if d(100) < c["noise"] else 0 if v == 255 else v)
    return np.array(label), np.array(pred)


def scores(c):
    label, pred = maps(c)
    keep = label != 255
    label, pred = label[keep], pred[keep]
    values = list(range(c["table"]))
    m = metrics.confusion_matrix(label, pred, labels=values)
    p, r, f, support = metrics.precision_recall_fscore_support(label, pred, labels=values, zero_division=np.nan)
    j = metrics.jaccard_score(label, pred, labels=values, average=None, zero_division=0)
    seen = m.sum(0) + m.sum(1) > 0
    j = np.where(seen, j, np.nan)
    null = lambda a: [None if np.isnan(x) else float(x) for x in a]
    return dict(c, matrix=m.tolist(), iou=null(j), dice=null(f), precision=null(p), recall=null(r),
                accuracy=float(metrics.accuracy_score(label, pred)), weighted_iou=float(np.sum(j[seen] * support[seen]) / support.sum()),
                mean=[float(np.nanmean(a)) for a in (j, f, p, r)])


out = sys.argv[1].rstrip("/") + "/"
cases = [
    dict(name="two classes", width=40, height=30, classes=2, predicted=2, table=2, noise=30, ignore=0, seed=1),
    dict(name="eighteen, ignored pixels", width=131, height=97, classes=18, predicted=18, table=18, noise=60, ignore=1, seed=2),
    dict(name="pure noise", width=100, height=100, classes=18, predicted=18, table=18, noise=100, ignore=0, seed=3),
    dict(name="one never predicted, two absent", width=64, height=64, classes=6, predicted=5, table=8, noise=100, ignore=1, seed=4),
    dict(name="one predicted that no label has", width=63, height=65, classes=4, predicted=5, table=5, noise=40, ignore=0, seed=5),
    dict(name="sixty-four", width=200, height=150, classes=64, predicted=64, table=64, noise=20, ignore=1, seed=6),
    dict(name="perfect", width=33, height=17, classes=5, predicted=5, table=5, noise=0, ignore=1, seed=7),
]
json.dump([scores(c) for c in cases], open(out + "sklearn.json", "w"), separators=(",", ":"))

if len(sys.argv) > 2:
    with open(sys.argv[2], "rb") as f:
        n = struct.unpack("<Q", f.read(8))[0]
        head, data = json.loads(f.read(n)), f.read()
    types = {"U8": "u1", "I64": "<i8", "F64": "<f8"}
    take = lambda k: np.frombuffer(data[slice(*head[k]["data_offsets"])], types[head[k]["dtype"]]).reshape(head[k]["shape"])
    np.savez_compressed(out + "prep_1shot.npz", label=take("query.mask"), pred_512=take("pred.query_512"), pred_256=take("pred.query_256"),
                        confusion=take("score.confusion"), iou=take("score.iou"), acc=take("score.acc"))
