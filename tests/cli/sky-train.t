#!/usr/bin/env bash
# sky-train from the outside, one rank: what both kinds of run write, the same bits whatever threads, recomputation,
# interruption and SIGKILL, checkpoints that are broken, wrong arguments and inputs, losses that are not finite, full disk.
# The shards are tiles of examples/toulouse. SKY_LONG=1: 20 kills instead of 3 (2026-11-26: 20 kills within 60 steps, the weights,
# state and average the same to the bit; nine minutes on two cores that other work held).
. "$(dirname "$0")/t.sh"
train=$B/bin/sky-train
tool=("$train" --threads 1 --no-provenance)
here=$PWD
[ -x "$B/bin/sky-ingest" ] || skip_all "no sky-ingest in this build"
bits() { cmp -s "$1" "$2"; ok $? "$3"; } # two files are the same
with() { # with FILE SED-SCRIPT NEW-FILE: a run's file changed
    sed "$2" "$1" >"$3"
    ! cmp -s "$1" "$3" || { ok 1 "$3 is no other run than $1"; }
}

tiles() { # tiles OUT OPTIONS-OF-SKY-INGEST...
    local to=$1
    shift
    "$B/bin/sky-ingest" --dataset toulouse --no-provenance "$@" examples/toulouse 2>"$T/err" |
        "$B/bin/sky-tile" --size 256 --drop-empty --no-provenance 2>>"$T/err" | "$B/bin/sky-pack" --no-provenance -o "$to" 2>>"$T/err"
    ok $? "tiles of real scenes packed: $(basename "$to")"
}
tiles "$T/all.sky"
tiles "$T/val.sky" --split val
cd "$T" || exit 1
cat >seg.yaml <<'YAML'
task: segment
model: {base: tiny, vit_img: [64, 64]}
seed: 5
steps: 6
batch: 2
data: {train: all.sky, val: val.sky}
normalise: {hr: {mean: [300, 300, 300, 300], std: [120, 120, 120, 120]}}
augment: {crop: 64}
optimizer: {lr: 1.0e-3, average: 0.01}
segment: {field: hr, bands: [B, G, R, NIR], classes: 4, neck_dim: 16, head_channels: 16, aux_channels: 8, drop_path: 0.2}
validate: {every: 3}
checkpoint: {every: 2, keep: 0}
log: {every: 1, curves: false}
YAML
cat >pre.yaml <<'YAML'
model: tiny
seed: 3
steps: 4
batch: 2
data: {train: [all.sky], side: 128, repeat: 10}
checkpoint: {every: 2}
log: {every: 2}
YAML

# ---- segmentation -------------------------------------------------------------------------------------------------------
# Labels are sparse: some steps have none, which is said.
sparse="[0-9][0-9]* of [0-9]* steps had not one pixel with a class"
run 0 "$sparse" "segmentation" -o s seg.yaml
same "$(cd s && echo *)" "best.safetensors last.safetensors log.jsonl$(for k in 2 3 4 6; do printf ' step-%08d.ema.safetensors step-%08d.safetensors step-%08d.state' $k $k $k; done)" \
    "its files: a checkpoint every second step, and of the best"
