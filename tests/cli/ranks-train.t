#!/usr/bin/env bash
# One model trained by 1, 2 and 4 ranks with the same samples per step: the same samples in the same order, and losses
# within 1e-6 (single precision rounds at 6e-8), though ranks lack modalities that others have. SKY_LONG=1: 20 steps.
. "$(dirname "$0")/t.sh"
train=$B/tests/comm_train
shown=("$T/1" "$T/2" "$T/4")
ldd "$train" | grep -q libmpi || skip_all "MPI is not built in"
command -v mpirun >/dev/null || skip_all "no mpirun here"
"$train" 1 2>&1 | grep 'does not offer it' >"$T/why" && skip_all "$(cat "$T/why")"
steps=3
[ -n "${SKY_LONG:-}" ] && steps=20
for ranks in 1 2 4; do
    # MPI's own memory is not ours to free.
    ASAN_OPTIONS="${ASAN_OPTIONS:-}:detect_leaks=0" timeout 900 \
        mpirun --allow-run-as-root --oversubscribe -n $ranks "$train" $steps >"$T/$ranks" 2>&1 && [ "$(grep -c ^step "$T/$ranks")" = $steps ]
    ok $? "$steps steps with $ranks ranks; weights the same on all of them"
done
for ranks in 2 4; do
    cmp -s <(sed 's/ rec .*//; /^step/!d' "$T/1") <(sed 's/ rec .*//; /^step/!d' "$T/$ranks")
    ok $? "$ranks ranks: the same samples in the same order"
    worst=$(paste -d' ' <(grep ^step "$T/1") <(grep ^step "$T/$ranks") | awk '
        { half = NF / 2
          for (i = 1; i <= half; i++) if ($i == "rec" || $i == "vae" || $i == "kl" || $i == "total") {
              d = ($(i + 1) - $(half + i + 1)) / $(i + 1); if (d < 0) d = -d; if (!(d <= worst)) worst = d; seen++ } }
        END { print seen ? worst + 0 : "nothing" }')
    awk -v w="$worst" 'BEGIN { exit !(w ~ /^[0-9.e+-]+$/ && w + 0 <= 1e-6) }'
    ok $? "$ranks ranks: losses differ by at most $worst"
done
end
