#!/usr/bin/env python3
"""Write tests/data/pth/: checkpoints as PyTorch writes them, and expected.safetensors with the values they all hold.

usage: make_pth.py DIRECTORY   (PyTorch 2.x; the committed files are from 2.15 and NumPy 2.4)"""
import argparse
import collections
import json
import os
import struct
import sys
import zipfile

import numpy as np
import torch

out = sys.argv[1].rstrip("/") + "/"


def state():
    base = torch.arange(48, dtype=torch.float32).reshape(6, 8) / 4 - 3
    s = collections.OrderedDict()
    s["a.weight"] = torch.arange(24, dtype=torch.float32).reshape(4, 6) * 0.37 - 2
    s["a.bias"] = (torch.arange(6) * 1.7 - 3.3).bfloat16()
    s["attn.in_proj_weight"] = torch.arange(27, dtype=torch.float32).reshape(9, 3)
    s["attn.in_proj_bias"] = -torch.arange(9, dtype=torch.float32)
    s["half"] = (torch.arange(24) * 0.3 - 1).half().reshape(2, 3, 4)
    s["half.special"] = torch.tensor([float("inf"), -float("inf"), 6e-8, 65504.0, -0.0]).half()
    s["double"] = torch.arange(5, dtype=torch.float64) / 3
    s["i64"] = torch.tensor([-(2**62), -1, 0, 7])
    s["i32"] = torch.tensor([-5, 2**30], dtype=torch.int32)
    s["i16"] = torch.tensor([-5, 300], dtype=torch.int16)
    s["i8"] = torch.tensor([-5, 100], dtype=torch.int8)
    s["u8"] = torch.tensor([0, 255], dtype=torch.uint8)
    s["bool"] = torch.tensor([True, False, True])
    s["scalar"] = torch.tensor(2.5)
    s["empty"] = torch.zeros(0, 3)
    s["transposed"] = base.t()
    s["permuted"] = torch.arange(24, dtype=torch.int16).reshape(2, 3, 4).permute(2, 0, 1)
    s["row"] = base[2]
    s["column"] = base[:, 5]
    s["steps"] = base[1::2, 1:7:2]
    s["expanded"] = torch.tensor([5.0, 6.0]).reshape(2, 1).expand(2, 3)
    s["bf16.transposed"] = (base.bfloat16() * 3).t()
    s["blk.relative_position_index"] = torch.arange(4)
    s["blk.relative_coords_table"] = torch.zeros(1, 3, 3, 2)
    s["bn.num_batches_tracked"] = torch.tensor(3)
    return s


NAMES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16", torch.float64: "F64", torch.int64: "I64",
         torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL"}


