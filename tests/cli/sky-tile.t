#!/bin/bash
# sky-tile from the outside: what it cuts, how it fails. Run from the repository root.
set -u -o pipefail
B=${BUILD:-build}
tile=$B/bin/sky-tile
scenes=$B/tests/tile_scenes
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
n=0 bad=0

ok() { # STATUS NAME
    n=$((n + 1))
    if [ "$1" -eq 0 ]; then echo "ok $n - $2"; else echo "not ok $n - $2"; bad=1; [ -s "$dir/err" ] && sed 's/^/# /' "$dir/err" | head -5; fi
}
# expect STATUS WORD NAME COMMAND...: exit status and a word of standard error
expect() {
    local status=$1 word=$2 name=$3
    shift 3
    "$@" >"$dir/out" 2>"$dir/err"
    local got=$?
    [ $got -eq "$status" ] && grep -qF -- "$word" "$dir/err"
    ok $? "$name: exit $got, $(tail -1 "$dir/err" | cut -c1-150)"
}
count() { "$scenes" ids | wc -l; }

"$scenes" make 3 100 132 >"$dir/a.sky" && "$scenes" sums <"$dir/a.sky" >"$dir/a.sums"
ok $? "test scenes"

# ---- what it cuts
for how in "--size 32" "--size 32 --edge keep" "--size 32 --edge pad" "--size 64 --overlap 20" "--size 40 --stride 12 --edge pad" "--size 500" "--size 500 --edge pad"; do
    $tile $how <"$dir/a.sky" 2>"$dir/err" | $scenes sums >"$dir/t.sums" && cmp -s "$dir/a.sums" "$dir/t.sums"
    ok $? "$how: put together again, the tiles are the scenes"
done
for t in 1 2 5; do $tile --size 32 --no-provenance --threads $t "$dir/a.sky" >"$dir/t$t" 2>"$dir/err"; done
cmp -s "$dir/t1" "$dir/t2" && cmp -s "$dir/t1" "$dir/t5"
ok $? "same bytes with 1, 2 and 5 threads"
$tile --size 32 --stride 24 --no-provenance "$dir/a.sky" >"$dir/t2" && $tile -s32 --overlap=8 --no-provenance - <"$dir/a.sky" | cmp -s - "$dir/t2"
ok $? "--overlap 8 is --stride 24; file or standard input"
for e in "shift 60" "keep 60" "pad 60" "drop 36"; do
    got=$($tile --size 32 --edge ${e% *} "$dir/a.sky" | count)
    [ "$got" = "${e#* }" ]
    ok $? "--edge ${e% *}: $got tiles"
done
$tile --size 32 "$dir/a.sky" | $scenes ids >"$dir/ids" && LC_ALL=C sort -c "$dir/ids" && [ -z "$(cut -d' ' -f1 "$dir/ids" | uniq -d)" ]
ok $? "ids are distinct and in order"
grep -qxF 'scene1_r00068_c00100 hr:3x32x32 label:32x32=0 s2:2x4x8x8 bounds:4' "$dir/ids"
ok $? "the last tile of scene1"
$tile --size 32 --resize 64 --edge keep "$dir/a.sky" | $scenes ids >"$dir/t3" && grep -qxF 'scene0_r00096_c00128 hr:3x8x8 label:8x8=0 s2:2x4x2x2 bounds:4' "$dir/t3"
ok $? "--resize 64 doubles a cut-off tile, too"
expect 3 "field 'hr': 60000000000 bytes, above the format's limit of 17179869184" "--resize to more than a reader takes" $tile --size 32 --resize 100000 "$dir/a.sky"
[ "$($tile --size 33 --edge drop --on s2 "$dir/a.sky" | count)" = 0 ]
ok $? "--on s2: tiles larger than that field"
$tile --size 8 --on s2 "$dir/a.sky" | $scenes ids >"$dir/t3" && grep -qxF 'scene0_r00008_c00016 hr:3x32x32 label:32x32=0,2 s2:2x4x8x8 bounds:4' "$dir/t3"
ok $? "--on s2: four pixels of hr for each of its own"
$tile --size 32 --drop-empty "$dir/a.sky" | $scenes ids >"$dir/full" && ! grep -q 'label:32x32=0 ' "$dir/full" && [ "$(wc -l <"$dir/full")" = 36 ]
ok $? "--drop-empty leaves out the tiles without a class"
for i in 1 2 3; do $tile --size 32 --part $i/3 "$dir/a.sky" | $scenes ids; done | LC_ALL=C sort | cmp -s - "$dir/ids"
ok $? "three parts are the whole"
$tile --size 32 "$dir/a.sky" >"$dir/t1" && head -1 "$dir/t1" | grep -qF '"provenance":[{"program":"sky-tile","version":"'
ok $? "provenance"
head -1 "$dir/t2" | grep -qvF provenance
ok $? "--no-provenance"
cat "$dir/a.sky" "$dir/a.sky" | $tile --size 32 | count | grep -qx 120
ok $? "two streams in one"
$tile --size 64 "$dir/a.sky" | $tile --size 32 | $scenes ids >"$dir/t3" && grep -q '^scene0_r00036_c00068_r00032_c00032 ' "$dir/t3"
ok $? "tiles of tiles"

