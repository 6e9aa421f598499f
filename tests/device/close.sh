#!/bin/sh
# close.sh LOG LOG TOLERANCE -- whether two runs of sky-train had the same losses and gradient norms, step by step, but for
# TOLERANCE of each: 0 or 1, and the largest difference.
set -eu
numbers() { sed -nE 's/.*"loss":(.*"norm":[^,]+),.*/\1/p' "$1" | tr ',' '\n' | sed -E 's/.*://; s/}//g'; }
a=$(numbers "$1") b=$(numbers "$2")
[ -n "$a" ] && [ "$(echo "$a" | wc -l)" = "$(echo "$b" | wc -l)" ] || { echo "not the same steps"; exit 1; }
printf '%s\n%s\n' "$a" "$b" | awk -v n="$(echo "$a" | wc -l)" -v tolerance="$3" '
    $1 !~ /^-?[0-9]/ { print "\"" $1 "\" is no number"; lost = 1; exit }
    NR <= n { first[NR] = $1; next }
    { d = first[NR - n] - $1; d = d < 0 ? -d : d; m = $1 < 0 ? -$1 : $1; r = d == 0 ? 0 : m > 0 ? d / m : 1; worst = r > worst ? r : worst }
    END { if (lost) exit 1; print n " numbers, largest relative difference " worst + 0; exit !(worst <= tolerance) }'
