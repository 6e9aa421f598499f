#!/usr/bin/env python3
"""Trees laid out as the downloads of the fine-tuning sets, filled with real pixels of other places (examples/toulouse) and
made-up labels, so that the recipes can be tried without the downloads.

usage: make_recipes.py NPZ_FOLDER TIF_FOLDER OUT
The folders are what `sky-pack --extract npz` and `--extract tif` make of tiles of 256x256 pixels."""
import array
import gzip
import json
import os
import shutil
import struct
import sys
import zipfile
import zlib

npz, tif, out = sys.argv[1:4]


def load(path, member):
    with zipfile.ZipFile(path) as z:
        raw = z.read(member + ".npy")
    n = struct.unpack("<H", raw[8:10])[0]
    head = eval(raw[10:10 + n].decode())
    a = array.array({"<f4": "f", "|u1": "B"}[head["descr"]])
    a.frombytes(raw[10 + n:])
    return a, head["shape"]


def save(path, **members):
    """name=(descr, shape, array)"""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with zipfile.ZipFile(path, "w") as z:
        for name, (descr, shape, values) in members.items():
            head = "{'descr': '%s', 'fortran_order': False, 'shape': %r, }" % (descr, shape)
            head += " " * (-(len(head) + 11) % 64) + "\n"
            z.writestr(name + ".npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode() + values.tobytes())


def png(path, width, height, channels, rows):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as f:
        f.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, {1: 0, 3: 2}[channels], 0, 0, 0)) +
                chunk(b"IDAT", zlib.compress(b"".join(b"\0" + r for r in rows))) + chunk(b"IEND", b""))


def tiff(path, width, height, data):
    """Eight bits, one band, one strip."""
    tags = [(256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 8), (277, 3, 1), (278, 4, height), (279, 4, len(data))]
    at = 8 + len(data) + len(data) % 2
    with open(path, "wb") as f:
        f.write(struct.pack("<2sHI", b"II", 42, at) + data + b"\0" * (len(data) % 2) + struct.pack("<H", len(tags)) +
                b"".join(struct.pack("<HHII", tag, kind, 1, v) for tag, kind, v in tags) + struct.pack("<I", 0))


names = sorted(f[:-4] for f in os.listdir(npz) if f.endswith(".npz"))
tiles = [load(os.path.join(npz, n + ".npz"), "hr")[0] for n in names]
P = 256 * 256


def band(t, b):
    return tiles[t][b * P:(b + 1) * P]


def ten(t, scale):
    """Ten bands from the four that there are, as whole numbers."""
    v = array.array("h")
    for b in (0, 1, 2, 2, 2, 3, 3, 3, 3, 3):
        v.extend(int(x * scale) for x in band(t, b))
    return v


