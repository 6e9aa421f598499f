#!/bin/bash
# sky-pack at the command line: what it writes, says and returns, also when disk, memory, pipe or patience run out.
cd "$(dirname "$0")/../.." || exit 1
. tests/cli/t.sh
pack=$B/bin/sky-pack
status() { # status WANT DESCRIPTION COMMAND...
    local want=$1 what=$2
    shift 2
    "$@" >"$T/out" 2>"$T/err"
    local rc=$?
    [ "$rc" = "$want" ]
    ok $? "$what: status $want${*:+ }(got $rc)"
}
sum() { "$pack" --stat "$@" 2>/dev/null | grep -E '^(records|sum)'; }

"$B/tests/make-samples" 30 "$T/a.sky" && "$B/tests/make-samples" 12 "$T/p.sky" plain first 30
ok $? "samples"
want=$(sum "$T/a.sky" "$T/p.sky")
[ "$(wc -l <<<"$want")" = 2 ]
ok $? "a sum of 42 records"

# ---- usage
status 0 "--help" "$pack" --help
[ "$(wc -l <"$T/out")" -lt 60 ] && [ ! -s "$T/err" ]
ok $? "one screen on standard output"
status 0 "--version" "$pack" --version
grep -q zstd "$T/out"
ok $? "names its libraries"
status 2 "an unknown option" "$pack" --no-such
status 2 "nothing to do" "$pack" "$T/a.sky"
status 2 "two modes" "$pack" --list --stat "$T/a.sky"
status 2 "a bad level" "$pack" -o "$T/x.sky" --level 77 "$T/a.sky"
status 2 "a bad size" "$pack" -o "$T/x-%d.sky" --shard-size 10Q "$T/a.sky"
status 2 "shards without a pattern" "$pack" -o "$T/x.sky" --shard-count 5 "$T/a.sky"
status 2 "a bad pattern" "$pack" -o "$T/x-%s.sky" --shard-count 5 "$T/a.sky"
status 4 "no such file" "$pack" --list "$T/none.sky"
status 3 "not ours" "$pack" --list /etc/passwd
grep -q 'neither a sky stream nor a shard' "$T/err"
ok $? "says so"
if command -v script >/dev/null; then
    script -qec "'$pack' --cat '$T/a.sky'" /dev/null >"$T/out" 2>&1
    grep -q 'terminal' "$T/out" && [ "$(wc -c <"$T/out")" -lt 1000 ]
    ok $? "binary is not written to a terminal"
else
    skip "binary is not written to a terminal" "no script(1)"
fi

