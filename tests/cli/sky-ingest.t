#!/bin/bash
# sky-ingest from the outside: every layout and container, wrong arguments, damage, full disk, failing memory.
. "$(dirname "$0")/t.sh"
ingest=$B/bin/sky-ingest dump=$B/tests/stream_dump
tool=("$ingest")
S=${SKY_SHARED:-../shared}/samples
F=tests/data/flood3i

# ---- Flood-3i: folders, zips, tar; lists; order ---------------------------------------------------------------
run 0 "" "flood3i from folders" --dataset flood3i --no-provenance $F
cp "$T/out" "$T/folders.sky"
same "$($dump "$T/folders.sky")" "a_0_0 hr U8 3x80x96 cyx crc=d19b8901
a_0_0 label U8 80x96 yx crc=d5d33a94 0=264 1=1695 2=2511 3=1921 4=893 5=303 6=91 7=2
a_0_1 hr U8 3x80x96 cyx crc=b8127708
a_0_1 label U8 80x96 yx crc=8fc0c442 0=5680 1=926 2=574 3=332 4=85 5=51 6=25 7=7
a_1_0 hr U8 3x80x96 cyx crc=ac1ac5e4
a_1_0 label U8 80x96 yx crc=d451be11 0=427 1=921 2=2844 3=1646 4=671 5=705 6=361 7=105
b_10_2 hr U8 3x80x96 cyx crc=da422131
b_10_2 label U8 80x96 yx crc=ebb5ca8f 0=959 1=1760 2=2500 3=1690 4=603 5=116 6=45 7=7
b_2_10 hr U8 3x80x96 cyx crc=839e02cb
b_2_10 label U8 80x96 yx crc=a4e4b4b4 0=173 1=1540 2=2797 3=1799 4=943 5=373 6=48 7=5 8=2" "its samples, sorted, pixels as they were decoded once"
run 0 "" "one thread" -d flood3i --no-provenance --threads 1 $F
cmp -s "$T/out" "$T/folders.sky"; ok $? "gives the same bytes"
run 0 "" "output file" -d flood3i --no-provenance -o "$T/file.sky" $F
cmp -s "$T/file.sky" "$T/folders.sky"; ok $? "gives the same bytes"
run 0 "" "the two folders and the list named one by one" -d flood3i --no-provenance $F/Semantic_mask $F/Images $F/val.txt
cmp -s "$T/out" "$T/folders.sky"; ok $? "gives the same bytes"
run 0 "" "split val" -d flood3i --split val --list $F
same "$(cut -f1,2 "$T/out")" $'a_0_0\tval\na_0_1\tval\nb_10_2\tval' "holds the listed images once each"
same "$($dump --meta "$T/folders.sky" | grep -o '"listed_classes":[^]]*]' | tr '\n' ' ')" '"listed_classes":[1,2] "listed_classes":[5] "listed_classes":[1,3] ' "with the classes they are listed for"
run 0 "" "--json" -d flood3i --list --json $F
grep -q '^{"version":1,"dataset":"flood3i","samples":\[{"id":"a_0_0","split":"val","files":{"hr":\["' "$T/out"; ok $? "list as JSON"
for i in 1 2 3; do "$ingest" -d flood3i --list --part $i/3 $F | cut -f1; done | sort >"$T/parts"
same "$(cat "$T/parts")" "$("$ingest" -d flood3i --list $F | cut -f1 | sort)" "three parts are the whole"
run 0 "" "by reference" -d flood3i --reference $F
same "$($dump "$T/out" | sed -n 1,2p | sed "s|$PWD|.|")" "a_0_0 hr U8 3x80x96 cyx ref=./$F/Images/a_0_0.jpg
a_0_0 label U8 80x96 yx ref=./$F/Semantic_mask/a_lab_0_0.png" "names the files"

if command -v python3 >/dev/null; then
    python3 - "$F" "$T" <<'PY'
import os, struct, sys, tarfile, zipfile
src, t = sys.argv[1:]
def pack(name, pairs):
    with zipfile.ZipFile(name, "w", zipfile.ZIP_DEFLATED) as z:
        for inside, path in pairs:
            z.write(path, inside) if path else z.writestr(inside, b"junk")