# ---- by reference
crc=$($scenes tiff "$dir/b.tif" 20000 20000 40 41) && $scenes ref big "$dir/b.tif" 20000 20000 1 >"$dir/b.sky"
ok $? "a scene of 400 MB by reference"
if ldd "$tile" | grep -q libasan; then
    n=$((n + 1)); echo "ok $n - memory does not grow with the scene # SKIP the sanitizer's memory is counted, too"
else
    $scenes rss $tile --size 512 --threads 2 "$dir/b.sky" 2>"$dir/err" >/dev/null && kib=$(tail -1 "$dir/err") && [ "$kib" -lt 200000 ]
    ok $? "memory does not grow with the scene: ${kib:-?} KiB"
fi
$tile --size 256 "$dir/b.sky" | $scenes crcs >"$dir/crcs" && [ "$(cut -d' ' -f2 "$dir/crcs" | LC_ALL=C sort -u | wc -l)" = 2 ] && grep -q "^big_r10240_c10496 $crc " "$dir/crcs"
ok $? "its one block with pixels is where it belongs"
$scenes tiff "$dir/c.tif" 600 700 1 1 >/dev/null && $scenes ref c "$dir/c.tif" 600 700 1 >"$dir/c.sky" && $tile --size 1000 "$dir/c.sky" | $scenes sums >"$dir/c1" &&
    $tile --size 90 --overlap 13 --edge pad --threads 4 "$dir/c.sky" | $scenes sums | cmp -s - "$dir/c1"
ok $? "windows across block borders"
$scenes ref gone "$dir/no.tif" 600 700 1 >"$dir/d.sky"
expect 4 "record 0 'gone': tile 'gone_r00000_c00000': field 'hr': " "a raster that is not there" $tile --size 512 "$dir/d.sky"
$scenes ref few "$dir/c.tif" 600 700 2 >"$dir/d.sky"
expect 3 "record 0 'few'" "a reference to more bands than there are" $tile --size 512 "$dir/d.sky"
$scenes ref wide "$dir/c.tif" 600 900 1 >"$dir/d.sky"
expect 3 "record 0 'wide'" "a reference to more pixels than there are" $tile --size 512 --edge keep "$dir/d.sky"

# ---- command lines
expect 2 "--size" "no size" $tile "$dir/a.sky"
expect 2 "give one" "stride and overlap" $tile --size 32 --stride 16 --overlap 16 "$dir/a.sky"
expect 2 "smaller than" "overlap as large as the tile" $tile --size 32 --overlap 32 "$dir/a.sky"
expect 2 "want shift, keep, pad or drop" "edge policy" $tile --size 32 --edge wrap "$dir/a.sky"
expect 2 "--part" "part 0/3" $tile --size 32 --part 0/3 "$dir/a.sky"
expect 2 "size" "size 0" $tile --size 0 "$dir/a.sky"
expect 2 "stitch" "no --stitch" $tile --stitch "$dir/a.sky"

# ---- bad input
expect 4 "no.sky" "no such file" $tile --size 32 "$dir/no.sky"
if command -v script >/dev/null; then
    script -qec "$tile --size 32" /dev/null </dev/null >"$dir/err" 2>&1
    [ $? -eq 2 ] && grep -q 'no input: name files' "$dir/err"
    ok $? "no file and a terminal: it does not wait for somebody to type a stream"
else
    n=$((n + 1)); echo "ok $n - no file and a terminal # SKIP no script(1)"