def expected(s):
    head, data = {"__metadata__": {"made": "by make_pth.py"}}, b""
    for k, v in s.items():
        if k.startswith("blk.") or k.endswith("tracked"):
            continue
        raw = v.contiguous()
        raw = (raw.view(torch.int16) if v.dtype == torch.bfloat16 else raw).numpy().tobytes()
        head[k] = {"dtype": NAMES[v.dtype], "shape": list(v.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(head).encode()
    text += b" " * (-(8 + len(text)) % 8)
    return struct.pack("<Q", len(text)) + text + data


s = state()
open(out + "expected.safetensors", "wb").write(expected(s))
torch.save(s, out + "plain.pth")
for protocol in (3, 4, 5):
    torch.save(s, out + "protocol%d.pth" % protocol, pickle_protocol=protocol)
torch.save(s, out + "legacy.pth", _use_new_zipfile_serialization=False)
torch.save({"model": s}, out + "legacy4.pth", _use_new_zipfile_serialization=False, pickle_protocol=4)

# as training code saves: wrapped model, optimizer, schedule, counters
model = torch.nn.Linear(3, 2)
optimizer = torch.optim.AdamW(model.parameters())
model(torch.ones(1, 3)).sum().backward()
optimizer.step()
schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [5, 9, 9])
full = {
    "model": collections.OrderedDict(("module." + k, v) for k, v in s.items()),
    "optimizer": optimizer.state_dict(), "lr_scheduler": schedule.state_dict(), "epoch": 3, "best": 0.75,
    "big": 2**80, "negative": -(2**40), "none": None, "raw": b"\x00\xff", "set": {1, 2}, "size": torch.Size([2, 3]),
    "history": [(1, 0.5), (2, 0.25)], "default": collections.defaultdict(list), "rng": torch.get_rng_state()[:8].clone(),
    "metric": np.float64(0.3), "step": np.int64(7),
}
for protocol in (2, 4):
    torch.save(full, out + "checkpoint%d.pth" % protocol, pickle_protocol=protocol)
torch.save(full, out + "checkpoint_legacy.pth", _use_new_zipfile_serialization=False)
wqkv = collections.OrderedDict((k.replace("in_proj_", "Wqkv."), v) for k, v in s.items())
torch.save({"state_dict": wqkv, "hyper_parameters": {"lr": 1e-3}}, out + "wqkv.ckpt")
torch.save(collections.OrderedDict((k, torch.nn.Parameter(v, requires_grad=v.is_floating_point())) for k, v in s.items()), out + "parameters.pth")
linear = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2)).state_dict()  # OrderedDict with _metadata
torch.save(linear, out + "module.pth")
torch.save({"u16": torch.tensor([1, 65535], dtype=torch.uint16)}, out + "u16.pth")


class Evil:
    def __reduce__(self):
        return (os.system, ("echo this must never run",))


class EvilEval:
    def __reduce__(self):
        return (eval, ("__import__('os').system('echo this must never run')",))


# refused
torch.save({"model": s, "x": Evil()}, out + "bad_system.pth")
torch.save({"model": {"a": torch.zeros(1)}, "x": EvilEval()}, out + "bad_eval.pth", pickle_protocol=4)
torch.save({"model": {"a": torch.zeros(1)}, "x": Evil()}, out + "bad_legacy.pth", _use_new_zipfile_serialization=False)
torch.save({"model": {"a": torch.zeros(1)}, "args": argparse.Namespace(lr=1)}, out + "bad_namespace.pth")
torch.save(torch.nn.Linear(2, 2), out + "bad_object.pth")
torch.save({"a": torch.eye(2).to_sparse()}, out + "bad_sparse.pth")
torch.save({"a": torch.zeros(2, dtype=torch.complex64)}, out + "bad_complex.pth")
torch.save({"model": {"a": torch.zeros(1)}, "state_dict": {"a": torch.zeros(1)}}, out + "bad_both.pth")
torch.save({"net": {"a": torch.zeros(1)}}, out + "bad_nested.pth")
torch.save({"epoch": 3}, out + "bad_none.pth")
torch.save({"a.Wqkv.bias": torch.zeros(1), "a.in_proj_bias": torch.ones(1)}, out + "bad_twice.pth")
small = {"a": torch.arange(6.0), "b": torch.ones(3)}
torch.save(small, out + "small.pth")
whole = open(out + "small.pth", "rb").read()
open(out + "bad_cut.pth", "wb").write(whole[: len(whole) // 2])
for name, packed in (("bad_packed_data.pth", "data/0"), ("bad_packed_pickle.pth", "data.pkl")):
    with zipfile.ZipFile(out + "small.pth") as a, zipfile.ZipFile(out + name, "w") as b:
        for m in a.namelist():
            b.writestr(m, a.read(m), zipfile.ZIP_DEFLATED if m.endswith(packed) else zipfile.ZIP_STORED)
with zipfile.ZipFile(out + "small.pth") as a, zipfile.ZipFile(out + "bad_order.pth", "w") as b:
    for m in a.namelist():
        b.writestr(m, b"big" if m.endswith("byteorder") else a.read(m))
