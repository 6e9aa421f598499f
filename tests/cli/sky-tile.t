#!/bin/bash
# sky-tile from the outside: what it cuts, how it fails. Run from the repository root.
set -u -o pipefail
. "$(dirname "$0")/t.sh"
tile=$B/bin/sky-tile
scenes=$B/tests/tile_scenes
# expect STATUS WORD NAME COMMAND...: exit status and a word of standard error
expect() {
    local status=$1 word=$2 name=$3
    shift 3
    "$@" >"$T/out" 2>"$T/err"
    local got=$?
    [ $got -eq "$status" ] && grep -qF -- "$word" "$T/err"
    ok $? "$name: exit $got, $(tail -1 "$T/err" | cut -c1-150)"
}
count() { "$scenes" ids | wc -l; }

"$scenes" make 3 100 132 >"$T/a.sky" && "$scenes" sums <"$T/a.sky" >"$T/a.sums"
ok $? "test scenes"

# ---- what it cuts
for how in "--size 32" "--size 32 --edge keep" "--size 32 --edge pad" "--size 64 --overlap 20" "--size 40 --stride 12 --edge pad" "--size 500" "--size 500 --edge pad"; do
    $tile $how <"$T/a.sky" 2>"$T/err" | $scenes sums >"$T/t.sums" && cmp -s "$T/a.sums" "$T/t.sums"
    ok $? "$how: put together again, the tiles are the scenes"
done
for t in 1 2 5; do $tile --size 32 --no-provenance --threads $t "$T/a.sky" >"$T/t$t" 2>"$T/err"; done
cmp -s "$T/t1" "$T/t2" && cmp -s "$T/t1" "$T/t5"
ok $? "same bytes with 1, 2 and 5 threads"
$tile --size 32 --stride 24 --no-provenance "$T/a.sky" >"$T/t2" && $tile -s32 --overlap=8 --no-provenance - <"$T/a.sky" | cmp -s - "$T/t2"
ok $? "--overlap 8 is --stride 24; file or standard input"
for e in "shift 60" "keep 60" "pad 60" "drop 36"; do
    got=$($tile --size 32 --edge ${e% *} "$T/a.sky" | count)
    [ "$got" = "${e#* }" ]
    ok $? "--edge ${e% *}: $got tiles"
done
$tile --size 32 "$T/a.sky" | $scenes ids >"$T/ids" && LC_ALL=C sort -c "$T/ids" && [ -z "$(cut -d' ' -f1 "$T/ids" | uniq -d)" ]
ok $? "ids are distinct and in order"
grep -qxF 'scene1_r00068_c00100 hr:3x32x32 label:32x32=0 s2:2x4x8x8 bounds:4' "$T/ids"
ok $? "the last tile of scene1"
$tile --size 32 --resize 64 --edge keep "$T/a.sky" | $scenes ids >"$T/t3" && grep -qxF 'scene0_r00096_c00128 hr:3x8x8 label:8x8=0 s2:2x4x2x2 bounds:4' "$T/t3"
ok $? "--resize 64 doubles a cut-off tile, too"
expect 3 "field 'hr': 60000000000 bytes, above the format's limit of 17179869184" "--resize to more than a reader takes" $tile --size 32 --resize 100000 "$T/a.sky"
[ "$($tile --size 33 --edge drop --on s2 "$T/a.sky" | count)" = 0 ]
ok $? "--on s2: tiles larger than that field"
$tile --size 8 --on s2 "$T/a.sky" | $scenes ids >"$T/t3" && grep -qxF 'scene0_r00008_c00016 hr:3x32x32 label:32x32=0,2 s2:2x4x8x8 bounds:4' "$T/t3"
ok $? "--on s2: four pixels of hr for each of its own"
$tile --size 32 --drop-empty "$T/a.sky" | $scenes ids >"$T/full" && ! grep -q 'label:32x32=0 ' "$T/full" && [ "$(wc -l <"$T/full")" = 36 ]
ok $? "--drop-empty leaves out the tiles without a class"
for i in 1 2 3; do $tile --size 32 --part $i/3 "$T/a.sky" | $scenes ids; done | LC_ALL=C sort | cmp -s - "$T/ids"
ok $? "three parts are the whole"
$tile --size 32 "$T/a.sky" >"$T/t1" && head -1 "$T/t1" | grep -qF '"provenance":[{"program":"sky-tile","version":"'
ok $? "provenance"
head -1 "$T/t2" | grep -qvF provenance
ok $? "--no-provenance"
cat "$T/a.sky" "$T/a.sky" | $tile --size 32 | count | grep -qx 120
ok $? "two streams in one"
$tile --size 64 "$T/a.sky" | $tile --size 32 | $scenes ids >"$T/t3" && grep -q '^scene0_r00036_c00068_r00032_c00032 ' "$T/t3"
ok $? "tiles of tiles"

