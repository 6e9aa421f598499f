#!/bin/bash
# Both readers, sky-pack and formats/read.py, against every file of formats/vectors; and the files against their maker.
cd "$(dirname "$0")/../.." || exit 1
bin=${BUILD:-build}
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
n=0
ok() { # ok STATUS DESCRIPTION
    n=$((n + 1))
    if [ "$1" = 0 ]; then echo "ok $n - $2"; else echo "not ok $n - $2"; sed 's/^/# /' "$tmp/err"; fi
}

mkdir "$tmp/again"
"$bin/tests/make-vectors" "$tmp/again" && diff -r "$tmp/again" formats/vectors >"$tmp/err" 2>&1
ok $? "the files are what make-vectors writes today: the format has not moved"

while IFS=$'\t' read -r file status records words; do
    f=formats/vectors/$file
    out=$("$bin/bin/sky-pack" --verify --threads 2 "$f" 2>"$tmp/err")
    rc=$?
    got=$(awk '/^records\t/ { print $2 }' <<<"$out")
    [ "$rc" = "$status" ] && { [ "$records" = -1 ] || [ "${got:-0}" = "$records" ]; } &&
        { [ "$words" = - ] || head -n 1 "$tmp/err" | grep -qF -- "$words"; }
    ok $? "sky-pack: $file: status $status, $records records${words:+, \"$words\"}"
    if [ "$records" -ge 0 ] && [ "$file" != invalid/nothing.sky ]; then
        "$bin/bin/sky-pack" --verify --threads 2 <"$f" >"$tmp/out" 2>"$tmp/err"
        rc=$?
        got=$(awk '/^records\t/ { print $2 }' "$tmp/out")
        [ "$rc" = "$status" ] && [ "${got:-0}" = "$records" ]
        ok $? "sky-pack: $file: the same through a redirection"
        # shellcheck disable=SC2002  # a pipe is the point: no seek
        cat "$f" | "$bin/bin/sky-pack" --verify --threads 2 >"$tmp/out" 2>"$tmp/err"
        rc=$?
        got=$(awk '/^records\t/ { print $2 }' "$tmp/out")
        [ "$rc" = "$status" ] && [ "${got:-0}" = "$records" ]
        ok $? "sky-pack: $file: the same through a pipe"
    fi
    if command -v python3 >/dev/null && command -v zstd >/dev/null; then
        python3 formats/read.py "$f" >"$tmp/py" 2>"$tmp/err"
        [ $? = "$status" ]
        rc=$?
        if [ "$status" = 0 ]; then
            "$bin/bin/sky-pack" --stat "$f" 2>/dev/null | grep -E '^(records|sum)' | cmp -s - "$tmp/py" || rc=1
        fi
        ok $rc "read.py: $file: status $status, same count and sum"
    fi
done < <(grep -v '^#' formats/vectors/expected.tsv)

if command -v zstd >/dev/null; then
    for f in formats/vectors/valid/*.sky; do
        case $f in *plain* | *mixed* | *json*) continue ;; esac
        zstd -qt "$f" 2>"$tmp/err" && zstd -qdc "$f" >"$tmp/plain" && "$bin/bin/sky-pack" --stat "$tmp/plain" >"$tmp/a" 2>"$tmp/err" &&
            "$bin/bin/sky-pack" --stat "$f" 2>"$tmp/err" | cmp -s - "$tmp/a"
        ok $? "zstd -t and zstd -dc: $f"
    done
fi

# Files beyond 4 GiB: holes, so they take no disk. A shard with foreign frames of 5 GiB between its records.
"$bin/tests/make-vectors" --sparse "$tmp/big.sky" 2>"$tmp/err"
ok $? "a sparse shard of more than 4 GiB"
[ "$(stat -c %s "$tmp/big.sky" 2>/dev/null || echo 0)" -gt 5000000000 ]
ok $? "it is that large"
"$bin/bin/sky-pack" --stat "$tmp/big.sky" 2>"$tmp/err" | grep -E '^(records|sum)' >"$tmp/a"
"$bin/bin/sky-pack" --stat formats/vectors/valid/three.sky | grep -E '^(records|sum)' | cmp -s - "$tmp/a"
ok $? "read in order"
"$bin/bin/sky-pack" --shuffle -o "$tmp/shuffled.sky" "$tmp/big.sky" 2>"$tmp/err" &&
    "$bin/bin/sky-pack" --stat "$tmp/shuffled.sky" | grep -E '^(records|sum)' | cmp -s - "$tmp/a"
ok $? "read by index"
echo "1..$n"
