#!/usr/bin/env bash
# sky-infer with a network that sky-train fine-tuned: no prompts, any size of picture, what its weights say is what it does.
. "$(dirname "$0")/t.sh"
[ -x "$B/bin/sky-ingest" ] || skip_all "sky-ingest is missing"
"$B/bin/sky-ingest" -q -d toulouse examples/toulouse | "$B/bin/sky-tile" -q --size 128 --drop-empty | "$B/bin/sky-pack" -q -o "$T/tiles.sky"
cat >"$T/run.yaml" <<YAML
task: segment
model: tiny
steps: 4
batch: 2
data: {train: [$T/tiles.sky], val: [$T/tiles.sky]}
augment: {crop: 128}
segment: {backbone: swin, field: hr, bands: [B, G, R, NIR], classes: 4, neck_dim: 16, head_channels: 16, aux_channels: 8, ignore_labels: [0]}
normalise: {hr: {mean: [400, 400, 400, 400], std: [200, 200, 200, 200]}}
optimizer: {lr: 1.0e-3}
schedule: {warmup: 1}
YAML
"$B/bin/sky-train" -q --out "$T/run" "$T/run.yaml" 2>"$T/err"
ok $? "a network is trained"
net=$T/run/last.safetensors
"$B/bin/sky-infer" -m "$net" "$T/tiles.sky" 2>"$T/err" | "$B/bin/sky-pack" -q -o "$T/pred.sky"
ok $? "it segments shards without prompts"
[ "$("$B/bin/sky-pack" --list "$T/pred.sky" | grep -c 'pred U8\[128,128\]')" = "$("$B/bin/sky-pack" --list "$T/tiles.sky" | wc -l)" ]
ok $? "a map for every picture, at its size"
"$B/bin/sky-pack" --extract png -C "$T/png" "$T/pred.sky" 2>"$T/err" && python3 - "$net" "$(ls "$T"/png/*.pred.png | head -1)" <<'PY' >"$T/err" 2>&1
import json, struct, sys
f = open(sys.argv[1], "rb")
meta = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))["__metadata__"]
want = [{"value": 1, "name": "Water", "color": [0, 92, 230]}, {"value": 2, "name": "Road", "color": [120, 120, 120]},
        {"value": 3, "name": "Vegetation", "color": [38, 150, 40]}, {"value": 4, "name": "Building", "color": [214, 60, 40]}]
assert json.loads(meta["classes"]) == want, meta["classes"]
png = open(sys.argv[2], "rb").read()
at = png.index(b"PLTE") + 4
assert [list(png[at + 3 * k:at + 3 * k + 3]) for k in (1, 2, 3, 4)] == [c["color"] for c in want]
PY
ok $? "the data's class colours are in the weights and in extracted pictures"
"$B/bin/sky-infer" -v -m "$net" --dtype bf16 "$T/tiles.sky" 2>"$T/err" >/dev/null && [ "$(grep -c "model [0-9a-f]\{16\}, bf16 on [a-z0-9]*, fine-tuned for field 'hr'\|[0-9.]*[1-9][0-9.]* MiB of activations" "$T/err")" = 2 ]
ok $? "-v says which model, instruction set and how much memory"
"$B/bin/sky-infer" -m "$net" --threads 1 <"$T/tiles.sky" 2>"$T/err" | "$B/bin/sky-pack" -q -o "$T/again.sky"
cmp -s <("$B/bin/sky-pack" --cat "$T/pred.sky" | tail -n +2 | sha256sum) <("$B/bin/sky-pack" --cat "$T/again.sky" | tail -n +2 | sha256sum)
ok $? "the same from a stream with one thread"
"$B/bin/sky-score" --json --labels "$T/tiles.sky" <"$T/pred.sky" >"$T/score.json" 2>"$T/err" && python3 - "$T/score.json" "$T/run/log.jsonl" <<'PY' >"$T/err" 2>&1
import json, sys
score = json.load(open(sys.argv[1]))
val = [json.loads(l)["val"] for l in open(sys.argv[2]) if '"val"' in l][-1]
def find(o):
    if isinstance(o, dict):
        if "pixel_accuracy" in o: return o["pixel_accuracy"]
        return next((v for v in map(find, o.values()) if v is not None), None)
