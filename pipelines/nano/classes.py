#!/usr/bin/env python3
"""Dense classes for scenes that have few labels: clusters of how pixels look, for pretraining the nano model.

usage: classes.py IMAGE OUT_DIR SCENE.npz...

IMAGE is the path of a scene's picture with NAME where its name stands; the npz are as sky-pack --extract npz writes them (field
hr, [bands, rows, columns], blue first).

Masked semantic learning needs pictures in which every pixel belongs to some class; which classes they are does not matter,
since each picture is learned with other names for them. Here a class is a cluster (k-means, k-means++ start, fixed seed)
over all scenes together of one of three things: the logarithms of green, red and near infrared averaged over 5 x 5 pixels; their means and
their spreads over 9 x 9; all of that. Each is cut into 2, 3 and 4 clusters, smoothed by the most frequent one of 7 x 7,
which makes nine label maps of a scene. OUT_DIR/lab/NAME-MAP.png gets them, with values of its own for every map, so that no two
maps share a class, and OUT_DIR/img/NAME-MAP.tif a link to the scene's picture. Needs numpy.
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
    """[bands, rows, columns], blue first -> three of [pixels, features]"""
    x = np.log(np.maximum(x[1:4].astype(np.float64), 1))
    near, mean = box_mean(x, 2), box_mean(x, 4)
    spread = np.sqrt(np.maximum(box_mean(x * x, 4) - mean * mean, 0))
    kinds = [near], [mean, spread], [near, mean, spread]
    return [np.concatenate(k).reshape(3 * len(k), -1).T for k in kinds]


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
    votes = np.stack([box_mean((labels == i).astype(np.float64)[None], 3)[0] for i in range(k)])
    return votes.argmax(0)


def write_png(path, values):
    """8-bit grey."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    rows = b"".join(b"\0" + row.tobytes() for row in values.astype(np.uint8))
    head = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 8, 0, 0, 0, 0)
    with open(path, "wb") as f:
        f.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b""))


def label_maps(pictures):
    """Per map: the labels of every picture, [rows, columns] from 0, and how many clusters there are."""
    each = [features(p) for p in pictures]
    for kind in range(len(each[0])):
        every = np.concatenate([f[kind] for f in each])
        mean, std = every.mean(0), every.std(0) + 1e-9
        for k in (2, 3, 4):
            centres = k_means(((every - mean) / std)[::7], k, np.random.default_rng([kind, k]))
            flat = [distances((f[kind] - mean) / std, centres).argmin(1) for f in each]
            yield [smooth(a.reshape(p.shape[1:]), k) for a, p in zip(flat, pictures)], k


def main():
    images, out, scenes = sys.argv[1], sys.argv[2], sys.argv[3:]
    names = [os.path.splitext(os.path.basename(s))[0] for s in scenes]
    for folder in "lab", "img":
        os.makedirs(os.path.join(out, folder), exist_ok=True)
    first = 1
    for number, (maps, k) in enumerate(label_maps([np.load(s)["hr"] for s in scenes])):
        for name, labels in zip(names, maps):
            write_png(os.path.join(out, "lab", f"{name}-{number:02d}.png"), labels + first)
            link = os.path.join(out, "img", f"{name}-{number:02d}.tif")
            if not os.path.lexists(link):
                os.symlink(os.path.abspath(images.replace("NAME", name)), link)
        first += k


main()
