#!/bin/bash
# Both readers, sky-pack and formats/read.py, against every file of formats/vectors; and the files against their maker.
cd "$(dirname "$0")/../.." || exit 1
. tests/cli/t.sh
mkdir "$T/again"
"$B/tests/make-vectors" "$T/again" && diff -r "$T/again" formats/vectors >"$T/err" 2>&1
ok $? "the files are what make-vectors writes today: the format has not moved"

while IFS=$'\t' read -r file status records words; do
    f=formats/vectors/$file
    out=$("$B/bin/sky-pack" --verify --threads 2 "$f" 2>"$T/err")
    rc=$?
    got=$(awk '/^records\t/ { print $2 }' <<<"$out")
    [ "$rc" = "$status" ] && { [ "$records" = -1 ] || [ "${got:-0}" = "$records" ]; } &&
        { [ "$words" = - ] || head -n 1 "$T/err" | grep -qF -- "$words"; }
    ok $? "sky-pack: $file: status $status, $records records${words:+, \"$words\"}"
    if [ "$records" -ge 0 ] && [ "$file" != invalid/nothing.sky ]; then
        "$B/bin/sky-pack" --verify --threads 2 <"$f" >"$T/out" 2>"$T/err"
        rc=$?
        got=$(awk '/^records\t/ { print $2 }' "$T/out")
        [ "$rc" = "$status" ] && [ "${got:-0}" = "$records" ]
        ok $? "sky-pack: $file: the same through a redirection"
        # shellcheck disable=SC2002  # a pipe is the point: no seek
        cat "$f" | "$B/bin/sky-pack" --verify --threads 2 >"$T/out" 2>"$T/err"
        rc=$?
        got=$(awk '/^records\t/ { print $2 }' "$T/out")
        [ "$rc" = "$status" ] && [ "${got:-0}" = "$records" ]
        ok $? "sky-pack: $file: the same through a pipe"
    fi
    if command -v python3 >/dev/null && command -v zstd >/dev/null; then
        python3 formats/read.py "$f" >"$T/py" 2>"$T/err"
        [ $? = "$status" ]
        rc=$?
        if [ "$status" = 0 ]; then
            "$B/bin/sky-pack" --stat "$f" 2>/dev/null | grep -E '^(records|sum)' | cmp -s - "$T/py" || rc=1
        fi
        ok $rc "read.py: $file: status $status, same count and sum"
    fi
done < <(grep -v '^#' formats/vectors/expected.tsv)

if command -v zstd >/dev/null; then
    for f in formats/vectors/valid/*.sky; do
        case $f in *plain* | *mixed* | *json*) continue ;; esac
        zstd -qt "$f" 2>"$T/err" && zstd -qdc "$f" >"$T/plain" && "$B/bin/sky-pack" --stat "$T/plain" >"$T/a" 2>"$T/err" &&
            "$B/bin/sky-pack" --stat "$f" 2>"$T/err" | cmp -s - "$T/a"
        ok $? "zstd -t and zstd -dc: $f"
    done
fi

# Files beyond 4 GiB: holes, so they take no disk. A shard with foreign frames of 5 GiB between its records.
"$B/tests/make-vectors" --sparse "$T/big.sky" 2>"$T/err"
ok $? "a sparse shard of more than 4 GiB"
[ "$(stat -c %s "$T/big.sky" 2>/dev/null || echo 0)" -gt 5000000000 ]
ok $? "it is that large"
"$B/bin/sky-pack" --stat "$T/big.sky" 2>"$T/err" | grep -E '^(records|sum)' >"$T/a"
"$B/bin/sky-pack" --stat formats/vectors/valid/three.sky | grep -E '^(records|sum)' | cmp -s - "$T/a"
ok $? "read in order"
"$B/bin/sky-pack" --shuffle -o "$T/shuffled.sky" "$T/big.sky" 2>"$T/err" &&
    "$B/bin/sky-pack" --stat "$T/shuffled.sky" | grep -E '^(records|sum)' | cmp -s - "$T/a"
ok $? "read by index"
end