# ---- round trips: the same sum whatever happens to the order, the spelling and the cut
"$pack" -o "$T/all.sky" "$T/a.sky" "$T/p.sky" 2>"$T/err" && [ "$(sum "$T/all.sky")" = "$want" ]
ok $? "packed into one"
"$pack" -o "$T/s-%03d.sky" --shard-size 6K "$T/all.sky" 2>"$T/err" && [ "$(sum "$T"/s-*.sky)" = "$want" ]
ok $? "packed into shards of a size"
[ -f "$T/s-004.sky" ] && [ -z "$(find "$T" -name 's-*.sky' -size +6144c)" ]
ok $? "none is larger"
"$pack" -o "$T/c-%d.sky" --shard-count 10 "$T/all.sky" 2>"$T/err" && [ "$(sum "$T"/c-?.sky)" = "$want" ] && [ -f "$T/c-4.sky" ] && [ ! -f "$T/c-5.sky" ]
ok $? "packed into shards of 10 records"
"$pack" --cat "$T/all.sky" 2>"$T/err" | "$pack" -o - 2>>"$T/err" | "$pack" --stat 2>>"$T/err" | grep -E '^(records|sum)' >"$T/out"
[ "$(cat "$T/out")" = "$want" ]
ok $? "through two pipes"
"$pack" -o "$T/plain.sky" --plain "$T/all.sky" 2>"$T/err" && [ "$(head -c 8 "$T/plain.sky")" = '{"sky":"' ] && [ "$(sum "$T/plain.sky")" = "$want" ]
ok $? "--plain into a file"
"$pack" --shuffle --seed 5 -o "$T/r1.sky" "$T/all.sky" 2>"$T/err" && [ "$(sum "$T/r1.sky")" = "$want" ]
ok $? "shuffled"
! cmp -s <("$pack" --list "$T/r1.sky") <("$pack" --list "$T/all.sky")
ok $? "in another order"
"$pack" --shuffle --seed 5 --threads 1 --no-provenance -o "$T/r2.sky" "$T/all.sky" 2>"$T/err" && "$pack" --shuffle --seed 5 --no-provenance -o "$T/r3.sky" "$T/all.sky" 2>"$T/err" && cmp "$T/r2.sky" "$T/r3.sky"
ok $? "the same bytes for the same seed, whatever the threads"
"$pack" --cat "$T/all.sky" | "$pack" --shuffle --seed 5 --no-provenance -o "$T/r4.sky" 2>"$T/err" && cmp -s <("$pack" --list "$T/r4.sky") <("$pack" --list "$T/r3.sky")
ok $? "and the same order from a pipe"
for t in 1 2 5; do "$pack" --no-provenance --threads $t -o "$T/t$t.sky" "$T/a.sky" "$T/p.sky" 2>>"$T/err"; done
cmp "$T/t1.sky" "$T/t2.sky" && cmp "$T/t1.sky" "$T/t5.sky"
ok $? "the same bytes for 1, 2 and 5 threads"
"$pack" --to-tar -o "$T/a.tar" "$T/all.sky" 2>"$T/err" && tar tf "$T/a.tar" >/dev/null 2>"$T/err" && "$pack" --from-tar -o "$T/w.sky" "$T/a.tar" 2>"$T/err" && [ "$(sum "$T/w.sky")" = "$want" ]
ok $? "to a tar and back"
"$pack" --to-tar "$T/all.sky" | "$pack" --from-tar -o - | "$pack" --stat | grep -E '^(records|sum)' >"$T/out"
[ "$(cat "$T/out")" = "$want" ]
ok $? "to a tar and back through pipes"
mkdir "$T/wds" && (cd "$T/wds" && tar xf ../a.tar) && tar tf "$T/a.tar" >"$T/members"
third=$(sed -n '/\.json$/p' "$T/members" | sed -n 3p) fifth=$(sed -n '/\.json$/p' "$T/members" | sed -n 5p)
printf '{"id":' >"$T/wds/$third"
printf 'x' >"$T/wds/${fifth%.json}.s2.npy"
(cd "$T/wds" && tar cf ../hurt.tar -T ../members)
status 3 "a tar with a damaged sample" "$pack" --from-tar -o "$T/hurt.sky" "$T/hurt.tar"
grep -q "hurt.tar: $third: json: " "$T/err" && [ ! -e "$T/hurt.sky" ]
ok $? "is named and gives nothing"
status 3 "--from-tar --keep-going" "$pack" --from-tar --keep-going -o "$T/hurt.sky" "$T/hurt.tar" "$T/a.tar"
[ "$(grep -c 'hurt.tar: ' "$T/err")" = 2 ] && grep -q "hurt.tar: ${fifth%.json}.s2.npy: " "$T/err" && grep -q '2 records skipped' "$T/err"
ok $? "names the two"
"$pack" --stat "$T/hurt.sky" | grep -q '^records[[:space:]]*82$'
ok $? "and keeps all others, of this tar and the next"
head -c "$(($(stat -c %s "$T/a.tar") / 2))" "$T/a.tar" >"$T/half.tar"
status 3 "a tar cut short, --keep-going" "$pack" --from-tar --keep-going -o "$T/half.sky" "$T/half.tar"
[ "$(grep -c 'half.tar' "$T/err")" = 1 ] && "$pack" --verify "$T/half.sky" >"$T/out" 2>&1
ok $? "gives the samples before the cut"
"$pack" --from-tar -o "$T/foreign.sky" tests/fuzz/corpus/webdataset/ours.tar 2>"$T/err"
[ "$("$pack" --list "$T/foreign.sky" | cut -f1 | tr '\n' ' ')" = "a/b b " ] && grep -q '1 of its members .*first: c.txt' "$T/err"
ok $? "a member that is not read makes no sample of its own"
if command -v zstd >/dev/null; then
    zstd -qt "$T/all.sky" && zstd -qdc "$T/all.sky" | cmp - <("$pack" --cat "$T/all.sky")
    ok $? "--cat is zstd -dc, byte for byte"
