#!/bin/bash
# sky-infer on an emulated GPU (tests/emulate): predictions do not depend on whether their forward was queued piece by
# piece, recorded or replayed, nor on which of the device's lanes is late. SKY_LONG=1: the work too.
. "$(dirname "$0")/t.sh"
infer=$B/tests/emulated_infer
[ -x "$infer" ] || skip_all "no C++ compiler, so no emulated GPU"

"$B/bin/sky-ingest" --dataset flood3i --no-provenance tests/data/flood3i 2>"$T/err" | "$B/bin/sky-pack" -o "$T/q.sky" 2>>"$T/err"; ok $? "samples"
"$B/tests/seed-weights" --config tests/data/least.yaml -o "$T/w.safetensors" 2>"$T/err"; ok $? "weights"
"$B/bin/sky-infer" --keep-going --make-prompts 4 "$T/q.sky" 2>/dev/null | grep -v '^#' | head -3 >"$T/p.tsv"
go() { # go PROMPTS OUT [OPTION...]
    "$infer" --device cuda -v -m "$T/w.safetensors" --prompts "$1" --size 128 --probabilities --no-provenance "${@:3}" "$T/q.sky" >"$2" 2>"$T/err"
}
sum() { tail -c 200 "$1" | grep -ao '"sum":"[0-9a-f]*"'; } # of all records, in whatever order

go "$T/p.tsv" "$T/a"; ok $? "three predictions"
grep -q '1 forwards queued piece by piece, 1 recorded, 2 replayed' "$T/err"; ok $? "one of them queued, one recorded, two replayed"
tac "$T/p.tsv" >"$T/r.tsv"
go "$T/r.tsv" "$T/b"; ok $? "in the other order"
same "$(sum "$T/b")" "$(sum "$T/a")" "the same predictions and probabilities"
[ -n "$(sum "$T/a")" ] && ! cmp -s "$T/a" "$T/b"; ok $? "each done another way"
# The work late, or the copies (tests/emulate/cuda_emu.h): the next input travels, and the last result, meanwhile.
for late in ${SKY_LONG:+1} 6; do
    EMU_LAZY=$late go "$T/p.tsv" "$T/c"; ok $? "$([ $late = 1 ] && echo the work || echo copies) as late as possible"
    cmp -s "$T/c" "$T/a"; ok $? "the same bytes"
done
end