# ---- by reference
crc=$($scenes tiff "$T/b.tif" 20000 20000 40 41) && $scenes ref big "$T/b.tif" 20000 20000 1 >"$T/b.sky"
ok $? "a scene of 400 MB by reference"
if ldd "$tile" | grep -q libasan; then
    skip "memory does not grow with the scene" "the sanitizer's memory is counted, too"
else
    $scenes rss $tile --size 512 --threads 2 "$T/b.sky" 2>"$T/err" >/dev/null && kib=$(tail -1 "$T/err") && [ "$kib" -lt 200000 ]
    ok $? "memory does not grow with the scene: ${kib:-?} KiB"
fi
$tile --size 256 "$T/b.sky" | $scenes crcs >"$T/crcs" && [ "$(cut -d' ' -f2 "$T/crcs" | LC_ALL=C sort -u | wc -l)" = 2 ] && grep -q "^big_r10240_c10496 $crc " "$T/crcs"
ok $? "its one block with pixels is where it belongs"
$scenes tiff "$T/c.tif" 600 700 1 1 >/dev/null && $scenes ref c "$T/c.tif" 600 700 1 >"$T/c.sky" && $tile --size 1000 "$T/c.sky" | $scenes sums >"$T/c1" &&
    $tile --size 90 --overlap 13 --edge pad --threads 4 "$T/c.sky" | $scenes sums | cmp -s - "$T/c1"
ok $? "windows across block borders"
$scenes ref gone "$T/no.tif" 600 700 1 >"$T/d.sky"
expect 4 "record 0 'gone': tile 'gone_r00000_c00000': field 'hr': " "a raster that is not there" $tile --size 512 "$T/d.sky"
$scenes ref few "$T/c.tif" 600 700 2 >"$T/d.sky"
expect 3 "record 0 'few'" "a reference to more bands than there are" $tile --size 512 "$T/d.sky"
$scenes ref wide "$T/c.tif" 600 900 1 >"$T/d.sky"
expect 3 "record 0 'wide'" "a reference to more pixels than there are" $tile --size 512 --edge keep "$T/d.sky"

# ---- command lines
expect 2 "--size" "no size" $tile "$T/a.sky"
expect 2 "give one" "stride and overlap" $tile --size 32 --stride 16 --overlap 16 "$T/a.sky"
expect 2 "smaller than" "overlap as large as the tile" $tile --size 32 --overlap 32 "$T/a.sky"
expect 2 "want shift, keep, pad or drop" "edge policy" $tile --size 32 --edge wrap "$T/a.sky"
expect 2 "--part" "part 0/3" $tile --size 32 --part 0/3 "$T/a.sky"
expect 2 "size" "size 0" $tile --size 0 "$T/a.sky"
expect 2 "stitch" "no --stitch" $tile --stitch "$T/a.sky"

# ---- bad input
expect 4 "no.sky" "no such file" $tile --size 32 "$T/no.sky"
if command -v script >/dev/null; then
    script -qec "$tile --size 32" /dev/null </dev/null >"$T/err" 2>&1
    [ $? -eq 2 ] && grep -q 'no input: name files' "$T/err"
    ok $? "no file and a terminal: it does not wait for somebody to type a stream"
else
    skip "no file and a terminal" "no script(1)"