else
    skip "--cat is zstd -dc, byte for byte" "no zstd"
fi

# ---- reports
status 0 "--list" "$pack" --list "$T/a.sky"
[ "$(wc -l <"$T/out")" = 30 ] && grep -q 's1 absent' "$T/out"
ok $? "a line per record"
status 0 "--list --json" "$pack" --list --json "$T/a.sky"
if command -v python3 >/dev/null; then
    python3 -c 'import json,sys; [json.loads(l) for l in sys.stdin]' <"$T/out" && "$pack" --info --json "$T/a.sky" | python3 -m json.tool >/dev/null && "$pack" --stat --json "$T/a.sky" | python3 -m json.tool >/dev/null
    ok $? "the JSON is JSON"
else
    skip "the JSON is JSON" "no python3"
fi
"$pack" --stat "$T/a.sky" "$T/p.sky" | grep -q '^band[[:space:]]s2[[:space:]]3.*mean [0-9.]*[[:space:]]std [0-9.]*[[:space:]]valid [0-9]*$' &&
    [ "$("$pack" --stat "$T/a.sky" | grep -c '^band.*label')" = 0 ]
ok $? "--stat has mean and std per band, of pictures only"
status 0 "--info" "$pack" --info "$T/s-000.sky"
[ "$(grep -c '^provenance' "$T/out")" = 2 ] && grep -q 'shard-size' "$T/out"
ok $? "shows the chain of programs"

"$pack" --progress json -o "$T/prog.sky" "$T/a.sky" 2>"$T/err"
grep -qx '{"program":"sky-pack","records":30,"total":0,"bytes":'"$(stat -c '%s,"total_bytes":%s' "$T/a.sky")"',"seconds":[0-9.]*,"done":true}' "$T/err"
ok $? "--progress json counts the bytes of the files against all of them"

# ---- files
status 4 "--extract makes its folder, not the one above" "$pack" --extract png -C "$T/no/x" "$T/a.sky"
status 0 "--extract png, into a folder that it makes" "$pack" --extract png -C "$T/x" "$T/a.sky"
status 0 "--extract tif" "$pack" --extract tif --fields s2,label -C "$T/x" "$T/a.sky"
status 0 "--extract npz" "$pack" --extract npz -C "$T/x" "$T/a.sky"
[ "$(find "$T/x" -name '*.png' | wc -l)" = 60 ] && [ "$(find "$T/x" -name '*.tif' | wc -l)" = 60 ] && [ "$(find "$T/x" -name '*.npz' | wc -l)" = 30 ]
ok $? "one file per field, one npz per record"
[ "$(find "$T/x" -type f | wc -l)" = 150 ] && [ "$(find "$T/x" -type d | wc -l)" = 1 ]
ok $? "and the slash in the ids made no directories"
status 2 "--extract jpg" "$pack" --extract jpg -C "$T/x" "$T/a.sky"
status 3 "--fields that no record has" "$pack" --extract npz --fields tpyo -C "$T/x" "$T/a.sky"
grep -q 'tpyo' "$T/err"
ok $? "names them"
status 3 "a misspelt field beside a right one" "$pack" --extract npz --fields label,tpyo,label -C "$T/x" "$T/a.sky"
grep -q "no record has a field 'tpyo'" "$T/err"
ok $? "is named"
status 2 "a field that is no picture, asked for by name" "$pack" --extract png --fields none -C "$T/x" "$T/a.sky"
if command -v gdalinfo >/dev/null; then
    f=$(find "$T/x" -name '*00003*s2.tif')
    gdalinfo "$f" >"$T/out" 2>"$T/err" && grep -q 'UTM zone 31N' "$T/out" && grep -q 'Origin = (300000.0999' "$T/out" && grep -q 'Band 3 .*UInt16' "$T/out" && ! grep -qi warning "$T/err"
    ok $? "GDAL reads the TIFF's place, bands and type"