def files(d): return [(f, os.path.join(src, d, f)) for f in sorted(os.listdir(os.path.join(src, d)))]
os.makedirs(t + "/zips")
pack(t + "/zips/Images.zip", files("Images") + [("__MACOSX/._a_0_0.jpg", None), ("._a_9_9.jpg", None), (".DS_Store", None)])   # no wrapping folder
pack(t + "/zips/Semantic_mask.zip", [("Semantic_mask/" + f, p) for f, p in files("Semantic_mask")])                             # wrapped
with open(t + "/zips/val.txt", "wb") as f: f.write(open(src + "/val.txt", "rb").read())
pack(t + "/all.zip", [("flood3i/" + d + "/" + f, p) for d in ("Images", "Semantic_mask") for f, p in files(d)] + [("flood3i/val.txt", src + "/val.txt")])
with tarfile.open(t + "/all.tar", "w") as z: z.add(src, "flood3i")
with tarfile.open(t + "/long.tar", "w", format=tarfile.GNU_FORMAT) as z: z.add(src, "x" * 120 + "/flood3i")
with tarfile.open(t + "/pax.tar", "w", format=tarfile.PAX_FORMAT) as z: z.add(src, "\u00e9" * 90 + "/flood3i")
with tarfile.open(t + "/all.tar.gz", "w:gz") as z: z.add(src, "flood3i")
pack(t + "/up.zip", [("../Images/a_0_0.jpg", src + "/Images/a_0_0.jpg")])
pack(t + "/root.zip", [("/Images/a_0_0.jpg", None)])
with tarfile.open(t + "/up.tar", "w") as z: z.add(src + "/val.txt", "a/../../val.txt")
# arrays
def npy(dtype, shape, data): 
    h = ("{'descr': '%s', 'fortran_order': False, 'shape': %s, }" % (dtype, shape)).encode()
    h += b" " * (64 - (10 + len(h) + 1) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(h)) + h + data
def npz(name, **m):
    with zipfile.ZipFile(name, "w") as z:
        for k, v in m.items(): z.writestr(k + ".npy", v)
L = t + "/list"
for d in ("images_hr", "images_s2", "images_s1", "labels"): os.makedirs(L + "/" + d)
s2 = lambda k: struct.pack("<%dh" % (10 * 4), *[k * 100 + i for i in range(40)])
npz(L + "/images_s2/p.npz", image=npy("<i2", "(3, 10, 2, 2)", s2(0) + s2(1) + s2(2)), date=npy("<U10", "(3,)", "".join(["2020-01-02", "2020-03-04", "2021-12-31"]).encode("utf-32-le")))
for m in ("03", "11"): npz(L + "/images_s2/q_2019_%s_x_y.npz" % m, image=npy("<i2", "(10, 2, 2)", s2(int(m))))
npz(L + "/images_s1/p.npz", image=npy("<f4", "(2, 2, 2)", struct.pack("<8f", *range(8))))
for k in ("p", "q"): open(L + "/images_hr/%s.jpg" % k, "wb").write(open(src + "/Images/a_0_0.jpg", "rb").read())
import zlib
def png(name, w, h, ctype, rows):
    c = lambda t, d: struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d))
    open(name, "wb").write(b"\x89PNG\r\n\x1a\n" + c(b"IHDR", struct.pack(">IIBBBBB", w, h, 8, ctype, 0, 0, 0)) + c(b"IDAT", zlib.compress(b"".join(b"\0" + r for r in rows))) + c(b"IEND", b""))
