#!/bin/bash
# sky-pack at the command line: what it writes, says and returns, also when disk, memory, pipe or patience run out.
cd "$(dirname "$0")/../.." || exit 1
bin=$(cd "${BUILD:-build}" && pwd)
pack=$bin/bin/sky-pack
tmp=$(mktemp -d) || exit 1
tmp=$(cd "$tmp" && pwd)
trap 'rm -rf "$tmp"' EXIT
n=0
ok() { # ok STATUS DESCRIPTION
    n=$((n + 1))
    if [ "$1" = 0 ]; then echo "ok $n - $2"; else echo "not ok $n - $2"; [ -s "$tmp/err" ] && sed 's/^/# /' "$tmp/err"; fi
}
skip() { n=$((n + 1)); echo "ok $n - $1 # SKIP $2"; }
status() { # status WANT DESCRIPTION COMMAND...
    local want=$1 what=$2
    shift 2
    "$@" >"$tmp/out" 2>"$tmp/err"
    local rc=$?
    [ "$rc" = "$want" ]
    ok $? "$what: status $want${*:+ }(got $rc)"
}
sum() { "$pack" --stat "$@" 2>/dev/null | grep -E '^(records|sum)'; }

"$bin/tests/make-samples" 30 "$tmp/a.sky" && "$bin/tests/make-samples" 12 "$tmp/p.sky" plain first 30
ok $? "samples"
want=$(sum "$tmp/a.sky" "$tmp/p.sky")
[ "$(wc -l <<<"$want")" = 2 ]
ok $? "a sum of 42 records"

# ---- usage
status 0 "--help" "$pack" --help
[ "$(wc -l <"$tmp/out")" -lt 60 ] && [ ! -s "$tmp/err" ]
ok $? "one screen on standard output"
status 0 "--version" "$pack" --version
grep -q zstd "$tmp/out"
ok $? "names its libraries"
status 2 "an unknown option" "$pack" --no-such
status 2 "nothing to do" "$pack" "$tmp/a.sky"
status 2 "two modes" "$pack" --list --stat "$tmp/a.sky"
status 2 "a bad level" "$pack" -o "$tmp/x.sky" --level 77 "$tmp/a.sky"
status 2 "a bad size" "$pack" -o "$tmp/x-%d.sky" --shard-size 10Q "$tmp/a.sky"
status 2 "shards without a pattern" "$pack" -o "$tmp/x.sky" --shard-count 5 "$tmp/a.sky"
status 2 "a bad pattern" "$pack" -o "$tmp/x-%s.sky" --shard-count 5 "$tmp/a.sky"
status 4 "no such file" "$pack" --list "$tmp/none.sky"
status 3 "not ours" "$pack" --list /etc/passwd
grep -q 'neither a sky stream nor a shard' "$tmp/err"
ok $? "says so"
if command -v script >/dev/null; then
    script -qec "'$pack' --cat '$tmp/a.sky'" /dev/null >"$tmp/out" 2>&1
    grep -q 'terminal' "$tmp/out" && [ "$(wc -c <"$tmp/out")" -lt 1000 ]
    ok $? "binary is not written to a terminal"
else
    skip "binary is not written to a terminal" "no script(1)"
fi

