"""Registers, spills, shared memory and occupancy of every kernel, from the assembler's report: a table in Markdown.

usage: python3 resources.py ARCH < output of nvcc -Xptxas -v     (make cuda-report)
Occupancy is computed for the block size in BLOCK (256 unless named there) from the registers and the static shared memory,
with 65 536 registers, 2048 threads and 227 KB of shared memory per multiprocessor (sm_90); kernels with dynamic shared
memory are marked. Kernels that stem from one lambda each (each_kernel, pointwise, column_part, reduce_part) are one line
with the largest of each number.
"""
import re
import sys

BLOCK = {"attention_mma": 128, "attention_gradient": 128, "attention_short": 128, "attention_short_backward": 128, "window_mma": 128}
DYNAMIC = ("attention_rows", "attention_dq", "attention_dkv", "window_rows", "window_backward")


def main():
    arch, text = sys.argv[1], sys.stdin.read()
    found = re.findall(r"Compiling entry function '(\w+)' for 'sm_(\w+)'.*?(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads.*?"
                       r"Used (\d+) registers([^\n]*)", text, re.S)
    rows = {}
    for mangled, sm, frame, stores, loads, regs, rest in found:
        if sm != arch:
            continue
        m = re.match(r"_Z(?:N\d+_INTERNAL_\w+?_cu_\w{8})?(\d+)(\w+)", mangled)
        short = m.group(2)[:int(m.group(1))]
        if m.group(2)[len(short):].startswith("I"):  # template arguments that are numbers; a lambda has no name
            short += "<" + ", ".join(re.findall(r"Li(\d+)E", re.match(r"I((?:Li\d+E)*)", m.group(2)[len(short):]).group(1))) + ">"
        key = short.replace("<>", "")
        smem = int((re.search(r"(\d+) bytes smem", rest) or [0, 0])[1])
        old = rows.get(key, (0, 0, 0, 0, 0))
        rows[key] = (old[0] + 1, max(old[1], int(regs)), max(old[2], int(stores) + int(loads)), max(old[3], smem), max(old[4], int(frame)))
    print("| kernel | instances | registers | spill bytes | stack | static shared memory | threads | occupancy |\n|---|---|---|---|---|---|---|---|")
    for key in sorted(rows):
        n, regs, spill, smem, frame = rows[key]
        base = key.split("<")[0]
        block = BLOCK.get(base, 256)
        per_warp = (regs * 32 + 255) // 256 * 256
        blocks = min(2048 // block, 32, 65536 // (per_warp * block // 32), (227 << 10) // (smem + 1024))
        print(f"| {key} | {n} | {regs} | {spill} | {frame} | {smem}{' + dynamic' if base in DYNAMIC else ''} | {block} | {100 * blocks * block // 2048} %{' or less' if base in DYNAMIC else ''} |")


main()