png(L + "/labels/p.png", 4, 2, 0, [bytes([1, 2, 3, 0]), bytes([5, 5, 6, 4])])
png(L + "/labels/q.png", 3, 1, 2, [bytes([0, 255, 0, 255, 255, 255, 9, 9, 9])])
J = '{"hr_path":"images_hr/%s.jpg","s2_path":%s,"s1_path":%s,"target_path":"labels/%s.png","type":"%s","classes":[1,2],"location":[48.5,2.25]}'
w = lambda name, *r: open(L + "/" + name, "w").write("[" + ",".join(r) + "]")
p = J % ("p", '"images_s2/p.npz"', '"images_s1/p.npz"', "p", "potsdam")
q = J % ("q", '["images_s2/q_2019_03_x_y.npz","images_s2/q_2019_11_x_y.npz"]', "null", "q", "vaihingen")
w("train.json", p, q)
w("type.json", J % ("p", '""', '""', "p", "atlantis"))
w("gone.json", p, J % ("gone", '""', '""', "p", "potsdam"))
w("climb.json", J % ("p", '"../list/images_s2/p.npz"', '""', "p", "potsdam"))
w("twice.json", p, p)
w("words.json", '"oops"')
w("dates.json", J % ("p", '"images_s2/bad.npz"', '""', "p", "potsdam"))
npz(L + "/images_s2/bad.npz", image=npy("<i2", "(3, 10, 2, 2)", s2(0) * 3), date=npy("<U10", "(2,)", "2020-01-022020-03-04".encode("utf-32-le")))
open(L + "/broken.json", "w").write('[{"hr_path":')
PY
    for z in zips all.zip all.tar long.tar pax.tar; do
        run 0 "" "flood3i from $z" -d flood3i --no-provenance "$T/$z"
        cmp -s "$T/out" "$T/folders.sky"; ok $? "gives the same bytes"
    done
    mkdir "$T/links"; cp "$T/zips/Images.zip" "$T/links/0f"; cp "$T/zips/Semantic_mask.zip" "$T/links/1e"
    ln -s 0f "$T/links/Images.zip"; ln -s 1e "$T/links/Semantic_mask.zip"
    run 0 "" "operands that are links to files without a name" -d flood3i --no-provenance "$T/links/Images.zip" "$T/links/Semantic_mask.zip" "$T/zips/val.txt"
    cmp -s "$T/out" "$T/folders.sky"; ok $? "count by their own"
    run 0 "" "by reference into a zip" -d flood3i --reference "$T/all.zip"
    $dump "$T/out" | grep -q "ref=/vsizip/{$T/all.zip}/flood3i/Images/a_0_0.jpg"; ok $? "gives a name GDAL opens"
    run 3 "no sample of data set 'flood3i'.*unpack .*all.tar.gz first" "a compressed tar is not taken for an empty set" -d flood3i "$T/all.tar.gz"
    run 3 "up.zip: member '../Images/a_0_0.jpg' would lie outside" "a zip member that climbs out" -d flood3i "$T/up.zip"
    run 3 "root.zip: member '/Images/a_0_0.jpg' would lie outside" "an absolute zip member" -d flood3i "$T/root.zip"
    run 3 "up.tar: member 'a/../../val.txt' would lie outside" "a tar member that climbs out" -d flood3i "$T/up.tar"
    head -c 30000 "$T/all.tar" >"$T/cut.tar"
    run 3 "cut.tar: the archive ends after 30000 bytes without its end mark" "a tar cut short" -d flood3i "$T/cut.tar"
    head -c 3000 "$T/all.zip" >"$T/cut.zip"
    run 3 "cut.zip: " "a zip cut short" -d flood3i "$T/cut.zip"
    run 3 "two files for field 'hr'" "the same set twice" -d flood3i $F "$T/all.zip"

    # ---- the original's lists ------------------------------------------------------------------------------------
    run 0 "" "JSON list" -d skysensepp-list "$T/list/train.json"
    same "$($dump "$T/out" | sed 's/crc=[0-9a-f]* *//; s/ $//')" "images_hr/p hr U8 3x80x96 cyx