fi
head -c 30000 "$T/a.sky" >"$T/cut"
expect 3 "ends" "truncated input" $tile --size 32 "$T/cut"
expect 3 "" "empty input" $tile --size 32 /dev/null
expect 3 "" "text" $tile --size 32 Makefile
$scenes make 1 100 130 >"$T/odd"
expect 3 "record 0 'scene0': field 's2': 32 pixels along x" "a field that does not fit" $tile --size 32 "$T/odd"
cat "$T/a.sky" "$T/odd" "$T/a.sky" >"$T/mixed"
expect 3 "field 's2'" "the same with --keep-going" $tile --size 32 --keep-going "$T/mixed"
[ "$(count <"$T/out")" = 120 ]
ok $? "and everything else is there"
expect 3 "ends" "truncated input with --keep-going ends" timeout 20 $tile --size 32 --keep-going "$T/cut"
# Both damaged records lie in what the reader has read ahead, so no byte is read between the two errors.
"$scenes" make 5 100 132 | "$B/bin/sky-pack" -o "$T/hurt.sky" 2>"$T/err"
LC_ALL=C grep -obUaP '\x93SKY\x0d' "$T/hurt.sky" | cut -d: -f1 | sed -n '3,4p' >"$T/leads" # S, 0, 1, 2
while read -r at; do printf '\377\377' | dd of="$T/hurt.sky" bs=1 seek=$((at + 2000)) conv=notrunc 2>/dev/null; done <"$T/leads"
expect 3 "record 2 'scene2'" "two damaged records of a shard with --keep-going" $tile --size 32 --keep-going --threads 8 "$T/hurt.sky"
[ "$(count <"$T/out")" = 60 ] && grep -q "record 1 'scene1'" "$T/err"
ok $? "both are named, and the three others are cut"
expect 3 "no field 'x9'" "no such reference field" $tile --size 32 --on x9 "$T/a.sky"

# ---- faults
$tile --size 32 "$T/a.sky" 2>"$T/err" >/dev/full
[ $? -eq 4 ] && grep -q "No space" "$T/err"
ok $? "full disk: $(cat "$T/err")"
$tile --size 32 "$T/a.sky" 2>"$T/err" >&-
[ $? -eq 4 ]
ok $? "closed standard output: $(cat "$T/err")"
$tile --size 32 "$T/a.sky" 2>"$T/err" | head -c 1000 >/dev/null
[ ! -s "$T/err" ]
ok $? "a reader that stops early: no message"
mkdir "$T/o" && mkfifo "$T/fifo"
env --default-signal=INT $tile --size 32 -o "$T/o/t.sky" "$T/fifo" 2>"$T/err" &
job=$!
exec 9>"$T/fifo"
head -c 100000 "$T/a.sky" >&9
for _ in 1 2 3 4 5 6 7 8 9 10; do [ -n "$(ls "$T/o")" ] && break; sleep 0.2; done
kill -INT $job
wait $job 2>/dev/null
got=$?
exec 9>&-
[ $got -eq 130 ] && [ -z "$(ls "$T/o")" ]
ok $? "interrupted: exit $got, nothing left of the output"

# Memory that fails at one place after another: a message and status 4 (3 where a parser of text cannot tell the
# difference), or no harm at all; never a wrong stream that looks right. Jansson itself aborts at one place in its scanner.
$scenes make 1 32 64 >"$T/s.sky"
small() { $tile --no-provenance --size 32 --edge pad --resize 16 --threads 1 "$T/s.sky"; }
small >"$T/right"
ran=0 failed=0 wrong=
for i in {1..30} {31..700..13}; do
    SKY_TEST_FAIL_ALLOC=$i small >"$T/t1" 2>"$T/err"
    got=$?
    ran=$((ran + 1))
    case $got in
    0) cmp -s "$T/t1" "$T/right" || wrong="$wrong $i" ;;
    3 | 4) failed=$((failed + 1)); [ -s "$T/err" ] || wrong="$wrong $i" ;;
    134) grep -q 'load.c.*lex_scan' "$T/err" || wrong="$wrong $i" ;;
    *) wrong="$wrong $i" ;;
    esac
done 2>/dev/null
[ -z "$wrong" ] && [ $failed -gt 40 ]
ok $? "one allocation failing, $ran times: $failed ends with a message, the rest without harm (wrong:${wrong:- none})"
end