same "$(readlink s/last.safetensors)" "step-00000006.safetensors" "last.safetensors leads to the last step"
same "$(grep -c '"loss":{"total":[0-9.e+-]*,"decode":[0-9.e+-]*,"aux":[0-9.e+-]*},"lr":[0-9.e+-]*,"norm":' s/log.jsonl) $(grep -c '"val":{"miou":' s/log.jsonl)" "6 2" "its log: a line per step and per validation"
s=s/step-00000006
run 0 "step 6 of 6: loss .*wait" "-v tells the steps" -v -o sv seg.yaml
bits $s.safetensors sv/step-00000006.safetensors "and changes nothing"
run 0 '{"program":"sky-train","steps":6,"total":6,.*"done":true}' "--progress json" --progress json -o sp seg.yaml
"$train" --threads 2 --no-provenance -o s2 seg.yaml >out 2>err; ok $? "two threads"
bits $s.safetensors s2/step-00000006.safetensors "the same weights"
bits $s.state s2/step-00000006.state "the same state"
bits <(grep -o '"val":.*' s/log.jsonl) <(grep -o '"val":.*' s2/log.jsonl) "the same validation"
with seg.yaml 's/^batch: 2/&\nrecompute: false/' keep.yaml
run 0 "$sparse" "nothing computed again" -o sk keep.yaml
bits $s.safetensors sk/step-00000006.safetensors "the same weights"
with seg.yaml 's/^batch: 2/&\ndtype: bf16/' bf16.yaml
run 0 "$sparse" "bf16" -o sb bf16.yaml
last_loss() { sed -n 's/.*"total":\([0-9.e+-]*\),.*/\1/p' "$1/log.jsonl" | tail -1; }
awk -v a="$(last_loss s)" -v b="$(last_loss sb)" 'BEGIN { d = (a - b) / a; exit !(a > 0 && a != b && d < 0.1 && d > -0.1) }'
ok $? "another loss than f32's, less than a tenth away"
with seg.yaml 's/^batch: 2/batch: 4\naccumulate: 2/; s/^steps: 6/steps: 2/' parts.yaml
run 0 "$sparse" "batches in two parts" -o sa parts.yaml

# ---- batches without labels -----------------------------------------------------------------------------------------------
said() { sed -n 's/.*: \([0-9]*\) of 6 steps had not one pixel with a class$/\1/p' err; }
run 0 "step [1-6]: not one pixel of its samples has a class, its loss is 0 (samples of rank 0: QB_" "steps without labels are said once" -o few seg.yaml
same "$(grep -c 'not one pixel of its samples' err) $(said)" "1 $(grep -c '"loss":{"total":0.0,"decode":0.0,"aux":0.0}.*"norm":0.0,.*"unlabelled":1' few/log.jsonl)" "and counted in the log, with loss and gradient 0"
same "$(grep -c '"loss":{"total":0.0' few/log.jsonl) $(grep -c '"loss":{"total":[0-9]*\.[0-9]*[1-9]' few/log.jsonl)" "$(said) $((6 - $(said)))" "no other step is"
with seg.yaml 's/every: 1, curves/every: 6, curves/' rare.yaml
run 0 "$sparse" "a line for all steps" -o rare rare.yaml
grep -q "\"unlabelled\":$(said)[,}]" rare/log.jsonl; ok $? "has their number"
with seg.yaml 's/classes: 4,/classes: 1, ignore_labels: [1, 2, 4],/; s/val.sky/nothing.sky/' nothing.yaml
"$B/bin/sky-tile" --size 64 --no-provenance val.sky 2>err | "$B/bin/sky-pack" --no-provenance --shard-count 1 -o tile-%05d.sky 2>>err && mv tile-00000.sky nothing.sky
run 0 "validation has no result: not one pixel of data.val" "a validation without labels" -o nothing nothing.yaml
same "$(grep -c '"val":{"miou":null,"mf1":null,"accuracy":null,"iou":{}},"best":false' nothing/log.jsonl) $(ls nothing | grep -c best)" "2 0" "has no figures, and is never the best"

# ---- event files ------------------------------------------------------------------------------------------------------------
with seg.yaml 's/curves: false/curves: false, tensorboard: true/' events.yaml
run 0 "$sparse" "event files" -o ev events.yaml
rm ev/step-00000006.* && run 0 "" "one per start" --quiet --resume latest -o ev events.yaml
same "$(cd ev && for f in events.out.tfevents.*; do echo "${f:20:2} ${f: -8} $(grep -ao 'loss/total' "$f" | wc -l) $(grep -ao 'val/iou/' "$f" | wc -l)"; done | sort | tr '\n' ';')" \
    "$(date +%s | cut -c1-2) 00000000 6 $(grep -o '"iou":{.*}}' s/log.jsonl | grep -o '":[0-9]' | wc -l);$(date +%s | cut -c1-2) 00000004 2 $(tail -1 s/log.jsonl | grep -o '"iou":{.*}}' | grep -o '":[0-9]' | wc -l);" "hold the lines of the log"
