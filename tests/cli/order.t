#!/usr/bin/env bash
# The order of training is a permutation and as good as random: on a million samples, or with SKY_LONG=1 on 27 million
# (the numbers of docs/scaling.md).
n=1000000
[ -n "${SKY_LONG:-}" ] && n=27000000
if out=$("${BUILD:-build}/tests/order_sim" $n); then echo "ok 1 - keyed order of $n samples"; else echo "not ok 1 - keyed order of $n samples"; fi
sed 's/^/# /' <<<"$out"
echo "1..1"
