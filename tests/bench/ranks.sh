#!/bin/sh
# ranks.sh -- training steps of the mid-size model (batch 2, float32) by two ranks of one thread and by one process of two
# threads, in turn: median wall time of a step, and CPU time of the whole run, start included.
set -eu
cd "$(dirname "$0")/../.."
train=${BUILD:-build}/tests/comm_train
for turn in 1 2 3; do
    for how in "1 2" "2 1"; do
        # shellcheck disable=SC2086
        set -- $how
        /usr/bin/env bash -c 'TIMEFORMAT="%U CPU s"; time "$@"' - mpirun --allow-run-as-root --oversubscribe --bind-to none -n "$1" \
            "$train" 5 pipelines/mid.yaml 2 2e-4 "$2" all 2>&1 | grep -E 'per step|CPU s' | tr '\n' ' '
        echo "turn $turn, $1 ranks of $2 threads"
    done
done