run 0 "" "a run that is complete" --quiet --resume latest -o ev events.yaml
same "$(ls ev | grep -c tfevents)" 2 "begins no event file"

# ---- pretraining ----------------------------------------------------------------------------------------------------------
run 0 "" "pretraining" -o p pre.yaml
differs() { ! cmp -s "$1" "$2"; ok $? "$3"; }
for key in 'augment: {sparse: 1}' 'augment: {any_class: true}' 'augment: {radiometry: 0.2}' 'start: {init: matching}'; do
    with pre.yaml "s/^steps: 4/steps: 2\nschedule: {warmup: 1}\n$key/" ours.yaml
    with ours.yaml "/^${key%%:*}:/d" plain.yaml
    rm -rf po pq
    run 0 "" "pretraining with $key" -o po ours.yaml
    run 0 "" "and without" -o pq plain.yaml
    differs po/last.safetensors pq/last.safetensors "gives other weights"
done
same "$(grep -c '"loss":{"total":[0-9.e+-]*,"rec":[0-9.e+-]*,"vae":[0-9.e+-]*,"vae_kl":' p/log.jsonl)" 2 "a line of the log every second step"
[ -s p/curves.gp ]; ok $? "curves"
"$train" --threads 2 --no-provenance -o p2 pre.yaml >out 2>err
bits p/last.safetensors p2/last.safetensors "two threads: the same weights"
rm p2/step-00000004* && run 0 "" "begun again from the middle" --resume latest -o p2 pre.yaml
bits p/last.safetensors p2/last.safetensors "the same weights"
bits p/step-00000004.state p2/step-00000004.state "the same state"
"$B/bin/sky-infer" --make-prompts 1 all.sky >prompts.tsv 2>err && head -3 prompts.tsv >few.tsv &&
    "$B/bin/sky-infer" -m p/last.safetensors --prompts few.tsv --size 128 --no-provenance all.sky >pred 2>err && [ "$("$B/bin/sky-pack" --list pred | wc -l)" -gt 0 ]
ok $? "sky-infer takes its weights"
with seg.yaml "s/^batch: 2/&\nstart: {from: p\/last.safetensors, prefix: backbone_s2., bands: [x, B, G, R, NIR, y, z, u, v, w]}/" start.yaml
run 0 "backbone.patch_embed.projection.weight: bands B,G,R,NIR from 'backbone_s2.patch_embed" "segmentation begins with its backbone, a line per tensor" -o ss start.yaml
with start.yaml 's/drop_path: 0.2/dates: 2/' dates.yaml
run 0 "neck.fusion_transformer.* from 'fusion\." "and with dates with its fusion" -o sd dates.yaml
with start.yaml 's/B, G, R, NIR, y/B, y/' short.yaml
run 2 "names for the 10 bands" "names that do not fit the file" -o sx short.yaml

# ---- looking only -----------------------------------------------------------------------------------------------------------
run 0 "" "--dry-run" --dry-run seg.yaml
grep -q '^parameters: [0-9]* in .*; trained: ' out && grep -q '^steps: 6 of 2 samples, on 1 rank' out && grep -q 'running average *0.3 MiB' out
ok $? "says parameters, steps and memory"
# The published run: counts of the reference's list of parameters (1480 with a gradient or frozen, of which two class tokens are
# never used), 4 bytes each for masters and gradients, 8 for moments; and none of these 20 GB is needed to say so.
sed 's/^  train:.*/  train: all.sky/' "$here/pipelines/pretrain.yaml" >full.yaml
run 0 "" "--dry-run of the full model, without its weights" --dry-run full.yaml
grep -q '^parameters: 1809455265 in 1480 tensors; trained: 1023294929 in 709; frozen: 786160336; statistics: 14336$' out; ok $? "its parameters"
same "$(sed -n 's/^  \(master\|gradients\|moments\|weights\).* \([0-9.]*\) MiB/\1 \2/p' out | tr '\n' ' ')" "master 3903.6 gradients 3903.6 moments 7807.1 weights 2999.0 " "its memory"
if command -v python3 >/dev/null; then
    python3 - "$train" --dry-run full.yaml >mib <<'PY'
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10)
PY
    [ "$(cat mib)" -lt 2000 ]; ok $? "in $(cat mib) MiB"
