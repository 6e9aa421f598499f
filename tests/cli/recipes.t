#!/usr/bin/env bash
# The fine-tuning sets as their downloads are laid out, with pixels of another place (tests/data/make_recipes.py): every split
# becomes shards, labels are the classes, and the run asks for bands and classes that are there.
set -u
B=${BUILD:-build}
T=$(mktemp -d) || exit 1
trap 'rm -rf "$T"' EXIT
n=0
ok() { # status, description
    n=$((n + 1))
    if [ "$1" = 0 ]; then echo "ok $n - $2"; else echo "not ok $n - $2"; [ ! -f "$T/err" ] || sed 's/^/# /' "$T/err" | tail -5; fi
}

if ! command -v python3 >/dev/null || [ ! -x "$B/bin/sky-ingest" ]; then
    echo "1..0 # SKIP python3 or sky-ingest is missing"
    exit 0
fi
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
for set in atlantic sos c2smsfloods cabuar germany; do
    case $set in atlantic | sos) data=$T/data/$set ;; *) data=$T/data/rs_datasets ;; esac
    make -s -f pipelines/finetune.mk SET=$set DATA="$data" OUT="$T/$set" BIN="$B/bin" shards >"$T/err" 2>&1
    ok $? "$set: shards"
    for split in train val; do
        said=$(python3 "$T/look.py" "$B/bin/sky-pack" $set "$T/$set/shards/$split-0.sky" "$T/$set/$split" 2>"$T/err")
        ok $? "$set, $split: $said"
    done
done
echo "1..$n"
