#!/usr/bin/env bash
# The fine-tuning sets as their downloads are laid out, with pixels of another place (tests/data/make_recipes.py): every split
# becomes shards, labels are the classes, the run asks for bands and classes that are there, and trains: with the tiny
# model, two samples a step, six steps, from a generated pretrained model.
. "$(dirname "$0")/t.sh"
if ! command -v python3 >/dev/null || [ ! -x "$B/bin/sky-ingest" ]; then
    skip_all "python3 or sky-ingest is missing"
fi
lacks() { # lacks MESSAGE RECIPE VARIABLE...
    rm -rf "$T/lacking"
    ! make -s -f "pipelines/$2" OUT="$T/lacking" "${@:3}" >/dev/null 2>"$T/err" && grep -q -- "$1" "$T/err" && [ ! -e "$T/lacking/shards" ] && [ ! -e "$T/lacking/val.sky" ]
    ok $? "$2 ${*:3}: what is missing is said"
}
lacks "$T/none is not there: DATA=FOLDER names" flood3i.mk DATA="$T/none" WEIGHTS=README.md
lacks "$T/none is not there: .*WEIGHTS=FILE the weights" flood3i.mk DATA=tests/data/flood3i WEIGHTS="$T/none"
lacks "atlantic: $T/none is not there: DATA=" finetune.mk SET=atlantic DATA="$T/none" WEIGHTS=README.md
lacks "atlantic: $T/none is not there: .*WEIGHTS=FILE what" finetune.mk SET=atlantic DATA=examples WEIGHTS="$T/none"
lacks "train.mk is a part of other recipes" train.mk
"$B/bin/sky-ingest" -q -d toulouse examples/toulouse | "$B/bin/sky-tile" -q --size 256 >"$T/tiles.sky" &&
    "$B/bin/sky-pack" -q --extract npz -C "$T/npz" "$T/tiles.sky" && "$B/bin/sky-pack" -q --extract tif -C "$T/tif" "$T/tiles.sky" &&
    python3 tests/data/make_recipes.py "$T/npz" "$T/tif" "$T/data"
ok $? "trees laid out as the downloads"

# What a set's shards hold: samples, classes that occur, and whether run and shards agree.
cat >"$T/look.py" <<'PY'
import ast, re, subprocess, sys, zipfile, glob, json
pack, name, shard, folder = sys.argv[1:]
run = open("pipelines/%s.yaml" % name).read()
part = run[run.index("\nsegment:"):]
field = re.search(r"field: (\w+)", part).group(1)
bands = [b.strip() for b in re.search(r"bands: \[(.*?)\]", part).group(1).split(",")]
outputs = int(re.search(r"classes: (\d+)", part).group(1))
info = subprocess.run([pack, "--info", shard], capture_output=True, text=True, check=True).stdout
schema = {l.split("\t")[1]: json.loads(l.split("\t")[2]) for l in info.splitlines() if l.startswith("field")}
subprocess.run([pack, "-q", "--extract", "npz", "-C", folder, shard], check=True)
values, samples = set(), 0
for f in glob.glob(folder + "/**/*.npz", recursive=True):
    with zipfile.ZipFile(f) as z:
        raw = z.read("label.npy")
    values |= set(raw[10 + int.from_bytes(raw[8:10], "little"):])
    samples += 1
table = [c["value"] for c in schema["label"]["classes"]]
ignored = schema["label"].get("ignore", [])
print(samples, "samples; labels", sorted(values), "of", table)
wrong = [b for b in bands if b not in schema[field]["bands"]]
if wrong or len(table) > outputs or not values <= set(table) | set(ignored) or len(values) < 2:
    sys.exit("bands %s, %d outputs for %d classes" % (wrong, outputs, len(table)))
PY
# The recipe with a small network and few steps; everything else stays.
small() {
    sed -e 's/base: full/base: tiny/; s/vit_img: \[256, 256\]/vit_img: [64, 64]/; s/crop: 256/crop: 64/' -e 's/^steps:.*/steps: 6/; s/^batch:.*/batch: 2/' \
        -e 's/warmup: [0-9]*/warmup: 1/; s/^validate:.*/validate: {every: 2}/; s/^checkpoint:.*/checkpoint: {every: 3, keep: 1}/; s/^log:.*/log: {every: 1}/' \
        -e '/^  neck_dim:/d; s/^  backbone: vit/  backbone: vit\n  neck_dim: 16\n  head_channels: 16/' "$1"
}
can_train=no
"$B/bin/sky-train" --help 2>/dev/null | grep -q RUN.yaml && [ -x "$B/tests/seed-weights" ] &&
    "$B/tests/seed-weights" --config tiny -o "$T/pretrained.safetensors" && can_train=yes
