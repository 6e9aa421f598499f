#!/bin/sh
# all.sh -- every benchmark in turn, each beside its yardstick (make bench). Run it on a quiet machine.
#
#   BENCH_SIZE=full   the model's size: full (8 GB of memory, minutes), mid or tiny  [mid]
#   PEER=FILE         the PyTorch peer, run in turn with ours: ../shared/reference/bench_peer.py  [where it is there]
#   PYTHON=python3    a Python that has torch (peer) and numpy (sky-score's yardstick)
set -eu
cd "$(dirname "$0")/../.."
b=${BUILD:-build}/tests
size=${BENCH_SIZE:-mid}
python=${PYTHON:-python3}
peer=${PEER:-../shared/reference/bench_peer.py}

title() { printf '\n==== %s\n' "$*"; }

title "peak loops"; "$b/peak"
title "matrix products and convolutions"; "$b/bench_gemm" -q
title "attention"; "$b/bench_attention"
title "memory-bound operations"; "$b/bench_ops"
title "optimizer"; "$b/bench_update"
title "packing and reading shards"; "$b/bench_pack" "${TMPDIR:-/tmp}" 160
if ldd "$b/bench_comm" | grep -q libmpi; then title "two ranks beside one process of two threads"; tests/bench/ranks.sh; fi
if ldd "$b/bench_comm" | grep -q libmpi; then title "sums over ranks"; mpirun --allow-run-as-root --oversubscribe -n 2 "$b/bench_comm" 64 4 sleep; fi
title "confusion matrix, beside numpy"; "$python" tests/bench/bench_score.py "$b/bench_score"
if [ -x "$b/geo_ingest" ]; then title "ingest, beside the decoders"; "$b/geo_ingest"; fi
for dtype in bf16 f32; do
    for modalities in all hr; do
        title "model: $size $dtype $modalities"
        "$b/bench_model" --size "$size" --dtype $dtype --modalities $modalities
        if [ -f "$peer" ] && "$python" -c 'import torch' 2>/dev/null; then
            for skip in "" --skip-absent; do
                [ -z "$skip" ] || [ $modalities = hr ] || continue
                # shellcheck disable=SC2086
                "$python" "$peer" --size "$size" --dtype $dtype --modalities $modalities $skip
            done
        else
            echo "peer: skipped, no $peer or no torch for $python"
        fi
    done
done