images_hr/p s2 I16 3x10x2x2 tcyx
images_hr/p s1 F32 2x2x2 cyx
images_hr/p label U8 2x4 yx 0=1 1=1 2=1 3=1 4=1 5=2 6=1
images_hr/q hr U8 3x80x96 cyx
images_hr/q s2 I16 2x10x2x2 tcyx
images_hr/q s1 absent
images_hr/q label U8 1x3 yx 0=1 2=1 5=1" "gives every modality, absent ones as such, colours as classes"
    same "$($dump --meta "$T/out" | grep -o '"times":[^]]*]' | tr '\n' ' ')" '"times":["2020-01-02T00:00:00Z","2020-03-04T00:00:00Z","2021-12-31T00:00:00Z"] "times":["2019-03-01T00:00:00Z","2019-11-01T00:00:00Z"] ' "dates from the member and from names"
    $dump --meta "$T/out" | grep -q '^sample images_hr/p {"dataset":"skysensepp-list","type":"potsdam","listed_classes":\[1,2\],"location":\[48.5,2.25\]'; ok $? "type, classes and place go along"
    cp "$T/list/train.json" "$T/elsewhere.json"
    run 0 "" "--root" -d skysensepp-list --root "$T/list" "$T/elsewhere.json"
    run 3 "record 0: type 'atlantis' has no class table" "unknown type" -d skysensepp-list "$T/list/type.json"
    run 3 "record 1: no file '.*images_hr/gone.jpg'" "missing file" -d skysensepp-list "$T/list/gone.json"
    run 3 "record 1: no file" "missing file, kept going" -d skysensepp-list --keep-going "$T/list/gone.json"
    same "$($dump "$T/out" | wc -l)" 4 "the other sample is there"
    run 3 "record 0: 's2_path' must be .* below the root" "a path that climbs out" -d skysensepp-list "$T/list/climb.json"
    run 3 "two samples have the id 'images_hr/p'" "a record twice" -d skysensepp-list "$T/list/twice.json"
    run 3 "record 0: expected an object" "a list of words" -d skysensepp-list "$T/list/words.json"
    run 3 "2 dates for 3 time steps" "dates that do not fit" -d skysensepp-list "$T/list/dates.json"
    run 3 "broken.json: not valid JSON" "broken JSON" -d skysensepp-list "$T/list/broken.json"
else
    skip "archives and lists" "no python3"
fi

# ---- Toulouse and Amazon: real files -------------------------------------------------------------------------------
run 0 "" "toulouse" -d toulouse examples/toulouse
same "$($dump "$T/out")" "QB_1 hr F32 4x512x512 cyx crc=43ee3871
QB_1 label U8 512x512 yx crc=e5faf89b 0=247686 1=4244 2=565 3=9557 4=92
QB_2 hr F32 4x512x512 cyx crc=c4ad2d1b
QB_2 label U8 512x512 yx crc=e7d5ad94 0=257032 1=4072 2=562 3=189 4=289
QB_3 hr F32 4x512x512 cyx crc=c300efb5
QB_3 label U8 512x512 yx crc=0e9ca641 0=258008 1=2470 2=1040 3=455 4=171" "polygons of another reference system on the image grid"
$dump --meta "$T/out" | grep -q '"crs":"EPSG:32631","affine":\[2.5593.*,0.0,370586.26540.*,0.0,-2.763.*,4831767.9118'; ok $? "grid of image and label"
same "$("$ingest" -d toulouse -s val -l examples/toulouse | cut -f1,2)" $'QB_2\tval' "split by ids"
run 0 "" "toulouse by reference" -d toulouse --reference examples/toulouse
same "$($dump "$T/out" | sed -n 1,2p | sed "s|$PWD|.|; s/crc.*//")" "QB_1 hr F32 4x512x512 cyx ref=./examples/toulouse/QB_1_ortho.tif
QB_1 label U8 512x512 yx " "the image by name, the drawn label inline"
if [ -d "$S/amazon" ]; then
    run 3 "sample 'Amazon_181.tiff_34': field 'label': .*Amazon_181.tiff_34.png: 515x512 pixels, but field 'hr' .* has 512x512" "amazon stops at the mask of another size" -d amazon "$S/amazon"
    run 3 "Amazon_181" "amazon, kept going" -d amazon --keep-going "$S/amazon"
    $dump "$T/out" >"$T/amazon"
    same "$(wc -l <"$T/amazon")" 58 "29 of 30 pairs"
    same "$(grep label "$T/amazon" | grep -cv ' crc=[0-9a-f]*\( 1=[0-9]*\)*\( 2=[0-9]*\)*$')" 0 "only classes 1 and 2, from palette pictures"
    same "$("$ingest" -d amazon -l -s train "$S/amazon/training/images" "$S/amazon/training/masks" | wc -l)" 30 "split from the folder's name, folders given one by one"
else
    skip "amazon" "no shared samples"
fi