# ---- round trips: the same sum whatever happens to the order, the spelling and the cut
"$pack" -o "$tmp/all.sky" "$tmp/a.sky" "$tmp/p.sky" 2>"$tmp/err" && [ "$(sum "$tmp/all.sky")" = "$want" ]
ok $? "packed into one"
"$pack" -o "$tmp/s-%03d.sky" --shard-size 6K "$tmp/all.sky" 2>"$tmp/err" && [ "$(sum "$tmp"/s-*.sky)" = "$want" ]
ok $? "packed into shards of a size"
[ -f "$tmp/s-004.sky" ] && [ -z "$(find "$tmp" -name 's-*.sky' -size +6144c)" ]
ok $? "none is larger"
"$pack" -o "$tmp/c-%d.sky" --shard-count 10 "$tmp/all.sky" 2>"$tmp/err" && [ "$(sum "$tmp"/c-?.sky)" = "$want" ] && [ -f "$tmp/c-4.sky" ] && [ ! -f "$tmp/c-5.sky" ]
ok $? "packed into shards of 10 records"
"$pack" --cat "$tmp/all.sky" 2>"$tmp/err" | "$pack" -o - 2>>"$tmp/err" | "$pack" --stat 2>>"$tmp/err" | grep -E '^(records|sum)' >"$tmp/out"
[ "$(cat "$tmp/out")" = "$want" ]
ok $? "through two pipes"
"$pack" -o "$tmp/plain.sky" --plain "$tmp/all.sky" 2>"$tmp/err" && [ "$(head -c 8 "$tmp/plain.sky")" = '{"sky":"' ] && [ "$(sum "$tmp/plain.sky")" = "$want" ]
ok $? "--plain into a file"
"$pack" --shuffle --seed 5 -o "$tmp/r1.sky" "$tmp/all.sky" 2>"$tmp/err" && [ "$(sum "$tmp/r1.sky")" = "$want" ]
ok $? "shuffled"
! cmp -s <("$pack" --list "$tmp/r1.sky") <("$pack" --list "$tmp/all.sky")
ok $? "in another order"
"$pack" --shuffle --seed 5 --threads 1 --no-provenance -o "$tmp/r2.sky" "$tmp/all.sky" 2>"$tmp/err" && "$pack" --shuffle --seed 5 --no-provenance -o "$tmp/r3.sky" "$tmp/all.sky" 2>"$tmp/err" && cmp "$tmp/r2.sky" "$tmp/r3.sky"
ok $? "the same bytes for the same seed, whatever the threads"
"$pack" --cat "$tmp/all.sky" | "$pack" --shuffle --seed 5 --no-provenance -o "$tmp/r4.sky" 2>"$tmp/err" && cmp -s <("$pack" --list "$tmp/r4.sky") <("$pack" --list "$tmp/r3.sky")
ok $? "and the same order from a pipe"
for t in 1 2 5; do "$pack" --no-provenance --threads $t -o "$tmp/t$t.sky" "$tmp/a.sky" "$tmp/p.sky" 2>>"$tmp/err"; done
cmp "$tmp/t1.sky" "$tmp/t2.sky" && cmp "$tmp/t1.sky" "$tmp/t5.sky"
ok $? "the same bytes for 1, 2 and 5 threads"
"$pack" --to-tar -o "$tmp/a.tar" "$tmp/all.sky" 2>"$tmp/err" && tar tf "$tmp/a.tar" >/dev/null 2>"$tmp/err" && "$pack" --from-tar -o "$tmp/w.sky" "$tmp/a.tar" 2>"$tmp/err" && [ "$(sum "$tmp/w.sky")" = "$want" ]
ok $? "to a tar and back"
"$pack" --to-tar "$tmp/all.sky" | "$pack" --from-tar -o - | "$pack" --stat | grep -E '^(records|sum)' >"$tmp/out"
[ "$(cat "$tmp/out")" = "$want" ]
ok $? "to a tar and back through pipes"
mkdir "$tmp/wds" && (cd "$tmp/wds" && tar xf ../a.tar) && tar tf "$tmp/a.tar" >"$tmp/members"
third=$(sed -n '/\.json$/p' "$tmp/members" | sed -n 3p) fifth=$(sed -n '/\.json$/p' "$tmp/members" | sed -n 5p)
printf '{"id":' >"$tmp/wds/$third"
printf 'x' >"$tmp/wds/${fifth%.json}.s2.npy"
(cd "$tmp/wds" && tar cf ../hurt.tar -T ../members)
status 3 "a tar with a damaged sample" "$pack" --from-tar -o "$tmp/hurt.sky" "$tmp/hurt.tar"
grep -q "hurt.tar: $third: json: " "$tmp/err" && [ ! -e "$tmp/hurt.sky" ]
ok $? "is named and gives nothing"
status 3 "--from-tar --keep-going" "$pack" --from-tar --keep-going -o "$tmp/hurt.sky" "$tmp/hurt.tar" "$tmp/a.tar"
[ "$(grep -c 'hurt.tar: ' "$tmp/err")" = 2 ] && grep -q "hurt.tar: ${fifth%.json}.s2.npy: " "$tmp/err" && grep -q '2 records skipped' "$tmp/err"
ok $? "names the two"
"$pack" --stat "$tmp/hurt.sky" | grep -q '^records[[:space:]]*82$'
ok $? "and keeps all others, of this tar and the next"
head -c "$(($(stat -c %s "$tmp/a.tar") / 2))" "$tmp/a.tar" >"$tmp/half.tar"
status 3 "a tar cut short, --keep-going" "$pack" --from-tar --keep-going -o "$tmp/half.sky" "$tmp/half.tar"
[ "$(grep -c 'half.tar' "$tmp/err")" = 1 ] && "$pack" --verify "$tmp/half.sky" >"$tmp/out" 2>&1
ok $? "gives the samples before the cut"
"$pack" --from-tar -o "$tmp/foreign.sky" tests/fuzz/corpus/webdataset/ours.tar 2>"$tmp/err"
[ "$("$pack" --list "$tmp/foreign.sky" | cut -f1 | tr '\n' ' ')" = "a/b b " ] && grep -q '1 of its members .*first: c.txt' "$tmp/err"
ok $? "a member that is not read makes no sample of its own"
if command -v zstd >/dev/null; then
    zstd -qt "$tmp/all.sky" && zstd -qdc "$tmp/all.sky" | cmp - <("$pack" --cat "$tmp/all.sky")
    ok $? "--cat is zstd -dc, byte for byte"