fi
head -c 30000 "$dir/a.sky" >"$dir/cut"
expect 3 "ends" "truncated input" $tile --size 32 "$dir/cut"
expect 3 "" "empty input" $tile --size 32 /dev/null
expect 3 "" "text" $tile --size 32 Makefile
$scenes make 1 100 130 >"$dir/odd"
expect 3 "record 0 'scene0': field 's2': 32 pixels along x" "a field that does not fit" $tile --size 32 "$dir/odd"
cat "$dir/a.sky" "$dir/odd" "$dir/a.sky" >"$dir/mixed"
expect 3 "field 's2'" "the same with --keep-going" $tile --size 32 --keep-going "$dir/mixed"
[ "$(count <"$dir/out")" = 120 ]
ok $? "and everything else is there"
expect 3 "ends" "truncated input with --keep-going ends" timeout 20 $tile --size 32 --keep-going "$dir/cut"
# Both damaged records lie in what the reader has read ahead, so no byte is read between the two errors.
"$scenes" make 5 100 132 | "$B/bin/sky-pack" -o "$dir/hurt.sky" 2>"$dir/err"
LC_ALL=C grep -obUaP '\x93SKY\x0d' "$dir/hurt.sky" | cut -d: -f1 | sed -n '3,4p' >"$dir/leads" # S, 0, 1, 2
while read -r at; do printf '\377\377' | dd of="$dir/hurt.sky" bs=1 seek=$((at + 2000)) conv=notrunc 2>/dev/null; done <"$dir/leads"
expect 3 "record 2 'scene2'" "two damaged records of a shard with --keep-going" $tile --size 32 --keep-going --threads 8 "$dir/hurt.sky"
[ "$(count <"$dir/out")" = 60 ] && grep -q "record 1 'scene1'" "$dir/err"
ok $? "both are named, and the three others are cut"
expect 3 "no field 'x9'" "no such reference field" $tile --size 32 --on x9 "$dir/a.sky"

# ---- faults
$tile --size 32 "$dir/a.sky" 2>"$dir/err" >/dev/full
[ $? -eq 4 ] && grep -q "No space" "$dir/err"
ok $? "full disk: $(cat "$dir/err")"
$tile --size 32 "$dir/a.sky" 2>"$dir/err" >&-
[ $? -eq 4 ]
ok $? "closed standard output: $(cat "$dir/err")"
$tile --size 32 "$dir/a.sky" 2>"$dir/err" | head -c 1000 >/dev/null
[ ! -s "$dir/err" ]
ok $? "a reader that stops early: no message"
mkdir "$dir/o" && mkfifo "$dir/fifo"
env --default-signal=INT $tile --size 32 -o "$dir/o/t.sky" "$dir/fifo" 2>"$dir/err" &
job=$!
exec 9>"$dir/fifo"
head -c 100000 "$dir/a.sky" >&9
for _ in 1 2 3 4 5 6 7 8 9 10; do [ -n "$(ls "$dir/o")" ] && break; sleep 0.2; done
kill -INT $job
wait $job 2>/dev/null
got=$?
exec 9>&-
[ $got -eq 130 ] && [ -z "$(ls "$dir/o")" ]
ok $? "interrupted: exit $got, nothing left of the output"

# Memory that fails at one place after another: a message and status 4 (3 where a parser of text cannot tell the
# difference), or no harm at all; never a wrong stream that looks right. Jansson itself aborts at one place in its scanner.
$scenes make 1 32 64 >"$dir/s.sky"
small() { $tile --no-provenance --size 32 --edge pad --resize 16 --threads 1 "$dir/s.sky"; }
small >"$dir/right"
ran=0 failed=0 wrong=
for i in {1..30} {31..700..13}; do
    SKY_TEST_FAIL_ALLOC=$i small >"$dir/t1" 2>"$dir/err"
    got=$?
    ran=$((ran + 1))
    case $got in
    0) cmp -s "$dir/t1" "$dir/right" || wrong="$wrong $i" ;;
    3 | 4) failed=$((failed + 1)); [ -s "$dir/err" ] || wrong="$wrong $i" ;;
    134) grep -q 'load.c.*lex_scan' "$dir/err" || wrong="$wrong $i" ;;
    *) wrong="$wrong $i" ;;
    esac
done 2>/dev/null
[ -z "$wrong" ] && [ $failed -gt 40 ]
ok $? "one allocation failing, $ran times: $failed ends with a message, the rest without harm (wrong:${wrong:- none})"
echo "1..$n"
exit $bad