else
    skip "GDAL reads the TIFF" "no gdalinfo"
fi
if [ -x "$B/bin/sky-ingest" ] && command -v python3 >/dev/null; then
    "$B/bin/sky-ingest" -d flood3i tests/data/flood3i 2>"$T/err" | "$pack" --extract tif -C "$T/colours" 2>>"$T/err"
    python3 - "$T"/colours/*.tif >"$T/out" 2>>"$T/err" <<'PY'
import struct, sys
for path in sys.argv[1:]:
    b = open(path, "rb").read()
    at, = struct.unpack_from("<I", b, 4)
    t = {k: (n, v) for k, _, n, v in (struct.unpack_from("<HHII", b, at + 2 + 12 * i) for i in range(struct.unpack_from("<H", b, at)[0]))}
    label, n = path.endswith(".label.tif"), 320 in t and t[320][0]
    water = n and [struct.unpack_from("<H", b, t[320][1] + 2 * (256 * c + 5))[0] for c in range(3)]  # class 5: [61,230,250]
    print(label, t[262][1], water if label else n)
PY
    same "$(sort -u "$T/out")" "$(printf 'False 1 False\nTrue 3 [15677, 59110, 64250]')" "labels have the colours of their classes in TIFFs, images have none"
else
    skip "labels have the colours of their classes in TIFFs" "no sky-ingest, or no python3"
fi
# Which of the two keys a TIFF has for its EPSG code: 2048 geographic, 3072 projected.
key_of() { # key_of EPSG PIXEL WEST NORTH
    printf '%s\n' "$2" 0 0 "-$2" "$3" "$4" >"$T/geo/a_0_0.hr.tfw"
    printf 'dataset: geo\nfields: {hr: {role: image, path: "{id}.hr.tif", crs: "EPSG:%s"}}\n' "$1" >"$T/geo.yaml"
    "$B/bin/sky-ingest" -d "$T/geo.yaml" "$T/geo" 2>"$T/err" | "$pack" --extract tif -C "$T/tif" 2>>"$T/err"
    python3 - "$T/tif/a_0_0.hr.tif" <<'PY'
import struct, sys
b = open(sys.argv[1], "rb").read()
at, = struct.unpack_from("<I", b, 4)
for i in range(struct.unpack_from("<H", b, at)[0]):
    tag, _, n, where = struct.unpack_from("<HHII", b, at + 2 + 12 * i)
    if tag == 34735:
        k = struct.unpack_from("<%dH" % n, b, where)
        print(k[12], k[15])
PY
}
if [ -x "$B/bin/sky-ingest" ]; then
    "$B/bin/sky-ingest" -d folder --images '{id:a_0_0}.jpg' tests/data/flood3i/Images | "$pack" --extract tif -C "$T/geo"
    [ "$(key_of 4547 0.5 500000 3400000)" = "3072 4547" ] && [ "$(key_of 32631 10 300000 4800000)" = "3072 32631" ] &&
        [ "$(key_of 4326 0.0001 1.4 43.6)" = "2048 4326" ] && [ "$(key_of 7844 0.0001 148.1 -35.2)" = "2048 7844" ]
    ok $? "projected and geographic systems are told apart in TIFFs, also beyond 4001..4999"
    sed "s/EPSG:[0-9]*\"/LOCAL_CS['here']\"/" "$T/geo.yaml" >"$T/local.yaml"
    "$B/bin/sky-ingest" -d "$T/local.yaml" "$T/geo" | "$pack" --extract tif -C "$T/tif" 2>"$T/err"
    grep -q "field 'hr': the coordinate reference system, which is WKT and not an EPSG code: left out" "$T/err"
    ok $? "a reference system that a TIFF does not get is named"
else
    skip "projected and geographic systems are told apart" "sky-ingest is missing"
    skip "a reference system that a TIFF does not get is named" "sky-ingest is missing"
fi

# ---- damage
size=$(stat -c %s "$T/a.sky")
head -c $((size * 6 / 10)) "$T/a.sky" >"$T/cut.sky"
status 3 "a cut shard: --list" "$pack" --list "$T/cut.sky"
got=$(wc -l <"$T/out")
[ "$got" -ge 10 ]
ok $? "lists what is whole ($got)"
status 3 "packing it" "$pack" -o "$T/y.sky" "$T/cut.sky"
[ ! -e "$T/y.sky" ]
ok $? "leaves nothing"
status 3 "--recover" "$pack" --recover -o "$T/y.sky" "$T/cut.sky"
[ "$(sum "$T/y.sky" | head -n 1)" = "records	$got" ]
ok $? "writes what is whole"
status 0 "the result is sound" "$pack" --verify "$T/y.sky"
status 3 "--keep-going" "$pack" --keep-going -o "$T/z.sky" "$T/cut.sky"
recovers() { # recovers FILE RECORDS LAST-LINE
    "$pack" --recover -o "$T/y.sky" "$1" >"$T/out" 2>"$T/err"
    [ $? = 3 ] && [ "$("$pack" --stat "$T/y.sky" | head -n 1)" = "records	$2" ] && [ "$(tail -n 1 "$T/err")" = "sky-pack: $3" ]
    ok $? "--recover of ${1##*/}: $2 records, and says: $3"
}
for cut in 1 100 1200; do # in the trailer, the index, the END record
    head -c $((size - cut)) "$T/a.sky" >"$T/without-$cut.sky"
    recovers "$T/without-$cut.sky" 30 "1 damage outside records"