else
    skip "--cat is zstd -dc, byte for byte" "no zstd"
fi

# ---- reports
status 0 "--list" "$pack" --list "$tmp/a.sky"
[ "$(wc -l <"$tmp/out")" = 30 ] && grep -q 's1 absent' "$tmp/out"
ok $? "a line per record"
status 0 "--list --json" "$pack" --list --json "$tmp/a.sky"
if command -v python3 >/dev/null; then
    python3 -c 'import json,sys; [json.loads(l) for l in sys.stdin]' <"$tmp/out" && "$pack" --info --json "$tmp/a.sky" | python3 -m json.tool >/dev/null && "$pack" --stat --json "$tmp/a.sky" | python3 -m json.tool >/dev/null
    ok $? "the JSON is JSON"
else
    skip "the JSON is JSON" "no python3"
fi
"$pack" --stat "$tmp/a.sky" "$tmp/p.sky" | grep -q '^band[[:space:]]s2[[:space:]]3.*mean [0-9.]*[[:space:]]std [0-9.]*[[:space:]]valid [0-9]*$' &&
    [ "$("$pack" --stat "$tmp/a.sky" | grep -c '^band.*label')" = 0 ]
ok $? "--stat has mean and std per band, of pictures only"
status 0 "--info" "$pack" --info "$tmp/s-000.sky"
[ "$(grep -c '^provenance' "$tmp/out")" = 2 ] && grep -q 'shard-size' "$tmp/out"
ok $? "shows the chain of programs"

"$pack" --progress json -o "$tmp/prog.sky" "$tmp/a.sky" 2>"$tmp/err"
grep -qx '{"program":"sky-pack","records":30,"total":0,"bytes":'"$(stat -c '%s,"total_bytes":%s' "$tmp/a.sky")"',"seconds":[0-9.]*,"done":true}' "$tmp/err"
ok $? "--progress json counts the bytes of the files against all of them"

