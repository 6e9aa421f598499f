#!/bin/bash
# sky-train on an emulated GPU (tests/emulate): losses and gradient norms of the CPU, the same bits when resumed, and
# weights that do not train written as they were loaded. SKY_LONG=1: pretraining too, minutes.
. "$(dirname "$0")/t.sh"
gpu=("$B/tests/emulated_train" --device cuda --no-provenance) cpu=("$B/bin/sky-train" --device cpu --no-provenance)
[ -x "${gpu[0]}" ] || skip_all "no C++ compiler, so no emulated GPU"
close=$PWD/tests/device/close.sh
"$B/bin/sky-ingest" --dataset flood3i --no-provenance tests/data/flood3i 2>"$T/err" | "$B/bin/sky-pack" -o "$T/q.sky" 2>>"$T/err"; ok $? "samples"
cp tests/data/least.yaml "$T"
cd "$T" || exit 1

cat >segment.yaml <<YAML
task: segment
model: {base: least.yaml, vit_img: [32, 32]}
seed: 5
dtype: DTYPE
steps: 2
batch: 2
data: {train: q.sky}
normalise: {hr: {mean: [120, 120, 120], std: [60, 60, 60]}}
augment: {crop: 32}
optimizer: {lr: 1.0e-3, average: 0.01}
rules: {frozen: [backbone.layers.0]}
segment: {field: hr, bands: [R, G, B], classes: 10, neck_dim: 16, head_channels: 16, aux_channels: 8, drop_path: 0.2}
checkpoint: {every: 1}
log: {every: 1, curves: false}
YAML
cat >pretrain.yaml <<YAML
task: pretrain
model: least.yaml
seed: 3
dtype: DTYPE
steps: 2
batch: 2
data: {train: [made.sky], side: 128, repeat: 10}
checkpoint: {every: 1}
log: {every: 1, curves: false}
YAML
[ -z "${SKY_LONG:-}" ] || "$B/tests/make-samples" 8 made.sky pictures

for task in segment ${SKY_LONG:+pretrain}; do
    for limit in f32=1e-5 bf16=1e-2; do
        dtype=${limit%=*} run=$task-${limit%=*}
        sed "s/DTYPE/$dtype/" $task.yaml >$run.yaml
        "${gpu[@]}" -o $run $run.yaml 2>err; ok $? "$run: two steps"
        "${cpu[@]}" -o $run-cpu $run.yaml 2>err
        "$close" $run/log.jsonl $run-cpu/log.jsonl "${limit#*=}" >err; ok $? "losses and gradient norms of the CPU: $(cat err)"
        mkdir again
        cp $run/step-00000001.* again
        "${gpu[@]}" -o again --resume latest $run.yaml 2>err; ok $? "resumed after the first"
        cmp -s again/step-00000002.safetensors $run/step-00000002.safetensors; ok $? "the same bits"
        rm -r again
    done
done

sed -E 's/"norm":[^,]*/"norm":null/' segment-f32/log.jsonl >lost
"$close" lost lost 1 >err; same "$?: $(cat err)" '1: "null" is no number' "a log without its numbers is close to none"

# At rate 0 only the statistics of batch norm change: all others are written as they were loaded, from wherever they are kept.
sed 's/DTYPE/bf16/; s/lr: 1.0e-3/lr: 0/' segment.yaml >still.yaml
"${gpu[@]}" -o still still.yaml 2>err && "${cpu[@]}" -o still-cpu still.yaml 2>>err; ok $? "two steps at rate 0"
if command -v python3 >/dev/null; then
    python3 - still/step-00000002.safetensors still-cpu/step-00000002.safetensors >out <<'PY'
import json, struct, sys
def read(path):
    b = open(path, "rb").read()
    n = struct.unpack("<Q", b[:8])[0] + 8
    return {k: b[n + v["data_offsets"][0]:n + v["data_offsets"][1]] for k, v in json.loads(b[8:n]).items() if k != "__metadata__"}
a, b = map(read, sys.argv[1:])
print(len(a) > 60 and a.keys() == b.keys(), [k for k in a if a[k] != b.get(k) and "running_" not in k])
PY
    same "$(cat out)" "True []" "weights are as they were loaded, frozen ones too"
else
    skip "weights are as they were loaded" "no python3"
fi

# 4.8 million frozen weights: in BF16 the device has their copies only, and as loaded what is no matrix.
sed 's/^model: .*/model: mid/; s/crop: 32/crop: 128/; s/frozen: .*/frozen: [backbone]}/' segment.yaml >frozen.yaml
for want in "f32 18.1" "bf16 0.1"; do
    sed "s/DTYPE/${want% *}/" frozen.yaml >dry.yaml
    "${gpu[@]}" --dry-run dry.yaml >out 2>err
    same "$(sed -n 's/^  weights as loaded *//p' out)" "${want#* } MiB" "--dry-run: weights as loaded, ${want% *}"
done
end
