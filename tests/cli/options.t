#!/bin/bash
# What every tool has in common at the command line: --help and the manual page name the same options, and a tool refuses
# the common ones that it has no use for.
. "$(dirname "$0")/t.sh"

in_help() { "$1" --help | sed -nE 's/^  (-(.), |    )--([a-z0-9-]+) .*/\2 \3/p'; }
# ".It Fl q , -quiet ; Fl v , -verbose" -> "q quiet", "v verbose"
in_man() {
    sed -n '/^\.Sh OPTIONS/,/^\.Sh [^O]/s/^\.It Fl /Fl /p' "$1" | sed 's/ ; Fl /\nFl /g; s/ , Fl /\nFl /g' |
        sed -nE 's/^Fl ([A-Za-z]) , -([a-z0-9-]+).*/\1 \2/p; s/^Fl -([a-z0-9-]+).*/ \1/p'
}
for tool in "$B"/bin/sky-*; do
    name=${tool##*/}
    in_help "$tool" | sort >"$T/help"
    in_man "man/$name.1" | sort >"$T/man"
    [ -s "$T/help" ] && diff "$T/help" "$T/man" >"$T/err"
    ok $? "$name: --help and manual page name the same options"
done
refuses() { # refuses TOOL OPTION...
    "$B/bin/$1" "${@:2}" >/dev/null 2>"$T/err" </dev/null
    [ $? = 2 ] && grep -q "unknown option '$2'" "$T/err"
    ok $? "$1 has no use for $2"
}
refuses sky-tile --json --size 4
refuses sky-tile --seed 1 --size 4
refuses sky-ingest --seed 1 -d flood3i tests/data/flood3i
refuses sky-infer --json
refuses sky-score --seed 1
refuses sky-score --no-provenance
says() { # says WORDS TOOL OPTION...
    "$B/bin/$2" "${@:3}" >/dev/null 2>"$T/err" </dev/null
    [ $? = 2 ] && grep -q -- "$1" "$T/err"
    ok $? "${*:2}"
}
says "--json goes with --list" sky-ingest -d flood3i --json tests/data/flood3i
says "--json goes with --list" sky-pack --json -o "$T/x.sky" "$T/none"
says "--seed goes with --shuffle" sky-pack --seed 1 -o "$T/x.sky" "$T/none"
says "--fields goes with --extract" sky-pack --fields hr --list "$T/none"
says "are about the shards that -o writes" sky-pack --shard-count 3 --list "$T/none"
says "has its own" sky-infer --make-prompts 1 --seed 2 "$T/none"
says "--size: 99999999999999999999 is outside 1..16777216" sky-tile --size 99999999999999999999 "$T/none"
says "--seed: -99999999999999999999 is outside -9223372036854775808..9223372036854775807" sky-pack --seed -99999999999999999999 "$T/none"
says "--probabilities goes with --prompts" sky-infer -m "$T/none" --probabilities "$T/none"
says "--size goes with --prompts" sky-infer --make-prompts 1 --size 256 "$T/none"
says "--protocol goes with --prompts or --make-prompts" sky-infer -m "$T/none" --protocol binary "$T/none"
says "--split goes with --make-prompts" sky-infer -m "$T/none" --prompts "$T/none" --split val "$T/none"
for tool in sky-train sky-infer sky-score; do
    SKY_CPU=avx3 says "SKY_CPU: 'avx3' is not portable, avx2, avx512 or avx512bf16" $tool "$T/none"
    SKY_CPU='' says "." $tool --no-such
done
"$B/bin/sky-infer" --version >"$T/err"
grep -qxE 'MPI: not built in|MPI [0-9.]+ \(Open MPI\)' "$T/err"
ok $? "sky-infer --version says whether MPI was found"
end
