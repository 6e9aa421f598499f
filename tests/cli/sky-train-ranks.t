#!/usr/bin/env bash
# sky-train on several ranks: 1 rank with 4 samples, 2 with 2 and 4 with 1 have the same losses to 1e-6 (single precision
# rounds at 6e-8); a run goes on with another number of ranks, and with the same number to the bit; a rank that is killed
# or whose loss is not finite ends the job with its number, and what was written before is whole. SKY_LONG=1: 20 steps.
. "$(dirname "$0")/t.sh"
ldd "$B/bin/sky-train" | grep -q libmpi || skip_all "MPI is not built in"
command -v mpirun >/dev/null || skip_all "no mpirun here"
[ -x "$B/bin/sky-ingest" ] || skip_all "no sky-ingest in this build"
steps=4
[ -n "${SKY_LONG:-}" ] && steps=20
half=$((steps / 2))
last=$(printf 'step-%08d' $steps) middle=$(printf 'step-%08d' $half)
# MPI's own memory is not ours to free.
export ASAN_OPTIONS="${ASAN_OPTIONS:-}:detect_leaks=0"
ranks() { # number, options of sky-train...: exit status
    local count=$1
    shift
    timeout -k 5 600 mpirun --allow-run-as-root --oversubscribe -n "$count" "$B/bin/sky-train" --threads 1 "$@" >"$T/err" 2>&1
}
# How far the losses of run $1 are from those of run $2, relative, over the steps of $1; "nothing" if it has none.
distance() {
    python3 - "$1/log.jsonl" "$2/log.jsonl" <<'PY'
import json, sys
a, b = ({r["step"]: r["loss"] for r in map(json.loads, open(f)) if "loss" in r} for f in sys.argv[1:])
d = [abs(x[k] - b[s][k]) / max(abs(b[s][k]), 1e-30) for s, x in a.items() for k in x]
print(max(d) if d else "nothing")
PY
}
near() { [[ $1 =~ ^[0-9] ]] && awk -v d="$1" 'BEGIN { exit !(d <= 1e-6) }'; }

"$B/bin/sky-ingest" --dataset flood3i --no-provenance tests/data/flood3i >"$T/q.stream" 2>"$T/err" &&
    "$B/bin/sky-pack" -o "$T/train.sky" "$T/q.stream" 2>"$T/err"
ok $? "samples packed"
cd "$T" || exit 1
cat >run.yaml <<YAML
task: pretrain
model: tiny
seed: 3
dtype: f32
steps: $steps
batch: 4
data:
  train: [train.sky]
  side: 128
  repeat: 20
optimizer: {lr: 2.0e-4}
schedule: {name: poly, warmup: 1000, total: 30000}
checkpoint: {every: $half, keep: 9}
log: {every: 1}
YAML
"$B/bin/sky-train" --threads 1 --out r1 run.yaml >err 2>&1 && [ -f r1/$last.state ]
ok $? "1 rank, without mpirun: $steps steps"
for count in 2 4; do
    ranks $count --out r$count run.yaml && [ -f r$count/$last.state ] && [ "$(grep -c '"loss"' r$count/log.jsonl)" = $steps ]
    ok $? "$count ranks: $steps steps, written once"
    d=$(distance r$count r1)
    near "$d"
    ok $? "$count ranks: losses of 1 rank but for $d"
done

ranks 3 --out x run.yaml
[ $? = 2 ] && grep -q "run.yaml: a 'batch' of 4 samples is no multiple of 3: 3 ranks with 'accumulate' 1" err && [ ! -e x ]
ok $? "a batch of 4 is refused by 3 ranks, and nothing is written"
sed 's/^batch: 4/&\naccumulate: 4/' run.yaml >parts.yaml
ranks 2 --out x parts.yaml
[ $? = 2 ] && grep -q "parts.yaml: a 'batch' of 4 samples is no multiple of 8: 2 ranks with 'accumulate' 4" err && [ ! -e x ]
ok $? "and by 2 ranks that would go through it in 4 parts"

for count in 2 4; do
    mkdir on$count
    cp r2/$middle* on$count
    ranks $count --out on$count --resume latest run.yaml && [ "$(grep -c '"loss"' on$count/log.jsonl)" = $((steps - half)) ]
    rc=$?
    d=$(distance on$count r1)
    [ $rc = 0 ] && near "$d"
    ok $? "a run of 2 ranks goes on with $count: losses of 1 rank but for $d"
done
cmp on2/$last.safetensors r2/$last.safetensors >err 2>&1
ok $? "with 2 to the bit"

# Rank 1 is killed when the first checkpoint is there; many steps are ahead.
sed 's/^steps:.*/steps: 10000/; s/every: [0-9]*, keep: 9/every: 1, keep: 2/' run.yaml >long.yaml
cat >rank <<'SH'
#!/bin/sh
[ "$OMPI_COMM_WORLD_RANK" = 1 ] && echo $$ >pid
exec "$@"
SH
chmod +x rank
{
    for _ in $(seq 600); do ls killed/step-*.state >/dev/null 2>&1 && break; sleep 0.1; done
    date +%s >when
    kill -9 "$(cat pid)"
} &
timeout -k 5 120 mpirun --allow-run-as-root --oversubscribe -n 2 ./rank "$B/bin/sky-train" --threads 1 --out killed long.yaml >err 2>&1
status=$?
wait
took=$(($(date +%s) - $(cat when)))
[ $status = 137 ] && [ $took -le 30 ] && grep -qE 'process rank 1 with PID [0-9]+ on node .* exited on signal 9' err
ok $? "rank 1 is killed: the job says so and ends after $took s"
kept=$(ls killed/step-*.state | sed 's/.*step-0*//; s/\.state//' | sort -n | tail -1)
sed "s/^steps:.*/steps: $((kept + 1))/" long.yaml >more.yaml
ranks 2 --out killed --resume latest more.yaml && [ -f "$(printf 'killed/step-%08d.state' $((kept + 1)))" ]
ok $? "and goes on from its last checkpoint, step $kept"

sed 's/^optimizer:.*/optimizer: {lr: 1000, clip: 0}/; s/^schedule:.*/schedule: {name: constant, warmup: 0}/; s/^steps:.*/steps: 50/' run.yaml >bad.yaml
ranks 2 --out bad bad.yaml
[ $? = 3 ] && grep -qE '^sky-train: rank [01] of 2 on .*: step [0-9]+: loss .*samples of rank' err && ! ls bad/step-000000[1-5]?.state >/dev/null 2>&1
ok $? "a loss that is not finite ends the job with rank, step and samples"
end