for set in atlantic sos c2smsfloods cabuar germany; do
    case $set in atlantic | sos) data=$T/data/$set ;; *) data=$T/data/rs_datasets ;; esac
    make -s -f pipelines/finetune.mk SET=$set DATA="$data" OUT="$T/$set" BIN="$B/bin" shards >"$T/err" 2>&1
    ok $? "$set: shards"
    for split in train val; do
        said=$(python3 "$T/look.py" "$B/bin/sky-pack" $set "$T/$set/shards/$split-0.sky" "$T/$set/$split" 2>"$T/err")
        ok $? "$set, $split: $said"
    done
    if [ $can_train = no ]; then
        skip "$set: training" "this build does not train"
        continue
    fi
    small pipelines/$set.yaml >"$T/$set/small.yaml"
    ln -s "$T/pretrained.safetensors" "$T/$set/skysensepp_release.ckpt"
    (cd "$T/$set" && "$B/bin/sky-train" --out run small.yaml) >"$T/err" 2>&1 && [ -f "$T/$set/run/step-00000006.state" ] &&
        grep -q "backbone.pos_embed: from 'backbone_s[12].pos_embed', grid 2x2 resized" "$T/err" && grep -q '"step":6,"val":{"miou":0' "$T/$set/run/log.jsonl"
    ok $? "$set: six steps from a pretrained backbone, validated, written"
done
"$B/bin/sky-ingest" --dataset c2smsfloods-chips "$T/data/c2smsfloods" 2>"$T/err" | "$B/bin/sky-pack" -q -o "$T/chips.sky" 2>>"$T/err"
said=$("$B/tests/stream_dump" "$T/chips.sky" | sed 's/crc=[0-9a-f]* *//; s/=[0-9]*//g')
[ "$(grep -c ' s2 U8 10x256x256 cyx' <<<"$said") $(grep -c ' label U8 256x256 yx 0 1$' <<<"$said")" = "2 2" ]
ok $? "c2smsfloods as it is published: two chips of ten bands, water or not"

python3 pipelines/germany-npz.py "$T/data/data_IJGI18/datasets/full/240" "$T/crops" >"$T/err" 2>&1 &&
    make -s -f pipelines/finetune.mk SET=germany DATA="$T/crops" OUT="$T/crops/out" BIN="$B/bin" shards >>"$T/err" 2>&1
said=$("$B/tests/stream_dump" "$T/crops/out/shards/train-0.sky" | sed 's/crc=[0-9a-f]* *//')
[ "$(grep -c ' s2 I16 2x10x24x24 tcyx' <<<"$said") $(grep -c ' label U8 24x24 yx 0=144 1=72 2=72 3=72 4=72 5=72 17=72$' <<<"$said")" = "2 2" ] &&
    [ "$("$B/tests/stream_dump" --meta "$T/crops/out/shards/train-0.sky" | grep -c '"times":\["2016-01-05[^"]*","2016-12-31[^"]*"\]')" = 1 ]
ok $? "germany as it is published: records become two dates of ten bands, with their days"
"$B/bin/sky-pack" -q --extract npz -C "$T/crops/npz" "$T/crops/out/shards/val-0.sky" 2>"$T/err" && python3 - "$T"/crops/npz/*.npz <<'PY'
import struct, sys, zipfile
v = struct.unpack("<11520h", zipfile.ZipFile(sys.argv[1]).read("s2.npy")[-23040:])
at = lambda t, band, y, x: v[((t * 10 + band) * 24 + y) * 24 + x]
fine, coarse = lambda t, b, y, x: 1000 * t + 100 * b + (24 * y + x) % 97, lambda t, b, y, x: 1000 * t + 100 * b + (y // 2 * 12 + x // 2) % 97
order = [(fine, 2), (fine, 1), (fine, 0), (coarse, 0), (coarse, 1), (coarse, 2), (fine, 3), (coarse, 3), (coarse, 4), (coarse, 5)]
sys.exit(any(at(t, b, y, x) != f(t, k, y, x) for t in range(2) for b, (f, k) in enumerate(order) for y in range(24) for x in range(24)))
PY
ok $? "every number where it belongs"

# What a recipe does, without doing it.
plan() { make -n -f pipelines/pretrain.mk OUT="$T/plan" BIN="$B/bin" "$@" 2>&1; }
touch "$T/list.json" "$T/start.safetensors"
said=$(plan RUN=pretrain-small DATASET=toulouse DATA=examples/toulouse)
[[ $said == *sky-ingest*pretrain-small.yaml* && $said != *"ln -s"* ]]
ok $? "a run that begins with nothing wants no weights"
said=$(plan DATA="$T/list.json" WEIGHTS="$T/start.safetensors" PART=2/3)
[[ $said == *"ln -sfn $T/start.safetensors $T/plan/skysense.safetensors"*--part\ 2/3*shards/train-2of3-%05d.sky*sky-train*pretrain.yaml* ]]
ok $? "one that begins with weights gets them, and one part of the samples"
said=$(plan DATA="$T/list.json" WEIGHTS="$T/start.safetensors" SHARDS=)
[[ $said == *"ln -sfn"*sky-train* && $said != *sky-ingest* ]]
ok $? "with the shards of others it goes on to the training"
said=$(plan DATA="$T/list.json" WEIGHTS="$T/absent.safetensors") && rc=1 || rc=0
[[ $rc = 0 && $said == *absent.safetensors* ]]
ok $? "and says which weights are missing"
end