def bright(t, classes):
    """Classes by brightness: something a network could learn."""
    g = band(t, 1)
    cut = sorted(g)[::P // classes + 1][1:]
    return array.array("B", [sum(x >= c for c in cut) for x in g])


# Atlantic: GeoTIFF with other spellings per split.
for i, n in enumerate(names):
    split, image, label = [("Training", "image", "label"), ("Validation", "images", "masks"), ("Test", "image", "mask")][0 if i < 8 else 1 if i < 10 else 2]
    d = os.path.join(out, "atlantic", "ATLANTIC FOREST", split)
    os.makedirs(os.path.join(d, image), exist_ok=True)
    os.makedirs(os.path.join(d, label), exist_ok=True)
    shutil.copy(os.path.join(tif, n + ".hr.tif"), os.path.join(d, image, n + ".tif"))
    tiff(os.path.join(d, label, n + ".tif"), 256, 256, bright(i, 2).tobytes())

# SOS: PNG of three equal channels, masks with smoothed edges, one of them RGB; other sensors and rubbish beside them.
for i in range(6):
    g = band(i, 3)
    top = max(g)
    grey = bytes(int(255 * x / top) for x in g)
    split = "train" if i < 4 else "val"
    png(os.path.join(out, "sos", "images", split, "sentinel_%d.png" % i), 256, 256, 3, [bytes(v for x in grey[y * 256:(y + 1) * 256] for v in (x, x, x)) for y in range(256)])
    soft = bytes(min(255, 2 * x) if x > 50 else 0 for x in grey)
    png(os.path.join(out, "sos", "masks", split, "sentinel_%d.png" % i), 256, 256, 1, [soft[y * 256:(y + 1) * 256] for y in range(256)])
    png(os.path.join(out, "sos", "images", split, "palsar_%d.png" % i), 8, 8, 3, [bytes(24)] * 8)

# C2S-MS floods as published: one file per band, beside products of the other sensor and further files.
for i in range(2):
    full = ten(i, 1)
    d = os.path.join(out, "c2smsfloods", "chips", "0e5b1f34-5d1e", "s2", "S2A_MSIL1C_20160101_%05d-00000" % (512 * i))
    os.makedirs(d, exist_ok=True)
    for k, name in enumerate(["B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B11", "B12", "B1", "B9"]):
        tiff(os.path.join(d, name + ".tif"), 256, 256, bytes(min(255, x // 8) for x in full[k % 10 * P:(k % 10 + 1) * P]))
    tiff(os.path.join(d, "LabelWater.tif"), 256, 256, bytes(255 * x for x in bright(i, 2)))
    tiff(os.path.join(d, "LabelCloud.tif"), 256, 256, bytes(P))
    d = d.replace("/s2/S2A", "/s1/S1A")
    os.makedirs(d, exist_ok=True)
    tiff(os.path.join(d, "VV.tif"), 256, 256, bytes(P))
    tiff(os.path.join(d, "LabelWater.tif"), 256, 256, bytes(P))

# The crops as they are published: compressed records of tf.train.Example, whose numbers say where they stand; two dates, padding.
def varint(v):
    out = b""
    while v > 127:
        out += bytes([v & 127 | 128])
        v >>= 7
    return out + bytes([v])


def member(field, b):
    return varint(field << 3 | 2) + varint(len(b)) + b


def feature(name, kind, b):
    return member(1, member(1, name.encode()) + member(2, member(kind, b)))


def tensor(name, shape, numbers):
    return feature(name + "/data", 1, member(1, array.array("q", numbers).tobytes())) + feature(name + "/shape", 3, member(1, b"".join(map(varint, shape))))


for year, tile, doy in ((16, "11", [5, 366]), (17, "12", [40, 41]), (17, "13", [7, 8])):
    d = os.path.join(out, "data_IJGI18", "datasets", "full", "240")
    where = lambda side, bands: [1000 * t + 100 * b + (y * side + x) % 97 for t in range(2) for y in range(side) for x in range(side) for b in range(bands)] + [-1] * (side * side * bands)
    crops = [(0, 1, 2, 3, 5, 6, 8, 26)[x // 3] for y in range(24) for x in range(24)] * 3
    record = member(1, tensor("x10", (3, 24, 24, 4), where(24, 4)) + tensor("x20", (3, 12, 12, 6), where(12, 6)) + tensor("x60", (3, 4, 4, 3), where(4, 3)) +
                    tensor("labels", (3, 24, 24), crops) + tensor("dates/doy", (3,), doy + [-1]) + tensor("dates/year", (3,), [2017] * 3))
    for folder in ("tileids", "data16", "data17"):
        os.makedirs(os.path.join(d, folder), exist_ok=True)
    with gzip.open(os.path.join(d, "data%d" % year, tile + ".tfrecord.gz"), "wb") as f:
        f.write(struct.pack("<QI", len(record), 0) + record + bytes(4))
    with open(os.path.join(d, "tileids", ("test" if tile == "13" else "train") + "_fold0.tileids"), "a") as f:
        f.write(tile + "\n")

# The original's fine-tuning lists: paths below rs_datasets, .npz files.
root = os.path.join(out, "rs_datasets")
lists = {}


def listed(name, split, i):
    paths = {"s2_path": "%s/images/%s_%d.npz" % (name, split, i), "target_path": "%s/idx_labels/%s_%d.npz" % (name, split, i)}
    lists.setdefault((name, split), []).append(paths)
    return os.path.join(root, paths["s2_path"]), os.path.join(root, paths["target_path"])


for i in range(4):
    split = "train" if i < 3 else "val"
    a, b = listed("c2smsfloods", split, i)
    save(a, arr_0=("<i2", (10, 256, 256), ten(i, 4)))
    save(b, arr_0=("|u1", (256, 256), bright(i, 4)))
    a, b = listed("cabuar", split, i)
    save(a, image=("<i2", (10, 256, 256), ten(i, 4)))
    save(b, image=("|u1", (256, 256), bright(i, 2)))
for i in range(6):
    split = "train" if i < 4 else "val"
    a, b = listed("germany", split, i)
    full, dates = ten(i, 4), 40 if i % 2 else 20
    v = array.array("h")
    for t in range(dates):
        for c in range(10):
            for y in range(24):
                at = c * P + (y + 3 * t) * 256 + 5 * t
                v.extend(full[at:at + 24])
    save(a, image=("<i2", (dates, 10, 24, 24), v))
    labels = bright(i, 18)
    save(b, image=("|u1", (24, 24), array.array("B", [labels[y * 256 + x] for y in range(24) for x in range(24)])))
for (name, split), records in lists.items():
    with open(os.path.join(root, name, "%s_%s.json" % (name, split)), "w") as f:
        json.dump(records, f)