# ---- folder ------------------------------------------------------------------------------------------------------------
run 0 "" "folder" -d folder --images 'Images/{id}_{r:d}_{c:d}.jpg' --labels 'Semantic_mask/{id}_lab_{r:d}_{c:d}.png' $F
same "$($dump "$T/out" | sed -n '2p;10p' | cut -d' ' -f1-5)" $'a_0_0 label U8 80x96 yx\nb_2_10 label U8 80x96 yx' "pairs by tokens"
run 0 "" "folder without labels" -d folder --images 'Images/*.jpg' $F
same "$($dump "$T/out" | cut -d' ' -f1-4 | head -1; $dump "$T/out" | wc -l)" $'a_0_0 hr U8 3x80x96\n5' "a star names the sample"
run 2 "needs --images PATTERN" "folder without a pattern" -d folder $F
run 2 "takes no --images" "a pattern where none is asked for" -d flood3i --images 'x/{id}.png' $F
run 2 "^sky-ingest: --labels: " "a pattern that is none" -d folder --images 'Images/{id}.jpg' --labels 'lab/{nm' $F
run 3 "path '.*' lacks the token 'id'" "labels that cannot be paired" -d folder --images 'Images/{id}.jpg' --labels 'Semantic_mask/{x}.png' $F
run 3 "--labels 'Semantic_mask/{id}_mask.png' fits none of the [0-9]* files given" "labels that are nowhere" -d folder --images 'Images/{id}.jpg' --labels 'Semantic_mask/{id}_mask.png' $F
run 2 "^sky-ingest: --images 'Images/a_0_0.jpg': no token, such as {id}" "a pattern that names nothing" -d folder --images 'Images/a_0_0.jpg' $F
run 2 "pattern '{id' *" "a pattern with an open brace" -d folder --images '{id' $F
mkdir "$T/world" && cp $F/Images/a_0_0.jpg "$T/world/a.jpg" && printf '%s\n' 0.5 0 0 -0.5 500000 3400000 >"$T/world/a.jgw"
run 0 "" "a JPEG with a world file beside it" -d folder --images '{id}.jpg' "$T/world"
grep -aq '"affine":\[0.5,0.0,499999.75,0.0,-0.5,3400000.25\]' "$T/out"; ok $? "lies where that says"

# ---- links, missing files, damage ------------------------------------------------------------------------------------------
mkdir "$T/loop"; cp -r $F/Images $F/Semantic_mask "$T/loop"; ln -s . "$T/loop/again"; ln -s ../loop "$T/loop/Images/up"; ln -s nowhere "$T/loop/Images/c_0_0.jpg"
run 0 "" "loops of links end" -d flood3i --list "$T/loop"
same "$(wc -l <"$T/out")" 5 "and every file counts once"
rm "$T/loop/Semantic_mask/a_lab_0_1.png"
run 3 "sample 'a_0_1': no file for field 'label' (Semantic_mask/{id}_lab_{r:d}_{c:d}.png), found only .*Images/a_0_1.jpg" "an image without its label" -d flood3i "$T/loop"
head -c 900 $F/Semantic_mask/b_lab_10_2.png >"$T/loop/Semantic_mask/b_lab_10_2.png"
head -c 1200 $F/Images/b_2_10.jpg >"$T/loop/Images/b_2_10.jpg"
: >"$T/loop/Images/a_1_0.jpg"
run 3 "b_lab_10_2.png: PNG: file ends early (at byte 900 of 900)" "PNG cut short, kept going" -d flood3i --keep-going "$T/loop"
grep -q "b_2_10.jpg: .*Premature end of JPEG file" "$T/err"; ok $? "JPEG cut short"
grep -q "a_1_0.jpg: cannot be opened as a raster" "$T/err"; ok $? "empty file"
grep -q "4 records skipped" "$T/err"; ok $? "each one named, and counted"
same "$($dump "$T/out" | cut -d' ' -f1 | sort -u)" a_0_0 "the intact one is there"
mkdir "$T/cut"; cp examples/toulouse/QB_1_classes.geojson "$T/cut"; head -c 1000000 examples/toulouse/QB_1_ortho.tif >"$T/cut/QB_1_ortho.tif"
run 3 "QB_1_ortho.tif: window .*TIFFReadEncodedTile" "TIFF cut short" -d toulouse "$T/cut"
cp examples/toulouse/QB_1_ortho.tif "$T/cut"; sed 's/"class": "4"/"class": "7"/' examples/toulouse/QB_1_classes.geojson >"$T/cut/QB_1_classes.geojson"
run 3 "QB_1_classes.geojson: feature 3: '7' is no class of the data set" "a class the descriptor does not know" -d toulouse "$T/cut"
sed 's/- {value: 0, .*//' formats/datasets/flood3i.yaml >"$T/no-zero.yaml"
run 3 "a_lab_0_0.png: row 1 column 8: value 0 is no class" "a label value the descriptor does not know" -d "$T/no-zero.yaml" $F
mkdir "$T/vals"; cp -r $F/. "$T/vals"; printf 'a_0_0.jpg\t01\nzz_0_0.jpg\t02\n' >"$T/vals/val.txt"
run 3 "val.txt: line 2: no image file for 'zz_0_0.jpg'" "a listed image that is not there" -d flood3i -s val "$T/vals"
printf 'a_0_0.jpg\n' >"$T/vals/val.txt"
run 3 "val.txt: line 1: expected an image name, a separator and a two-digit class" "a list line without a class" -d flood3i -s val "$T/vals"
printf 'a_0_0 01\na_0_1,02\na_1_0.jpg_03' >"$T/vals/val.txt"
run 0 "" "other separators, names without suffix" -d flood3i -s val -l "$T/vals"
same "$(wc -l <"$T/out")" 3 "are understood"
rm "$T/vals/val.txt"
run 3 "split 'val': no file named 'val.txt'" "a split without its list" -d flood3i -s val "$T/vals"
if [ "$(id -u)" != 0 ]; then
    chmod 0 "$T/vals/Images/a_0_0.jpg"
    run 4 "a_0_0.jpg: Permission denied" "a file that may not be read" -d flood3i "$T/vals"