got = find(score)
assert got is not None and abs(got - val["accuracy"]) < 1e-6, (got, val)
PY
ok $? "sky-score finds the accuracy that validation found"
"$B/bin/sky-pack" --extract tif -C "$T/tif" "$T/pred.sky" 2>"$T/err" && gdalinfo "$(ls "$T"/tif/*.tif | head -1)" 2>/dev/null | grep -q 32631
[ $? = 0 ] || ! command -v gdalinfo >/dev/null
ok $? "georeference is kept"
"$B/bin/sky-pack" --extract tif --fields hr,label -C "$T/files" "$T/tiles.sky" 2>"$T/err" &&
    "$B/bin/sky-ingest" -q -d folder --images '{id}.hr.tif' --labels '{id}.label.tif' "$T/files" 2>"$T/err" | "$B/bin/sky-pack" -q -o "$T/folder.sky" &&
    sed 's:tiles.sky:folder.sky:g; s/steps: 4/steps: 1/' "$T/run.yaml" >"$T/folder.yaml" && "$B/bin/sky-train" -q --out "$T/counted" "$T/folder.yaml" 2>"$T/err"
ok $? "labels without a class table: segment.classes says how many there are"
"$B/bin/sky-infer" -m "$T/counted/last.safetensors" --palette "$T/folder.sky" 2>"$T/err" | "$B/bin/sky-pack" --extract png -C "$T/counted" && python3 - "$(ls "$T"/counted/*.pred.png | head -1)" <<'PY' >"$T/err" 2>&1
import sys
png = open(sys.argv[1], "rb").read()
at = png.index(b"PLTE") + 4
assert list(png[at + 3:at + 9]) == [60, 240, 113, 165, 60, 240], list(png[at:at + 15]) # hues of 137.5 and 275 degrees
PY
ok $? "and --palette gives their predictions colours"
"$B/bin/sky-infer" -m "$net" tests/data/none.sky >/dev/null 2>"$T/err"
[ $? = 4 ]
ok $? "an absent shard is status 4"
"$B/tests/seed-weights" --config tiny -o "$T/one-shot.safetensors" && "$B/bin/sky-infer" -m "$T/one-shot.safetensors" "$T/tiles.sky" >/dev/null 2>"$T/err"
[ $? = 2 ] && grep -q 'prompts FILE is missing' "$T/err"
ok $? "the one-shot model still wants prompts"
id=$("$B/bin/sky-pack" --list "$T/tiles.sky" | head -2 | cut -f1 | paste -s)
printf '%s\t1\n' "$id" >"$T/p.tsv"
"$B/bin/sky-infer" -m "$net" --prompts "$T/p.tsv" "$T/tiles.sky" >/dev/null 2>"$T/err"
[ $? = 2 ] && grep -q 'takes no prompts' "$T/err"
ok $? "prompts for a fine-tuned network are refused"
state=$(ls "$T"/run/step-*.state | head -1)
"$B/bin/sky-infer" -m "$state" "$T/tiles.sky" >/dev/null 2>"$T/err"
[ $? = 2 ] && grep -q 'the state of a training run' "$T/err" && {
    "$B/bin/sky-infer" -m "$state" --prompts "$T/p.tsv" "$T/tiles.sky" >/dev/null 2>"$T/err"
    [ $? = 2 ]
} && grep -q 'the state of a training run' "$T/err"
ok $? "a run's state is not taken for weights"
"$B/bin/sky-ingest" -q -d flood3i tests/data/flood3i 2>/dev/null | "$B/bin/sky-infer" -m "$net" >/dev/null 2>"$T/err"
[ $? = 3 ] && grep -q "field 'hr'" "$T/err"
ok $? "other bands are an error that names sample and field"
end