# ---- files
status 4 "--extract makes its folder, not the one above" "$pack" --extract png -C "$tmp/no/x" "$tmp/a.sky"
status 0 "--extract png, into a folder that it makes" "$pack" --extract png -C "$tmp/x" "$tmp/a.sky"
status 0 "--extract tif" "$pack" --extract tif --fields s2,label -C "$tmp/x" "$tmp/a.sky"
status 0 "--extract npz" "$pack" --extract npz -C "$tmp/x" "$tmp/a.sky"
[ "$(find "$tmp/x" -name '*.png' | wc -l)" = 60 ] && [ "$(find "$tmp/x" -name '*.tif' | wc -l)" = 60 ] && [ "$(find "$tmp/x" -name '*.npz' | wc -l)" = 30 ]
ok $? "one file per field, one npz per record"
[ "$(find "$tmp/x" -type f | wc -l)" = 150 ] && [ "$(find "$tmp/x" -type d | wc -l)" = 1 ]
ok $? "and the slash in the ids made no directories"
status 2 "--extract jpg" "$pack" --extract jpg -C "$tmp/x" "$tmp/a.sky"
status 3 "--fields that no record has" "$pack" --extract npz --fields tpyo -C "$tmp/x" "$tmp/a.sky"
grep -q 'tpyo' "$tmp/err"
ok $? "names them"
status 3 "a misspelt field beside a right one" "$pack" --extract npz --fields label,tpyo,label -C "$tmp/x" "$tmp/a.sky"
grep -q "no record has a field 'tpyo'" "$tmp/err"
ok $? "is named"
status 2 "a field that is no picture, asked for by name" "$pack" --extract png --fields none -C "$tmp/x" "$tmp/a.sky"
if command -v gdalinfo >/dev/null; then
    f=$(find "$tmp/x" -name '*00003*s2.tif')
    gdalinfo "$f" >"$tmp/out" 2>"$tmp/err" && grep -q 'UTM zone 31N' "$tmp/out" && grep -q 'Origin = (300000.0999' "$tmp/out" && grep -q 'Band 3 .*UInt16' "$tmp/out" && ! grep -qi warning "$tmp/err"
    ok $? "GDAL reads the TIFF's place, bands and type"
else
    skip "GDAL reads the TIFF" "no gdalinfo"