else
    skip "a file that may not be read" "running as root"
fi

# ---- classes made of stored values: the file's nodata is a stored value and no class -------------------------------
mkdir -p "$T/asc/img" "$T/asc/lab"
grid() { printf 'ncols 4\nnrows 2\nxllcorner 0\nyllcorner 0\ncellsize 1\nNODATA_value %s\n%s\n' "$1" "$2"; }
grid -9 $'1 2 3 4\n5 6 7 8' >"$T/asc/img/x.asc"
grid 0 $'0 1 2 0\n1 1 2 2' >"$T/asc/lab/x.asc"
printf 'dataset: asc\nfields:\n  hr: {role: image, path: "img/{id}.asc"}\n  label: {role: label, path: "lab/{id}.asc"%s}\n' '' >"$T/stored.yaml"
printf 'dataset: asc\nfields:\n  hr: {role: image, path: "img/{id}.asc"}\n  label: {role: label, path: "lab/{id}.asc"%s}\n' ', map: {0: 255, 1: 0, 2: 1}, classes: [{value: 0, name: land}, {value: 1, name: water}], ignore: [255]' >"$T/mapped.yaml"
run 0 "" "a label raster with nodata 0" -d "$T/stored.yaml" "$T/asc"
$dump --meta "$T/out" | grep -q '^  field label .*"nodata":0.0'; ok $? "keeps it where values stay as they are stored"
run 0 "" "the same, its values mapped to classes" -d "$T/mapped.yaml" "$T/asc"
! $dump --meta "$T/out" | grep '^  field label ' | grep -q nodata; ok $? "does not mark class 0 as no data"

