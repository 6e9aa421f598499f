#!/usr/bin/env python3
"""Dense classes for scenes that have few labels: clusters of how pixels look, for pretraining the nano model.

usage: classes.py K OUT_DIR SCENE.npz...        (npz as sky-pack --extract npz writes them: field hr, [bands, rows, columns])

Masked semantic learning needs pictures in which every pixel belongs to some class; which classes they are does not matter,
since each picture is learned with other names for them. Here a class is a cluster (k-means, k-means++ start, fixed seed) of the
logarithms of the bands, their means over 7 x 7 pixels and their spread over 7 x 7, found over all scenes together; the map
is then smoothed by the most frequent class of 5 x 5. Writes OUT_DIR/NAME.png with values 1..K. Needs numpy.
"""
import os
import struct
import sys
import zlib

import numpy as np


def box_mean(x, r):
    """Mean over (2r+1)^2 pixels of [bands, rows, columns], borders repeated."""
    p = np.pad(x, ((0, 0), (r + 1, r), (r + 1, r)), mode="edge").cumsum(1).cumsum(2)
    n = 2 * r + 1
    return (p[:, n:, n:] - p[:, :-n, n:] - p[:, n:, :-n] + p[:, :-n, :-n]) / (n * n)


def features(x):
    """[bands, rows, columns] -> [pixels, 3 * bands]"""
    x = np.log(np.maximum(x.astype(np.float64), 1))
    mean = box_mean(x, 3)
    spread = np.sqrt(np.maximum(box_mean(x * x, 3) - mean * mean, 0))
    return np.concatenate([x, mean, spread]).reshape(3 * len(x), -1).T


def distances(x, centres):
    return (x * x).sum(1)[:, None] - 2 * x @ centres.T + (centres * centres).sum(1)[None]


def k_means(x, k, rng, rounds=40):
    centres = x[rng.integers(len(x))][None]
    while len(centres) < k:
        d = np.maximum(distances(x, centres).min(1), 0)
        centres = np.concatenate([centres, x[rng.choice(len(x), p=d / d.sum())][None]])
    for _ in range(rounds):
        nearest = distances(x, centres).argmin(1)
        centres = np.stack([x[nearest == i].mean(0) if (nearest == i).any() else centres[i] for i in range(k)])
    return centres


def smooth(labels, k):
    votes = np.stack([box_mean((labels == i).astype(np.float64)[None], 2)[0] for i in range(k)])
    return votes.argmax(0)


def write_png(path, values):
    """8-bit grey."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    rows = b"".join(b"\0" + row.tobytes() for row in values.astype(np.uint8))
    head = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 8, 0, 0, 0, 0)
    with open(path, "wb") as f:
        f.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b""))


def main():
    k, out, scenes = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
    pictures = [np.load(s)["hr"] for s in scenes]
    feats = [features(p) for p in pictures]
    every = np.concatenate(feats)
    mean, std = every.mean(0), every.std(0) + 1e-9
    centres = k_means(((every - mean) / std)[::7], k, np.random.default_rng(k))
    os.makedirs(out, exist_ok=True)
    for scene, picture, f in zip(scenes, pictures, feats):
        labels = distances((f - mean) / std, centres).argmin(1).reshape(picture.shape[1:])
        write_png(os.path.join(out, os.path.splitext(os.path.basename(scene))[0] + ".png"), smooth(labels, k) + 1)


main()
