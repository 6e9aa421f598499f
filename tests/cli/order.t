#!/usr/bin/env bash
# The order of training is a permutation and as good as random: on a million samples, or with SKY_LONG=1 on 27 million
# (the numbers of docs/scaling.md).
. "$(dirname "$0")/t.sh"
count=1000000
[ -n "${SKY_LONG:-}" ] && count=27000000
"$B/tests/order_sim" $count >"$T/out" 2>&1
ok $? "keyed order of $count samples"
sed 's/^/# /' "$T/out"
end