# ---- one file per band ------------------------------------------------------------------------------------------------
stacked() { printf 'dataset: bands\nid: "{id}"\nfields:\n  s2: {role: image, stack: true, bands: [B2, B11], path: ["{id}/B2.asc", "{id}/B11.asc"%s]}\n' "$1"; }
stacked '' >"$T/bands.yaml"
mkdir -p "$T/bands/x" "$T/bands/y"
grid -9 $'1 2 3 4\n5 6 7 8' >"$T/bands/x/B2.asc"
grid -9 $'8 7 6 5\n4 3 2 1' >"$T/bands/x/B11.asc"
cp "$T/bands/x/"*.asc "$T/bands/y"
run 0 "" "a picture of two files" -d "$T/bands.yaml" --no-provenance "$T/bands"
same "$($dump "$T/out" | cut -d' ' -f1-5)" $'x s2 I32 2x2x4 cyx\ny s2 I32 2x2x4 cyx' "is one field of two bands"
cp "$T/out" "$T/bands.sky"
run 0 "" "listed" -d "$T/bands.yaml" --list --json "$T/bands"
grep -q '"files":{"s2":\["[^"]*x/B2.asc","[^"]*x/B11.asc"\]}' "$T/out"; ok $? "with both files"
rm "$T/bands/y/B11.asc"
run 3 "sample 'y': no file for field 's2' ({id}/B11.asc)" "a band that is missing" -d "$T/bands.yaml" "$T/bands"
cp "$T/bands/x/B11.asc" "$T/bands/y" && rm "$T/bands/y/B2.asc"
run 3 "sample 'y': no file for field 's2' ({id}/B2.asc)" "the first one" -d "$T/bands.yaml" "$T/bands"
grid -9 $'1 2 3 4\n5 6 7 8.5' >"$T/bands/y/B2.asc"
run 3 "y/B11.asc: 4 x 2 pixels of I32, the first band has 4 x 2 of F32" "bands of two types" -d "$T/bands.yaml" "$T/bands"
stacked ', "{id}/B12.asc"' >"$T/three.yaml"
run 3 "fields.s2: a stack has one path per band: 3 for 2" "three paths for two bands" -d "$T/three.yaml" "$T/bands"
if command -v python3 >/dev/null; then
    "$B/bin/sky-pack" -q --extract npz -C "$T/npz" "$T/bands.sky" 2>"$T/err" && python3 - "$T/npz/x.npz" <<'PY'
import struct, sys, zipfile
raw = zipfile.ZipFile(sys.argv[1]).read("s2.npy")
sys.exit(struct.unpack("<16i", raw[-64:]) != (1, 2, 3, 4, 5, 6, 7, 8, 8, 7, 6, 5, 4, 3, 2, 1))
PY
    ok $? "bands come in the order of the paths, not of the names"
fi

# ---- no way to the network ------------------------------------------------------------------------------------------
if command -v python3 >/dev/null; then
    python3 - "$T/port" "$T/calls" <<'PY' &
import os, socket, sys
s = socket.socket()
s.bind(("127.0.0.1", 0))
s.listen(8)
with open(sys.argv[1] + ".tmp", "w") as f:
    f.write(str(s.getsockname()[1]))
os.rename(sys.argv[1] + ".tmp", sys.argv[1])
while True:
    c, _ = s.accept()
    with open(sys.argv[2], "a") as f:
        f.write(repr(c.recv(60)) + "\n")
    c.close()
PY
    server=$!
    for ((i = 0; i < 100; i++)); do [ -e "$T/port" ] && break; sleep 0.1; done
    at=127.0.0.1:$(cat "$T/port")
    mkdir "$T/net"
    for uri in /vsicurl/http://$at/a.tif "/vsicurl?url=http://$at/a.tif" /vsicurl_streaming/http://$at/a.tif http://$at/a.tif /vsizip//vsicurl/http://$at/a.zip/a.tif \
        /vsigzip//vsicurl/http://$at/a.gz GTIFF_DIR:1:/vsicurl/http://$at/a.tif /vsiwebhdfs/http://$at/webhdfs/v1/a.tif "NETCDF:&quot;http://$at/a.nc&quot;:v" \
        "PG:host=127.0.0.1 port=${at#*:} dbname=a table=b" "WMS:http://$at/?SERVICE=WMS&amp;LAYERS=a"; do
        echo "<VRTDataset rasterXSize=\"4\" rasterYSize=\"4\"><VRTRasterBand dataType=\"Byte\" band=\"1\"><SimpleSource><SourceFilename>$uri</SourceFilename>\
<SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>" >"$T/net/a.vrt"
        GDAL_SKIP=none run 3 "net/a.vrt: window 0,0 of 4x4 pixels: " "a VRT that names ${uri//$at/SERVER}" -d folder --images '{id}.vrt' "$T/net"
    done
    [ ! -e "$T/calls" ]; ok $? "and no connection was attempted"
    sed 's/^/# /' "$T/calls" 2>/dev/null
    echo '<GDAL_WMS><Service name="TMS"><ServerUrl>http://'$at'/</ServerUrl></Service><DataWindow><SizeX>4</SizeX><SizeY>4</SizeY></DataWindow></GDAL_WMS>' >"$T/net/a.vrt"
    run 3 "net/a.vrt: cannot be opened as a raster" "a WMS description" -d folder --images '{id}.vrt' "$T/net"
    mv "$T/net/a.vrt" "$T/net/b.xml"
    echo "<VRTDataset rasterXSize=\"4\" rasterYSize=\"4\"><VRTRasterBand dataType=\"Byte\" band=\"1\"><SimpleSource><SourceFilename>/vsicurl/http://$at/a.tif\
</SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>" >"$T/net/a.vrt"
    run 3 "/vsicurl/http://$at/a.tif: only local files are opened" "the message" -d folder --images '{id}.vrt' "$T/net"
    kill $server 2>/dev/null
    wait $server 2>/dev/null
