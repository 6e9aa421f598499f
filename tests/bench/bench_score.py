#!/usr/bin/env python3
"""sky-score's confusion matrix beside numpy's bincount, on the same maps in the same run.

usage: bench_score.py BENCH_SCORE   (the program build/tests/bench_score). CPU time of one thread, best of seven, the two
taking turns; prints MPix/s of both and the ratio. Without numpy: says so and leaves with 0."""
import subprocess
import sys
import tempfile
import time

try:
    import numpy as np
except ImportError:
    print("bench_score: skipped, numpy is not installed")
    sys.exit(0)


def bincount(label, pred, classes=18):
    keep = label != 255
    return np.bincount(label[keep].astype(np.int64) * classes + pred[keep], minlength=classes * classes)


with tempfile.TemporaryDirectory() as d:
    first = subprocess.run([sys.argv[1], d], capture_output=True, text=True, check=True).stdout.split()
    ours = dict(zip(first[::2], map(float, first[1::2])))
    numpy = dict.fromkeys(ours, 0.0)
    for turn in range(7):
        for name in ours:
            label, pred = (np.fromfile("%s/%s.%s" % (d, name, w), np.uint8) for w in ("label", "pred"))
            t = time.thread_time()
            bincount(label, pred)
            numpy[name] = max(numpy[name], label.size / (time.thread_time() - t) / 1e6)
        if turn % 3 == 2:
            again = subprocess.run([sys.argv[1]], capture_output=True, text=True, check=True).stdout.split()
            ours = {k: max(v, float(again[again.index(k) + 1])) for k, v in ours.items()}
    print("4000 x 4000, 18 classes     sky-score       numpy   ratio")
    for name in ours:
        print("%-22s %8.0f MPix/s %4.0f MPix/s %6.1f" % (name, ours[name], numpy[name], ours[name] / numpy[name]))