fi
run 0 "" "--io-only" --io-only 3 seg.yaml
grep -q '^6 samples in .* per second on this rank' out; ok $? "says how fast samples come"

# ---- wrong command lines, wrong files -------------------------------------------------------------------------------------------
run 2 "unknown option '--epochs'" "unknown option" --epochs 3 seg.yaml
run 2 "one RUN.yaml is expected" "no run"
run 2 "one RUN.yaml is expected" "two runs" seg.yaml pre.yaml
run 2 "no directory for the run" "no directory" seg.yaml
exec 8<s
flock 8
run 4 "s: another run is at work there" "a directory in which a run is at work" --resume latest -o s seg.yaml
exec 8<&-
run 2 "s: holds a run already (step 6); --resume latest" "a directory that holds a run" -o s seg.yaml
bits s/last.safetensors sv/last.safetensors "which is as it was"
run 4 "absent.yaml" "no such run" -o x absent.yaml
with seg.yaml 's/^batch:/btch:/' wrong.yaml
run 3 "wrong.yaml: line 5: 'btch': unknown key" "unknown key" -o x wrong.yaml
with seg.yaml 's/classes: 4/classes: 4, ignore: 0/' wrong.yaml
run 3 "line [0-9]*: 'segment.ignore': unknown key" "unknown key of a section" -o x wrong.yaml
with seg.yaml 's/^batch: 2/batch: 2.5/' wrong.yaml
run 3 "'batch': expected an integer" "a fraction" -o x wrong.yaml
with seg.yaml 's/^batch: 2/batch: 3\naccumulate: 2/' wrong.yaml
run 3 "'accumulate': 2 does not divide the batch of 3" "parts that do not fit" -o x wrong.yaml
with seg.yaml 's/classes: 4/classes: 3/' wrong.yaml
run 2 "segment.classes: 3 outputs, but the samples of data.train have 4 classes" "too few outputs" -o x wrong.yaml
with seg.yaml 's/\[B, G, R, NIR\]/[B, G, R, SWIR]/' wrong.yaml
run 3 "SWIR" "a band that is not there" -o x wrong.yaml
with seg.yaml '/^normalise/d' wrong.yaml
run 3 "no mean and std" "no normalisation" -o x wrong.yaml
with seg.yaml 's/train: all.sky/train: [all.sky, none-*.sky]/' wrong.yaml
run 3 "data.train: no file matches 'none-\*.sky'" "no such shard" -o x wrong.yaml
run 2 "expected cpu, cuda" "no such device" --device tpu -o x seg.yaml
[ ! -e x ]; ok $? "nothing is written by any of these"
size=$(stat -c %s all.sky)
{ head -c $((size / 2)) all.sky; printf XXXXXXXX; tail -c +$((size / 2 + 9)) all.sky; } >hurt.sky
with seg.yaml 's/train: all/train: hurt/; s/^steps: 6/steps: 10/' hurt.yaml
run 3 "hurt.sky" "a damaged shard" -o h hurt.yaml
run 0 "hurt.sky" "with --keep-going another sample is drawn" --keep-going -o hk hurt.yaml