fi

# ---- arguments ------------------------------------------------------------------------------------------------------------------
run 0 "" "--help" --help
grep -q '^usage: sky-ingest --dataset NAME' "$T/out"; ok $? "says how to call it"
run 0 "" "--version" --version
grep -q 'GDAL [0-9]' "$T/out"; ok $? "names GDAL"
run 2 "--dataset NAME is missing" "no data set" $F
run 2 "no PATH given" "no path" -d flood3i
run 2 "atlantis" "unknown data set" -d atlantis $F
run 2 "has no split 'moon'" "unknown split" -d flood3i -s moon $F
for p in 0/3 4/3 1 a/b 1/0 1/3x -1/3; do run 2 "want I/N with 1 <= I <= N" "--part $p" -d flood3i --part=$p $F; done
run 2 "unknown option '--frobnicate'" "unknown option" -d flood3i --frobnicate $F
run 4 "nowhere: No such file" "a path that is not there" -d flood3i "$T/nowhere"
run 3 "no sample of data set 'flood3i' among [0-9]* files; looked for Images/{id}_{r:d}_{c:d}.jpg" "nothing that fits" -d flood3i examples
printf 'dataset: x\nfields:\n  hr: {role: image, path: "{id}.jpg", colour: red}\n' >"$T/d.yaml"
run 3 "d.yaml: fields.hr: unknown key 'colour'" "unknown key in a descriptor" -d "$T/d.yaml" $F
printf '{' >"$T/broken.yaml"
run 3 "broken.yaml: line 2" "a descriptor that is no YAML" -d "$T/broken.yaml" $F

# ---- the system fails -----------------------------------------------------------------------------------------------------------
if [ -w /dev/full ]; then
    "$ingest" -d flood3i $F >/dev/full 2>"$T/err"; same $? 4 "full disk"
    grep -q "No space left" "$T/err"; ok $? "says so"
fi
"$ingest" -d flood3i $F >&- 2>"$T/err"; same $? 4 "closed standard output"
"$ingest" -d flood3i -o "$T/no/such/folder.sky" $F 2>"$T/err"; same $? 4 "output folder that is not there"
"$ingest" -d toulouse examples/toulouse 2>"$T/err" | head -c 100 >/dev/null; same "$(cat "$T/err")" "" "a reader that leaves early ends it quietly"
"$ingest" -d atlantis -o "$T/half.sky" $F 2>/dev/null; [ ! -e "$T/half.sky" ]; ok $? "a failed run leaves no output"

# Every allocation may fail: exit 4, or a run that did not need it. Steps grow, since a run makes thousands.
crash=0 fails=0
for ((i = 1; i < 40000; i = i < 60 ? i + 1 : i * 5 / 4)); do
    SKY_TEST_FAIL_ALLOC=$i "$ingest" -d flood3i --threads 2 $F >"$T/out" 2>"$T/err"
    s=$?
    case $s in
    0) ;;
    4) fails=$((fails + 1)) ;;
    *) crash=1; echo "# allocation $i: status $s: $(head -c 200 "$T/err")" ;;
    esac
done
same $crash 0 "no failing allocation is worse than exit 4"
[ $fails -gt 40 ]; ok $? "$fails of them were needed"
end