fi
# Which of the two keys a TIFF has for its EPSG code: 2048 geographic, 3072 projected.
key_of() { # key_of EPSG PIXEL WEST NORTH
    printf '%s\n' "$2" 0 0 "-$2" "$3" "$4" >"$tmp/geo/a_0_0.hr.tfw"
    printf 'dataset: geo\nfields: {hr: {role: image, path: "{id}.hr.tif", crs: "EPSG:%s"}}\n' "$1" >"$tmp/geo.yaml"
    "$bin/bin/sky-ingest" -d "$tmp/geo.yaml" "$tmp/geo" 2>"$tmp/err" | "$pack" --extract tif -C "$tmp/tif" 2>>"$tmp/err"
    python3 - "$tmp/tif/a_0_0.hr.tif" <<'PY'
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
if [ -x "$bin/bin/sky-ingest" ]; then
    "$bin/bin/sky-ingest" -d folder --images '{id:a_0_0}.jpg' tests/data/flood3i/Images | "$pack" --extract tif -C "$tmp/geo"
    [ "$(key_of 4547 0.5 500000 3400000)" = "3072 4547" ] && [ "$(key_of 32631 10 300000 4800000)" = "3072 32631" ] &&
        [ "$(key_of 4326 0.0001 1.4 43.6)" = "2048 4326" ] && [ "$(key_of 7844 0.0001 148.1 -35.2)" = "2048 7844" ]
    ok $? "projected and geographic systems are told apart in TIFFs, also beyond 4001..4999"
    sed "s/EPSG:[0-9]*\"/LOCAL_CS['here']\"/" "$tmp/geo.yaml" >"$tmp/local.yaml"
    "$bin/bin/sky-ingest" -d "$tmp/local.yaml" "$tmp/geo" | "$pack" --extract tif -C "$tmp/tif" 2>"$tmp/err"
    grep -q "field 'hr': the coordinate reference system, which is WKT and not an EPSG code: left out" "$tmp/err"
    ok $? "a reference system that a TIFF does not get is named"
else
    skip "projected and geographic systems are told apart" "sky-ingest is missing"
    skip "a reference system that a TIFF does not get is named" "sky-ingest is missing"
fi

# ---- damage
size=$(stat -c %s "$tmp/a.sky")
head -c $((size * 6 / 10)) "$tmp/a.sky" >"$tmp/cut.sky"
status 3 "a cut shard: --list" "$pack" --list "$tmp/cut.sky"
got=$(wc -l <"$tmp/out")
[ "$got" -ge 10 ]
ok $? "lists what is whole ($got)"
status 3 "packing it" "$pack" -o "$tmp/y.sky" "$tmp/cut.sky"
[ ! -e "$tmp/y.sky" ]
ok $? "leaves nothing"
status 3 "--recover" "$pack" --recover -o "$tmp/y.sky" "$tmp/cut.sky"
[ "$(sum "$tmp/y.sky" | head -n 1)" = "records	$got" ]
ok $? "writes what is whole"
status 0 "the result is sound" "$pack" --verify "$tmp/y.sky"
status 3 "--keep-going" "$pack" --keep-going -o "$tmp/z.sky" "$tmp/cut.sky"
recovers() { # recovers FILE RECORDS LAST-LINE
    "$pack" --recover -o "$tmp/y.sky" "$1" >"$tmp/out" 2>"$tmp/err"
    [ $? = 3 ] && [ "$("$pack" --stat "$tmp/y.sky" | head -n 1)" = "records	$2" ] && [ "$(tail -n 1 "$tmp/err")" = "sky-pack: $3" ]
    ok $? "--recover of ${1##*/}: $2 records, and says: $3"
}
for cut in 1 100 1200; do # in the trailer, the index, the END record
    head -c $((size - cut)) "$tmp/a.sky" >"$tmp/without-$cut.sky"
    recovers "$tmp/without-$cut.sky" 30 "1 damage outside records"
done
status 3 "--verify of a damaged index" "$pack" --verify "$tmp/without-100.sky"
grep -q '^records	30' "$tmp/out" && ! grep -q intact "$tmp/out" && grep -q ': index: ' "$tmp/err" && ! grep -q skipped "$tmp/err"
ok $? "no record is said to be lost"
head -c $((size - 2000)) "$tmp/a.sky" >"$tmp/without-2000.sky"
recovers "$tmp/without-2000.sky" 28 "1 record skipped"
: >"$tmp/empty.sky"
cp "$tmp/y.sky" "$tmp/before.sky"
recovers "$tmp/empty.sky" 28 "1 damage outside records"
grep -q "no intact record was found: nothing is written" "$tmp/err" && cmp -s "$tmp/y.sky" "$tmp/before.sky"
ok $? "--recover that finds nothing leaves the output as it was"
status 3 "--verify of an empty file" "$pack" --verify "$tmp/empty.sky"
grep -q 'empty input' "$tmp/err" && ! grep -q skipped "$tmp/err"
ok $? "says so"
cp "$tmp/a.sky" "$tmp/flip.sky"
printf '\377' | dd of="$tmp/flip.sky" bs=1 seek=$((size / 2)) conv=notrunc 2>/dev/null
status 3 "--verify of a flipped byte" "$pack" --verify "$tmp/flip.sky"
grep -qE "record [0-9]+ 'tile/[0-9]+ .*byte [0-9]+" "$tmp/err" && [ "$(grep -c record "$tmp/err")" = 2 ] && grep -q '^records	29' "$tmp/out"
ok $? "names the one record it cost"
status 3 "--verify of a record that is there twice" "$pack" --verify "$tmp/all.sky" "$tmp/p.sky"
grep -qE "p.sky: record 0 'tile/00030 .*': the id was there before, in record 30" "$tmp/err" && [ "$(grep -c 'there before' "$tmp/err")" = 12 ] && grep -q '^records	42' "$tmp/out"
ok $? "names each, with its file, and counts it once"
status 3 "the same through a pipe" sh -c "cat '$tmp/flip.sky' | '$pack' --verify"
grep -q '^records	29' "$tmp/out"
ok $? "costs one record there too"
status 3 "--shuffle --keep-going of a damaged pipe" sh -c "cat '$tmp/flip.sky' | '$pack' --shuffle --keep-going -o '$tmp/f1.sky'"
[ "$(grep -c "record [0-9]* 'tile" "$tmp/err")" = 1 ] && "$pack" --stat "$tmp/f1.sky" | grep -q '^records	29'
ok $? "costs one record there too"
status 3 "--shuffle --keep-going of a damaged file" "$pack" --shuffle --keep-going -o "$tmp/f2.sky" "$tmp/flip.sky"
"$pack" --stat "$tmp/f2.sky" | grep -q '^records	29'
ok $? "costs one record there too"
"$pack" --cat "$tmp/a.sky" | head -c 5000 | "$pack" --stat >"$tmp/out" 2>"$tmp/err"
[ $? = 3 ] && grep -qE 'wanted|without an END' "$tmp/err"
ok $? "a writer that died upstream is seen"

# ---- the system fails
status 4 "a full disk" "$pack" -o /dev/full "$tmp/a.sky"
"$pack" --list "$tmp/a.sky" >/dev/full 2>"$tmp/err"
[ $? = 4 ]
ok $? "a full disk under standard output"
"$pack" --cat "$tmp/a.sky" >&- 2>"$tmp/err"
[ $? = 4 ]
ok $? "a closed standard output"
"$pack" --cat "$tmp/a.sky" 2>"$tmp/err" | head -c 10 >/dev/null
rc=${PIPESTATUS[0]}
[ "$rc" = 141 ] || [ "$rc" = 0 ]
ok $? "a reader that leaves early ends it quietly"
[ ! -s "$tmp/err" ]
ok $? "without a word"
mkdir "$tmp/small"
if mount -t tmpfs -o size=64k none "$tmp/small" 2>/dev/null; then
    "$bin/tests/make-samples" 40 "$tmp/big.sky" shard big
    status 4 "a disk that fills up while writing" "$pack" -o "$tmp/small/o.sky" "$tmp/big.sky"
    [ -z "$(ls -A "$tmp/small")" ]
    ok $? "leaves nothing"
    umount "$tmp/small"
else
    skip "a disk that fills up while writing" "cannot mount a tmpfs"
fi
mkdir "$tmp/int"
set -m # a group of its own
(cat "$tmp/plain.sky"; sleep 60) | env --default-signal=INT "$pack" -o "$tmp/int/o.sky" --no-provenance - 2>"$tmp/err" &
group=$(jobs -p %%)
set +m
for _ in $(seq 300); do [ -n "$(ls -A "$tmp/int")" ] && break; sleep 0.1; done
[ -n "$(ls -A "$tmp/int")" ]
ok $? "an unfinished file has a temporary name: $(ls -A "$tmp/int")"
pid=$(pgrep -f "^$pack -o $tmp/int/o.sky" | head -n 1)
[ -n "$pid" ] && kill -INT "$pid"
for _ in $(seq 300); do [ -z "$(ls -A "$tmp/int")" ] && break; sleep 0.1; done # on a busy machine it takes a while
[ -z "$(ls -A "$tmp/int")" ]
ok $? "SIGINT while writing leaves nothing"
kill -- "-$group" 2>/dev/null
wait

# ---- memory: the n-th allocation fails
bad=0 seen=0
for k in $(seq 200); do
    rm -f "$tmp/m.sky"
    SKY_TEST_FAIL_ALLOC=$k "$pack" --threads 1 -o "$tmp/m.sky" "$tmp/t1.sky" >"$tmp/out" 2>"$tmp/err"
    rc=$?
    case $rc in
    4) seen=$((seen + 1)); { [ -s "$tmp/err" ] && [ ! -e "$tmp/m.sky" ]; } || { bad=$((bad + 1)); echo "# n=$k: no message, or a file"; } ;;
    0) "$pack" --verify "$tmp/m.sky" >/dev/null 2>&1 || { bad=$((bad + 1)); echo "# n=$k: status 0, bad file"; } ;;
    *) bad=$((bad + 1)); echo "# n=$k: status $rc: $(head -n 1 "$tmp/err")" ;;
    esac
    [ -z "$(find "$tmp" -name '*.tmp')" ] || { bad=$((bad + 1)); echo "# n=$k: a temporary file is left"; rm -f "$tmp"/*.tmp; }
done
[ "$bad" = 0 ] && [ "$seen" -gt 100 ]
ok $? "allocation 1 to 200 fails: status 4 with a message ($seen times), nothing half written ($bad bad)"
echo "1..$n"
