#!/usr/bin/env python3
"""Write tests/data/npy/: arrays as NumPy writes them, for tests/unit/npy.c.

Numbers count 0, 1, 2, ... in row-major order modulo 100 (minus 50 where signed, halved where floating), whatever the order
in the file. usage: make_npy.py DIRECTORY"""
import io
import sys
import zipfile

import numpy as np

out = sys.argv[1].rstrip("/") + "/"


def values(dtype, shape):
    v = np.arange(np.prod(shape, dtype=int)) % 100
    dtype = np.dtype(dtype)
    if dtype.kind == "i":
        v = v - 50
    if dtype.kind == "f":
        v = v / 2 - 12.5
    if dtype.kind == "b":
        v = v % 3 == 0
    return v.astype(dtype).reshape(shape)


for t in "b1 u1 i1 u2 i2 u4 i4 u8 i8 f2 f4 f8".split():
    np.save(out + t + ".npy", values(t, (3, 5)))
for t in "i2 f4 f8 u8".split():
    np.save(out + "big_" + t + ".npy", values(t, (3, 5)).astype(">" + t))
np.save(out + "fortran.npy", np.asfortranarray(values("i4", (3, 4, 5))))
np.save(out + "fortran_big.npy", np.asfortranarray(values("i2", (2, 3, 4, 5)).astype(">i2")))
np.save(out + "scalar.npy", np.float32(7.5))
np.save(out + "empty.npy", np.zeros((4, 0, 3), "f4"))
np.save(out + "one.npy", values("i2", (7,)))
for version in ((1, 0), (2, 0), (3, 0)):
    with open(out + "v%d.npy" % version[0], "wb") as f:
        np.lib.format.write_array(f, values("u2", (3, 5)), version=version)
text = ["", "a", "Zürich", "東京", "\U0001f6f0 x"]
np.save(out + "text.npy", np.array(text))
np.save(out + "text_big.npy", np.array(text).astype(np.dtype("U8").newbyteorder(">")))
np.save(out + "bytes.npy", np.array([b"20200501", b"", b"caf\xc3\xa9"]))
np.save(out + "bytes_bad.npy", np.array([b"ok", b"caf\xe9"]))
days = np.array(["1970-01-01", "2000-02-29", "1969-12-31", "NaT", "2026-11-23"], "M8[D]")
np.save(out + "days.npy", days)
np.save(out + "seconds.npy", np.array(["2020-05-01T10:20:30", "1969-12-31T23:59:59"], "M8[s]"))
np.save(out + "millis.npy", np.array(["2020-05-01T10:20:30.250", "1969-12-31T23:59:59.999"], "M8[ms]"))
np.save(out + "months.npy", np.array(["2020-05", "1969-12"], "M8[M]"))
np.save(out + "far.npy", np.array([10**9], "M8[D]"))
# refused
np.save(out + "object.npy", np.array([{}, 1], object), allow_pickle=True)
np.save(out + "complex.npy", values("u1", (3,)).astype("c8"))
np.save(out + "struct.npy", np.zeros(2, [("a", "f4"), ("b", "i2")]))
np.save(out + "nine.npy", np.zeros((1,) * 9, "u1"))
arrays = {"image": values("i2", (2, 10, 4, 4)), "date": np.array(["20200501", "20200611"]), "größe": values("f4", (3,))}
np.savez(out + "stored.npz", **arrays)
np.savez_compressed(out + "deflated.npz", **arrays)
with zipfile.ZipFile(out + "mixed.npz", "w") as z:  # a member that is no array, and a long header
    z.writestr("README", "not an array")
    b = io.BytesIO()
    np.save(b, values("u1", (6,)))
    raw = b.getvalue()
    head = raw[10:128].rstrip(b" \n") + b" " * 5000 + b"\n"
    z.writestr("long.npy", b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head + raw[128:], zipfile.ZIP_DEFLATED)
good = open(out + "deflated.npz", "rb").read()
open(out + "cut.npz", "wb").write(good[:-40])
at = good.index(b"image.npy") + 9
bad = bytearray(good)
bad[at + 60] ^= 0x10  # inside the packed data
open(out + "flipped.npz", "wb").write(bad)
with zipfile.ZipFile(out + "twice.npz", "w") as z:
    z.writestr("a.npy", raw)
    z.writestr("a.npy", raw)