done
status 3 "--verify of a damaged index" "$pack" --verify "$T/without-100.sky"
grep -q '^records	30' "$T/out" && ! grep -q intact "$T/out" && grep -q ': index: ' "$T/err" && ! grep -q skipped "$T/err"
ok $? "no record is said to be lost"
head -c $((size - 2000)) "$T/a.sky" >"$T/without-2000.sky"
recovers "$T/without-2000.sky" 28 "1 record skipped"
: >"$T/empty.sky"
cp "$T/y.sky" "$T/before.sky"
recovers "$T/empty.sky" 28 "1 damage outside records"
grep -q "no intact record was found: nothing is written" "$T/err" && cmp -s "$T/y.sky" "$T/before.sky"
ok $? "--recover that finds nothing leaves the output as it was"
status 3 "--verify of an empty file" "$pack" --verify "$T/empty.sky"
grep -q 'empty input' "$T/err" && ! grep -q skipped "$T/err"
ok $? "says so"
cp "$T/a.sky" "$T/flip.sky"
printf '\377' | dd of="$T/flip.sky" bs=1 seek=$((size / 2)) conv=notrunc 2>/dev/null
status 3 "--verify of a flipped byte" "$pack" --verify "$T/flip.sky"
grep -qE "record [0-9]+ 'tile/[0-9]+ .*byte [0-9]+" "$T/err" && [ "$(grep -c record "$T/err")" = 2 ] && grep -q '^records	29' "$T/out"
ok $? "names the one record it cost"
status 3 "--verify of a record that is there twice" "$pack" --verify "$T/all.sky" "$T/p.sky"
grep -qE "p.sky: record 0 'tile/00030 .*': the id was there before, in record 30" "$T/err" && [ "$(grep -c 'there before' "$T/err")" = 12 ] && grep -q '^records	42' "$T/out"
ok $? "names each, with its file, and counts it once"
status 3 "the same through a pipe" sh -c "cat '$T/flip.sky' | '$pack' --verify"
grep -q '^records	29' "$T/out"
ok $? "costs one record there too"
status 3 "--shuffle --keep-going of a damaged pipe" sh -c "cat '$T/flip.sky' | '$pack' --shuffle --keep-going -o '$T/f1.sky'"
[ "$(grep -c "record [0-9]* 'tile" "$T/err")" = 1 ] && "$pack" --stat "$T/f1.sky" | grep -q '^records	29'
ok $? "costs one record there too"
status 3 "--shuffle --keep-going of a damaged file" "$pack" --shuffle --keep-going -o "$T/f2.sky" "$T/flip.sky"
"$pack" --stat "$T/f2.sky" | grep -q '^records	29'
ok $? "costs one record there too"
"$pack" --cat "$T/a.sky" | head -c 5000 | "$pack" --stat >"$T/out" 2>"$T/err"
[ $? = 3 ] && grep -qE 'wanted|without an END' "$T/err"
ok $? "a writer that died upstream is seen"

# ---- the system fails
status 4 "a full disk" "$pack" -o /dev/full "$T/a.sky"
"$pack" --list "$T/a.sky" >/dev/full 2>"$T/err"
[ $? = 4 ]
ok $? "a full disk under standard output"
"$pack" --cat "$T/a.sky" >&- 2>"$T/err"
[ $? = 4 ]
ok $? "a closed standard output"
"$pack" --cat "$T/a.sky" 2>"$T/err" | head -c 10 >/dev/null
rc=${PIPESTATUS[0]}
[ "$rc" = 141 ] || [ "$rc" = 0 ]
ok $? "a reader that leaves early ends it quietly"
[ ! -s "$T/err" ]
ok $? "without a word"
mkdir "$T/small"
if mount -t tmpfs -o size=64k none "$T/small" 2>/dev/null; then
    "$B/tests/make-samples" 40 "$T/big.sky" shard big
    status 4 "a disk that fills up while writing" "$pack" -o "$T/small/o.sky" "$T/big.sky"
    [ -z "$(ls -A "$T/small")" ]
    ok $? "leaves nothing"
    umount "$T/small"
else
    skip "a disk that fills up while writing" "cannot mount a tmpfs"
fi
mkdir "$T/int"
set -m # a group of its own
(cat "$T/plain.sky"; sleep 60) | env --default-signal=INT "$pack" -o "$T/int/o.sky" --no-provenance - 2>"$T/err" &
group=$(jobs -p %%)
set +m
for _ in $(seq 300); do [ -n "$(ls -A "$T/int")" ] && break; sleep 0.1; done
[ -n "$(ls -A "$T/int")" ]
ok $? "an unfinished file has a temporary name: $(ls -A "$T/int")"
pid=$(pgrep -f "^$pack -o $T/int/o.sky" | head -n 1)
[ -n "$pid" ] && kill -INT "$pid"
for _ in $(seq 300); do [ -z "$(ls -A "$T/int")" ] && break; sleep 0.1; done # on a busy machine it takes a while
[ -z "$(ls -A "$T/int")" ]
ok $? "SIGINT while writing leaves nothing"
kill -- "-$group" 2>/dev/null
wait

# ---- memory: the n-th allocation fails
wrong=0 seen=0
for k in $(seq 200); do
    rm -f "$T/m.sky"
    SKY_TEST_FAIL_ALLOC=$k "$pack" --threads 1 -o "$T/m.sky" "$T/t1.sky" >"$T/out" 2>"$T/err"
    rc=$?
    case $rc in
    4) seen=$((seen + 1)); { [ -s "$T/err" ] && [ ! -e "$T/m.sky" ]; } || { wrong=$((wrong + 1)); echo "# n=$k: no message, or a file"; } ;;
    0) "$pack" --verify "$T/m.sky" >/dev/null 2>&1 || { wrong=$((wrong + 1)); echo "# n=$k: status 0, bad file"; } ;;
    *) wrong=$((wrong + 1)); echo "# n=$k: status $rc: $(head -n 1 "$T/err")" ;;
    esac
    [ -z "$(find "$T" -name '*.tmp')" ] || { wrong=$((wrong + 1)); echo "# n=$k: a temporary file is left"; rm -f "$T"/*.tmp; }
done
[ "$wrong" = 0 ] && [ "$seen" -gt 100 ]
ok $? "allocation 1 to 200 fails: status 4 with a message ($seen times), nothing half written ($wrong bad)"
end
