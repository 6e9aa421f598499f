#!/usr/bin/env bash
# The small model of examples/nano segments a scene it has not seen from one example of another, whichever slots the classes get:
# it looks at the example.
. "$(dirname "$0")/t.sh"
[ -x "$B/bin/sky-ingest" ] || skip_all "built without GDAL: no sky-ingest"
nano=examples/nano/nano.safetensors
[ "$(wc -c <$nano)" -lt 8000000 ]; ok $? "the weights have less than 8 MB"
"$B/bin/sky-ingest" -q -d toulouse examples/toulouse 2>"$T/err" | "$B/bin/sky-pack" -q -o "$T/scenes.sky" &&
    "$B/bin/sky-ingest" -q -d toulouse --split test examples/toulouse 2>>"$T/err" | "$B/bin/sky-pack" -q -o "$T/test.sky"
ok $? "scenes"
printf 'QB_3\tQB_1\t*\n' >"$T/prompts.tsv"
for seed in 0 1 2; do
    mean=$("$B/bin/sky-infer" -q -m $nano --size 256 --seed $seed --prompts "$T/prompts.tsv" "$T/scenes.sky" 2>"$T/err" |
        "$B/bin/sky-score" --labels "$T/test.sky" 2>>"$T/err" | awk '$1 == "mean" { print $2; exit }')
    awk -v m="$mean" 'BEGIN { exit !(m > 0.35) }'; ok $? "QB_3 from QB_1, slots of seed $seed: mean IoU $mean (water everywhere: 0.15)"
done
end
