#!/usr/bin/env python3
"""From the download of the crops in Germany (MTLCC, data_IJGI18.zip, unpacked) to what formats/datasets/germany.yaml reads.

usage: germany-npz.py .../data_IJGI18/datasets/full/240 OUT

The download holds data16/ID.tfrecord.gz and data17/ID.tfrecord.gz, a tile each, and tileids/*.tileids. Written are
OUT/germany/images/YEAR_ID.npz (int16 [dates, 10, 24, 24] as stored, and the dates), OUT/germany/idx_labels/YEAR_ID.npz,
and the lists germany_train.json and germany_val.json of the first fold's tiles for training and test. Bands of 20 m are
repeated twice; how the original brought them to 10 m is not published. The layout is known from two published readers;
no record of the real download was at hand when this was written. Needs Python alone."""
import array
import datetime
import gzip
import json
import os
import struct
import sys
import zipfile

SIDE = 24
# In the labels of the download, in the order of germany.yaml's classes 1 to 17; every other value is unknown.
CROPS = (1, 2, 3, 5, 8, 9, 12, 13, 15, 16, 17, 19, 22, 23, 24, 25, 26)
# Where a band lies: x10 holds B4 B3 B2 B8, x20 holds B5 B6 B7 B8A B11 B12.
BANDS = (("x10", 2), ("x10", 1), ("x10", 0), ("x20", 0), ("x20", 1), ("x20", 2), ("x10", 3), ("x20", 3), ("x20", 4), ("x20", 5))


def records(path):
    """Each: length u64, its check sum, that many bytes, their check sum. gzip has check sums of its own."""
    with gzip.open(path, "rb") as f:
        while head := f.read(12):
            n = struct.unpack("<Q", head[:8])[0]
            data = f.read(n + 4)
            if len(head) < 12 or len(data) < n + 4:
                sys.exit("%s: ends inside a record" % path)
            yield data[:n]


def varint(b, at):
    v = shift = 0
    while True:
        v |= (b[at] & 127) << shift
        shift += 7
        at += 1
        if b[at - 1] < 128:
            return v, at


def members(b):
    """Fields of a protocol buffers message: number, value."""
    at = 0
    while at < len(b):
        key, at = varint(b, at)
        if key & 7 == 2:
            n, at = varint(b, at)
            yield key >> 3, b[at:at + n]
            at += n
        else: # only numbers otherwise
            v, at = varint(b, at)
            yield key >> 3, v


def example(b):
    """tf.train.Example: {name: bytes of the first element, or list of integers}."""
    features = {}
    for _, entries in members(b):
        for _, entry in members(entries):
            pair = dict(members(entry))
            for kind, values in members(pair[2]):
                if kind == 1: # bytes
                    features[pair[1].decode()] = dict(members(values))[1]
                elif kind == 3: # integers, packed or not
                    out = []
                    for _, v in members(values):
                        at = 0
                        while isinstance(v, bytes) and at < len(v):
                            x, at = varint(v, at)
                            out.append(x)
                        if isinstance(v, int):
                            out.append(v)
                    features[pair[1].decode()] = out
    return features


def values(f, name, path):
    a = array.array("q")
    a.frombytes(f[name + "/data"])
    if sys.byteorder == "big":
        a.byteswap()
    shape = f[name + "/shape"]
    n = 1
    for x in shape:
        n *= x
    if n != len(a):
        sys.exit("%s: %s: %d values for the shape %s" % (path, name, len(a), shape))
    return a, shape


def save(path, **arrays):
    """name=(descr, shape, bytes)"""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as z:
        for name, (descr, shape, data) in arrays.items():
            head = "{'descr': '%s', 'fortran_order': False, 'shape': %r, }" % (descr, shape)
            head += " " * (-(len(head) + 11) % 64) + "\n"
            z.writestr(name + ".npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode() + data)


def little(typecode, items):
    a = array.array(typecode, items)
    if sys.byteorder == "big":
        a.byteswap()
    return a.tobytes()


def convert(record, year, path, image, label):
    f = example(record)
    x = {name: values(f, name, path) for name in ("x10", "x20", "labels", "dates/doy")}
    (x10, s10), (x20, s20), (labels, _), (doy, _) = (x[n] for n in ("x10", "x20", "labels", "dates/doy"))
    if s10[1:] != [SIDE, SIDE, 4] or s20[1:] != [SIDE // 2, SIDE // 2, 6] or s10[0] != s20[0] or s10[0] != len(doy):
        sys.exit("%s: unexpected shapes: x10 %s, x20 %s, %d days" % (path, s10, s20, len(doy)))
    pixels = SIDE * SIDE
    there = [t for t in range(s10[0]) if doy[t] > 0 and max(x10[t * pixels * 4:(t + 1) * pixels * 4]) >= 0] # the rest is padding
    out = []
    for t in there:
        for name, band in BANDS:
            if name == "x10":
                out += x10[t * pixels * 4 + band:(t + 1) * pixels * 4:4]
                continue
            coarse = x20[t * pixels // 4 * 6 + band:(t + 1) * pixels // 4 * 6:6]
            out += (coarse[y // 2 * (SIDE // 2) + c // 2] for y in range(SIDE) for c in range(SIDE))
    days = [datetime.date(year, 1, 1) + datetime.timedelta(doy[t] - 1) for t in there]
    class_of = {v: i + 1 for i, v in enumerate(CROPS)}
    save(image, image=("<i2", (len(there), 10, SIDE, SIDE), little("h", out)),
         date=("<i8", (len(there),), little("q", [d.year * 10000 + d.month * 100 + d.day for d in days])))
    save(label, image=("|u1", (SIDE, SIDE), bytes(class_of.get(v, 0) for v in labels[:pixels])))


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    source, out = sys.argv[1:]
    for split, ids in (("train", "train_fold0"), ("val", "test_fold0")):
        listed = []
        with open(os.path.join(source, "tileids", ids + ".tileids")) as f:
            tiles = f.read().split()
        for year in (2016, 2017): # the year that the records hold is wrong
            for tile in tiles:
                path = os.path.join(source, "data%d" % (year % 100), tile + ".tfrecord.gz")
                if not os.path.exists(path):
                    continue
                for i, record in enumerate(records(path)):
                    name = "germany/%%s/%d_%s%s.npz" % (year, tile, "_%d" % i if i else "")
                    pair = {"s2_path": name % "images", "target_path": name % "idx_labels"}
                    convert(record, year, path, os.path.join(out, pair["s2_path"]), os.path.join(out, pair["target_path"]))
                    listed.append(pair)
        if not listed:
            sys.exit("%s: no record of the %d tiles in %s.tileids" % (source, len(tiles), ids))
        with open(os.path.join(out, "germany", "germany_%s.json" % split), "w") as f:
            json.dump(listed, f)


main()