# ---- resuming --------------------------------------------------------------------------------------------------------------------
run 0 "r: no checkpoint yet, the run begins" "--resume latest begins a run" --resume latest -o r seg.yaml
run 0 "r: complete at step 6$" "and has nothing to do when it is complete" --resume latest -o r seg.yaml
run 0 "" "which --quiet does not say" --quiet --resume latest -o r seg.yaml
bits s/last.safetensors r/last.safetensors "the same weights"
part() { # part DIR STEP: the run s as it was after a step
    rm -rf "$1" && mkdir "$1" && cp -P s/log.jsonl "$1" || exit 1
    local f
    for f in s/step-*; do [ "$((10#${f:7:8}))" -gt "$2" ] || cp "$f" "$1"; done
}
part r 4 && run 0 "$sparse" "from a checkpoint" --resume r/step-00000004.state -o r seg.yaml
bits $s.safetensors r/step-00000006.safetensors "the same weights"
bits $s.state r/step-00000006.state "the same state"
bits $s.ema.safetensors r/step-00000006.ema.safetensors "the same average"
same "$(grep -o '^{"step":[0-9]*,"[a-z]*' r/log.jsonl)" "$(grep -o '^{"step":[0-9]*,"[a-z]*' s/log.jsonl)" "every step is logged once"
for f in ema.safetensors safetensors state; do
    part r 4 && head -c 5000 s/step-00000004.$f >r/step-00000004.$f
    run 3 "r/step-00000004.$f" "half of $f" --resume r/step-00000004.state -o r seg.yaml
    run 0 "passed over: .*step-00000004.$f" "is passed over, which is said" --resume latest -o r seg.yaml
    bits $s.state r/step-00000006.state "the same state at the end"
done
part r 4
for f in r/step-*.state; do head -c 5000 "$f" >cut && cat cut >"$f"; done
before=$(cd r && sha256sum ./*)
run 3 "r: has checkpoints (states: $(ls r | grep -c state)), but not one is whole" "all of them damaged" --resume latest -o r seg.yaml
run 3 "r: has checkpoints" "also without --resume" -o r seg.yaml
same "$(cd r && sha256sum ./*)" "$before" "nothing is written over them"
rm r/*.state
run 0 "passed over: .*missing: this checkpoint was not finished" "a run killed in its first checkpoint begins again" --resume latest -o r seg.yaml
part r 4 && rm r/step-00000004.state
run 3 "step-00000004.state: is missing: this checkpoint was not finished" "no state" --resume r/step-00000004.safetensors -o r seg.yaml
part r 4 && cp s/step-00000003.safetensors r/step-00000004.safetensors
run 3 "step-00000004.safetensors: not the weights that .*step-00000004.state was written with" "weights of another step" --resume r/step-00000004.state -o r seg.yaml
part r 4 && cp s/step-00000003.state r/step-00000004.state
run 3 "step-00000004.state: is of step 3" "state of another step" --resume r/step-00000004.state -o r seg.yaml
part r 4
with seg.yaml 's/^seed: 5/seed: 6/' other.yaml
run 2 "r/step-00000004.state: 'seed' is not what it was" "another seed" --resume latest -o r other.yaml
with seg.yaml 's/^batch: 2/batch: 4/' other.yaml
run 2 "'batch' is not what it was" "another batch" --resume latest -o r other.yaml
with seg.yaml 's/120, 120\]/120, 121]/' other.yaml
run 3 "normalisation of field 'hr', band 4 NIR" "another normalisation" --resume latest -o r other.yaml
with seg.yaml 's/, average: 0.01//; s/adamw/sgd/; s/lr: 1.0e-3/&, name: sgd/' other.yaml
run 2 "is of optimizer 'adamw', this run's is 'sgd'" "another optimizer" --resume latest -o r other.yaml

# ---- being stopped -----------------------------------------------------------------------------------------------------------------
with seg.yaml 's/^steps: 6/steps: 100000/; s/every: 2/every: 100000/; s/, val: val.sky//' long.yaml
wait_log() { for _ in $(seq 200); do [ -s "$1/log.jsonl" ] && return 0; sleep 0.05; done; return 1; }
for sig in INT TERM HUP USR1; do
    env --default-signal=$sig "$train" --threads 1 --no-provenance -o "i$sig" long.yaml >out 2>err &
    pid=$!
    wait_log "i$sig"
    kill -$sig $pid
    wait $pid; got=$?
    at=$(tail -1 "i$sig/log.jsonl" | sed 's/{"step":\([0-9]*\),.*/\1/')
    [ $got = 0 ] && grep -q "stopped as asked; --resume latest goes on" err && [ -f "$(printf 'i%s/step-%08d.state' $sig "$at")" ]
    ok $? "SIG$sig: the step is finished, a checkpoint written, status 0"
done
(trap '' HUP; exec "$train" --threads 1 --no-provenance -o inohup long.yaml) >out 2>err &
pid=$!
wait_log inohup
kill -HUP $pid
sleep 0.3
kill -TERM $pid; ok $? "SIGHUP that is ignored, as under nohup, stays ignored"
wait $pid

kills=3 steps=12
[ -n "${SKY_LONG:-}" ] && kills=20 steps=60
with seg.yaml "s/^steps: 6/steps: $steps/; s/every: 2, keep: 0/every: 1, keep: 2/; s/validate: {every: 3}/validate: {every: 5}/" kill.yaml
begin=$(date +%s%N)
run 0 "$sparse" "$steps steps without interruption" -o whole kill.yaml
took=$((($(date +%s%N) - begin) / 1000000))
killed=0
RANDOM=$$
for ((k = 0; k < kills * 4 && killed < kills; k++)); do
    "$train" --threads 1 --no-provenance --resume latest -o again kill.yaml >out 2>err &
    pid=$!
    sleep "$(awk -v r=$RANDOM -v ms=$took 'BEGIN { print 0.02 + ms / 1000 * r / 32768 * 0.4 }')"
    kill -9 $pid 2>/dev/null && killed=$((killed + 1))
    wait $pid 2>/dev/null
    [ -f "again/step-$(printf %08d $steps).state" ] && { echo "# complete after $killed kills: once more"; mv again "done-$killed"; }
done
[ -d again ] || mv "done-$killed" again
run 0 "" "killed $killed times (seed $$), then to its end" --quiet --resume latest -o again kill.yaml
for f in "$(printf step-%08d $steps)".{state,safetensors,ema.safetensors}; do bits whole/$f again/$f "the same $f"; done
for d in done-*; do [ -d "$d" ] && bits whole/last.safetensors "$d/last.safetensors" "the same weights in $d"; done
same "$(cd again && ls)" "$(cd whole && ls)" "the same files: nothing half-written is left"

# ---- losses that are not finite -----------------------------------------------------------------------------------------------
with seg.yaml 's/lr: 1.0e-3, average: 0.01/lr: 1000, name: sgd/; s/^steps: 6/steps: 40/; s/^validate.*/schedule: {name: constant, warmup: 0}/; s/, val: val.sky//' huge.yaml
run 3 "step [0-9]*: loss .*, gradient norm .*; samples of rank 0: QB_" "a loss that is not finite ends the run, with step, tensor and samples" -o f huge.yaml
! ls f/step-00000040* >/dev/null 2>&1; ok $? "before its end"
with huge.yaml 's/^batch: 2/&\nnonfinite: skip/' skip.yaml
run 0 "; left out" "or the update is left out" -o fs skip.yaml
[ -f fs/step-00000040.state ]; ok $? "up to the end"

# ---- faults ------------------------------------------------------------------------------------------------------------------------
"$train" -n -o x seg.yaml >&- 2>err; same $? 4 "closed output"
if [ -e /dev/full ]; then "$train" -n -o x seg.yaml >/dev/full 2>err; same $? 4 "full output"; fi
"$train" --threads 1 --no-provenance -o so seg.yaml >&- 2>err
bits $s.safetensors so/step-00000006.safetensors "training needs no output"
mkdir small
if unshare -rm sh -c 'mount -t tmpfs -o size=3m none small' 2>/dev/null; then
    # shellcheck disable=SC2016
    unshare -rm sh -c 'mount -t tmpfs -o size=3m none small || exit 9
        "$0" --threads 1 --no-provenance -o small/run kill.yaml 2>err; got=$?
        ls small/run >left; cp -r small/run kept; exit $got' "$train" >out
    got=$?
    [ $got = 4 ] && grep -q "small/run.*No space left" err; ok $? "full disk: status 4, the file is named"
    rm -rf full && mkdir full && cp -P kept/* full && run 0 "" "and what was there goes on elsewhere" --quiet --resume latest -o full kill.yaml
    bits whole/last.safetensors full/last.safetensors "to the same weights"
else
    ok 0 "full disk # SKIP no file system may be mounted here"
fi

end
