#!/usr/bin/env bash
# sky-score on files scored by hand (tests/tools/score_files.c says what is in them).
. "$(dirname "$0")/t.sh"
shown=("$T/out" "$T/err")
bin=$B/bin/sky-score
gives() { # wanted status, arguments...: output in out, messages in err
    local want=$1
    shift
    "$bin" "$@" >out 2>err
    [ $? = "$want" ]
}
says() { grep -qF -- "$1" out err; }
is() { diff "$1" - >differences; } # file; wanted text on standard input

"$B/tests/score_files" "$T" && cd "$T" || exit 1

gives 0 --labels labels-0.sky labels-1.sky -- good.sky && is out <<'EOF'
binary protocol, 4 of 4 predictions scored, model aa11
class                            images       IoU      Dice  precision    recall  1-shot IoU  1-shot acc
    1  water                           2    0.5000    0.6667     0.6667    0.6667      0.5000      0.6667
    2  road, paved                     2    0.8000    0.8889     1.0000    0.8000      0.8000      0.8000
    3  tree                            0         -         -          -         -           -           -
       mean                                 0.6500    0.7778     0.8333    0.7333      0.6500      0.7333
       classes in the mean                       2         2          2         2           2           2
pixel accuracy 0.7857   frequency-weighted IoU 0.6875
absent from labels and predictions, in no mean: 3
EOF
ok $? "binary protocol, sizes 1, 2 and 3 times the label's"
cp out table
[ ! -s err ]
ok $? "nothing on standard error"
"$bin" --labels labels-*.sky <good.sky >out 2>err && cmp -s out table
ok $? "predictions on standard input, labels by a shell pattern"
gives 0 good.sky --labels labels-1.sky labels-0.sky && cmp -s out table
ok $? "predictions before the labels, shards in another order"
gives 0 --labels=labels-1.sky -l labels-0.sky -- - <good.sky && cmp -s out table
ok $? "other spellings of the options"

gives 0 --labels labels-*.sky --confusion m.csv -- maps.sky && is m.csv <<'EOF'
label\predicted,1,2,3,other
1,8,4,0,0
2,4,12,0,4
3,0,0,0,0
other,0,4,0,8
EOF
ok $? "multi-class matrix"
gives 0 --labels labels-*.sky --confusion m2.csv -- maps-ignored.sky && cmp -s m.csv m2.csv
ok $? "what is predicted on ignored pixels does not count"
gives 0 --labels labels-*.sky --csv -- maps.sky && is out <<'EOF'
value,name,images,tp,fp,fn,tn,iou,dice,precision,recall,oneshot_iou,oneshot_accuracy
1,water,2,8,4,4,28,0.5,0.66666666666666663,0.66666666666666663,0.66666666666666663,0.49999996875000191,0.6666666111111158
2,"road, paved",2,12,8,8,16,0.42857142857142855,0.59999999999999998,0.59999999999999998,0.59999999999999998,0.42857141326530668,0.59999997000000149
3,tree,0,0,0,0,44,,,,,,
,mean,,,,,,0.4642857142857143,0.6333333333333333,0.6333333333333333,0.6333333333333333,0.46428569100765427,0.63333329055555865
EOF
ok $? "CSV"
gives 0 --labels labels-*.sky --json --confusion b.csv -- good.sky && is b.csv <<'EOF' && says '"complete":true' && says '"iou":0.8' && says '"iou":null' && says '"weighted_iou":0.6875' && says '"model":"aa11"'
value,tp,fp,fn,tn
1,8,4,4,12
2,16,0,4,8
3,0,0,0,0
EOF
ok $? "JSON, undefined figures are null; matrix of the binary protocol"
gives 3 --labels plainlabels.sky --ignore 255 -- maps.sky && says "query 'b' has no label"
ok $? "predictions of queries that no label shard has"
gives 3 --labels plainlabels.sky --ignore 255 --keep-going --csv -- maps.sky && says "0,0," && says "1,1," && says "2,2,"
ok $? "without a class table the values that occur are the classes"

printf 'a\tb\t1\na\tc\t2\nb\ta\t1\nc\ta\t2\n' >p.tsv
gives 0 --labels labels-*.sky --prompts p.tsv -- good.sky && cmp -s out table
ok $? "prompts file says the same as the labels"
printf '\357\273\277' | cat - p.tsv >marked.tsv
gives 0 --labels labels-*.sky --prompts marked.tsv -- good.sky && cmp -s out table
ok $? "a byte-order mark at the start of a prompts file is skipped"
printf 'c\ta\t1\n' >>p.tsv
gives 0 --labels labels-*.sky --prompts p.tsv -- unasked.sky && says "5 of 5"
ok $? "prompts file asks for a class the label does not hold"
gives 3 --labels labels-*.sky --prompts p.tsv -- good.sky && says "no prediction for query 'c', class 1"
ok $? "and it is missed when absent"
printf 'z\ta\t1\n' >>p.tsv
gives 3 --labels labels-*.sky --prompts p.tsv -- good.sky && says "query 'z' has no label"
ok $? "a prompted query without label"
printf 'a\tb\t1\na\tc\t2\nb\tb\t1\nb\ta\t1\nc\ta\t2\n' >self.tsv
gives 3 --labels labels-*.sky --prompts self.tsv -- good.sky && says "self.tsv: line 3: 'b' prompts itself" && [ ! -s out ]
ok $? "a prompts file with a line that is none"
gives 3 --labels labels-*.sky --prompts self.tsv --keep-going -- good.sky && says "self.tsv: line 3: 'b' prompts itself" && cmp out table
ok $? "without it under --keep-going"
printf 'a\tb\t*\n' >star.tsv
gives 3 --labels labels-*.sky --prompts star.tsv -- good.sky && says "multi-class protocol, the predictions are not"
ok $? "prompts of the other protocol"

printf 'a\tb\t1\n' >one.tsv
gives 3 --labels wide.sky --classes 1,2 --prompts one.tsv -- one.sky && says "prediction 0 'a#1': label value 65535; at most 4095 are scored"
ok $? "a label value beyond all tables"
gives 0 --labels labels-*.sky --classes 1,2 --prompts one.tsv --csv -- one.sky && cp out want &&
    gives 0 --labels wide.sky --classes 1,2 --ignore 65535 --prompts one.tsv --csv -- one.sky && cmp out want
ok $? "is left out when it is ignored, as 255 is in a narrow one"

fails() { # file, words, description
    gives 3 --labels labels-*.sky -- "$1" && says "$2" && [ ! -s out ] && [ "$(wc -l <err)" = 1 ]
    ok $? "$3"
}
fails missing.sky "no prediction for query 'b', class 1 (and 1 more)" "missing"
fails extra.sky "extra.sky: prediction 4 'z#1': extra: query 'z' has no label" "extra query"
fails unasked.sky "extra: the label does not hold class 1 of query 'c'" "extra class"
fails duplicate.sky "prediction 4 'a#1': duplicate" "duplicate"
fails misshapen.sky "prediction 2 'a#2': no field 'pred'" "field missing"
fails value.sky "value 2 at row 1, column 0" "mask with another value"
fails model.sky "made by model bb22, those before by model aa11" "two models"
fails badid.sky "its meta makes the id 'a#2'" "id and meta disagree"
fails mixed.sky "protocol after predictions of the other" "two protocols"
fails none.sky "no predictions" "no predictions are no score"
fails maps-missing.sky "no prediction for query 'c'" "missing map"
head -c 400 good.sky >cut.sky
fails cut.sky "cut.sky" "predictions cut short"
gives 3 --labels labels-1.sky -- maps-9.sky && says "value 9 is in no class" && [ ! -s out ]
ok $? "a predicted value in no class"
gives 3 --labels unlisted.sky -- maps-9.sky && says "sample 'a'" && says "label value 9 is in no class"
ok $? "a label value in no class"
gives 0 --labels unlisted.sky --classes 1,2,9 -- maps-9.sky && says "1 of 1 predictions"
ok $? "--classes goes before the table"
gives 3 --labels labels-*.sky --same-size -- good.sky && says "8 x 8 pixels; its label has 4 x 4"
ok $? "--same-size"
gives 3 --labels labels-*.sky --keep-going -- missing.sky && says "NOT COMPLETE: 2 missing, 0 extra, 0 duplicate, 0 misshapen" && says "query 'c', class 2"
ok $? "--keep-going names and counts the missing, exit 3"
for f in extra duplicate; do
    gives 3 --labels labels-*.sky --keep-going --json -- $f.sky && says "\"$f\":1" && says '"complete":false' && says '"iou":0.8'
    ok $? "--keep-going counts $f and leaves it out"
done
gives 3 --labels labels-*.sky --keep-going -- misshapen.sky && says "3 of 4 predictions scored" && says "1 misshapen"
ok $? "--keep-going counts misshapen"

gives 3 --labels labels-*.sky renamed.sky -- maps-d.sky && [ ! -s out ] &&
    says "renamed.sky: sample 'd': another class table than 'a' of labels-1.sky: class 2 is 'tree' here, 'road, paved' there"
ok $? "a shard whose class 2 is another class is not scored with the first one's table"
gives 0 --labels labels-*.sky renamed.sky --classes 1=water,2=road,3=tree -- maps-d.sky && says "4 of 4" && says "2  road "
ok $? "unless --classes says what the numbers mean in all"
gives 3 --labels labels-0.sky fewer.sky -- maps-d.sky && says "class 3 is none here, 'tree' there" && [ ! -s out ]
ok $? "one label with another table inside a shard"
gives 3 --labels labels-*.sky ignores.sky -- maps-d.sky && says "value 0 is ignored here, not there (--ignore 0 ignores it in both)"
ok $? "a shard that ignores another value (nodata, as a raster writes it)"
gives 0 --labels labels-*.sky ignores.sky --ignore 0 -- maps-d.sky && says "4 of 4"
ok $? "unless it is ignored in all"
gives 3 --labels images.sky --picture p.png -- good.sky && says "good.sky: prediction 3 'b#1': picture: field 'hr': dims 'zyx'" && [ ! -s out ] && [ ! -e p.png ]
ok $? "an image that cannot be drawn"
gives 3 --labels images.sky --picture p.png --keep-going -- good.sky && says "4 of 4 predictions scored" && diff table out && says "prediction 3 'b#1': picture: field 'hr'" && [ -s p.png ]
ok $? "costs its row of the picture under --keep-going, not its score"
gives 3 --labels labels-*.sky --picture q.png --keep-going -- good.sky && diff table out && says "q.png: nothing to draw" && [ ! -e q.png ]
ok $? "no image to draw is said, the scores come"
gives 3 --labels unmasked.sky --keep-going --picture p1.png -- good.sky && gives 3 --labels masked.sky --keep-going --picture p2.png -- good.sky && [ -s p1.png ] && cmp p1.png p2.png
ok $? "a mask of valid pixels is not taken for the picture"
cat >seen.py <<'PY' # PNG R,G,B: is the label's square, the lowest 16 lines, of this one colour? PNG alone: prints its upper lines, the caption
import struct, sys, zlib
png = open(sys.argv[1], "rb").read()
w, h = struct.unpack(">II", png[16:24])
raw, at = b"", 8
while at < len(png):
    n = struct.unpack(">I", png[at:at + 4])[0]
    raw += png[at + 8:at + 8 + n] if png[at + 4:at + 8] == b"IDAT" else b""
    at += n + 12
raw, up, seen, caption = zlib.decompress(raw), bytearray(3 * w), set(), []
def paeth(a, b, c):
    return min((abs(b - c), 0, a), (abs(a - c), 1, b), (abs(a + b - 2 * c), 2, c))[2]
for y in range(h):
    kind, row = raw[y * (3 * w + 1)], bytearray(raw[y * (3 * w + 1) + 1:(y + 1) * (3 * w + 1)])
    for i in range(3 * w):
        a, c = (row[i - 3], up[i - 3]) if i > 2 else (0, 0)
        row[i] = row[i] + (0, a, up[i], (a + up[i]) // 2, paeth(a, up[i], c))[kind] & 255
    if y < 8:
        caption.append("".join("#" if not any(row[3 * x:3 * x + 3]) else " " for x in range(w)).rstrip())
    if y >= h - 16:
        seen |= {tuple(row[3 * x:3 * x + 3]) for x in range(20, 36)}
    up = row
print(sorted(seen) if len(sys.argv) > 2 else "\n".join(caption))
if len(sys.argv) == 2:
    sys.exit()
sys.exit(seen != {tuple(int(v) for v in sys.argv[2].split(","))})
PY
gives 3 --labels unmasked.sky --keep-going --picture p3.png --picture-size 16 -- good.sky && python3 seen.py p3.png 165,60,240 >out 2>&1 # class 2 everywhere: hue 275 degrees
ok $? "classes without a colour are drawn in one"
gives 3 --labels painted.sky --keep-going --picture p4.png --picture-size 16 -- good.sky && python3 seen.py p4.png 10,20,30 >out 2>&1
ok $? "colours that only the shard's schema names are used"
gives 3 --labels unmasked.sky --keep-going --picture p5.png --picture-size 60 -- good.sky && python3 seen.py p5.png >words && is words <<'EOF'
                         ##                            ###                              #                                         #
                          #                           #   #                             #                                         #
 ####              ####   #    ###   ####  ####           #       # ##   ###   ###   ## #             ####   ###  #   #  ###   ## #
#                 #       #       # #     #             ##        ##    #   #     # #  ##             #   #     # #   # #   # #  ##
#                 #       #    ####  ###   ###         #          #     #   #  #### #   #             #   #  ####  # #  ##### #   #
#       ##        #       #   #   #     #     #       #           #     #   # #   # #   #   ##        ####  #   #  # #  #     #   #
 ####   #          ####  ###   #### ####  ####        #####       #      ###   ####  ####   #         #      ####   #    ####  ####
       #                                                                                   #          #
EOF
ok $? "a row's caption says which query and class it is"
gives 3 --labels unmasked.sky --keep-going --picture p6.png --picture-size 24 --classes 2=roäd -- good.sky && python3 seen.py p6.png >words && is words <<'EOF'
                         ##                ###                    #####     #
                          #               #   #                   #   #     #
 ####              ####   #                   #       # ##   ###  #   #  ## #
#                 #       #                 ##        ##    #   # #   # #  ##
#                 #       #                #          #     #   # #   # #   #
#       ##        #       #    ##    ##   #           #     #   # #   # #   #
 ####   #          ####  ###   ##    ##   #####       #      ###  #####  ####
       #
EOF
ok $? "one that is too long loses its middle, a letter not of ASCII is a box"
gives 3 --labels unmasked.sky --keep-going --picture p7.png --picture-size 16 -- maps.sky && python3 seen.py p7.png >words && is words <<'EOF'


 ####
#
#
#
 ####

EOF
ok $? "in the multi-class protocol it is the query"
gives 3 --labels stream.sky -- good.sky && says "stream.sky: a plain stream has no index: sky-pack -o makes a shard of it"
ok $? "labels as a plain stream are refused"
gives 2 --labels - -- good.sky && says "sky-pack -o"
ok $? "labels on standard input are refused with the way out"
gives 2 good.sky && says "which labels"
ok $? "no labels"
gives 3 --labels labels-0.sky labels-1.sky </dev/null && says "-- ends them"
ok $? "predictions named among the labels"
gives 2 --labels labels-0.sky --ignore x -- good.sky
ok $? "--ignore x"
gives 2 --labels labels-*.sky --confusion - -- good.sky && says "standard output carries the scores" && [ ! -s out ]
ok $? "--confusion - would mix with the table"
gives 2 --labels labels-0.sky --json --csv -- good.sky
ok $? "--json and --csv"
gives 4 --labels nothing.sky -- good.sky && says "nothing.sky"
ok $? "no such file"
gives 3 --labels labels-*.sky --label-field mask -- good.sky && says "mask"
ok $? "no such label field"
gives 0 --help && says "--labels" && gives 0 --version && says "sky-score"
ok $? "--help and --version"
if [ -e /dev/full ]; then
    "$bin" --labels labels-*.sky -- good.sky >/dev/full 2>err
    [ $? = 4 ]
    ok $? "full disk on standard output"
fi
"$bin" --json --threads 1 --labels labels-*.sky -- good.sky >whole 2>err
odd=
for k in $(seq 1 7 1200); do
    SKY_TEST_FAIL_ALLOC=$k "$bin" --json --threads 1 --labels labels-*.sky -- good.sky >out 2>err
    got=$?
    [ $got = 4 ] || { [ $got = 0 ] && cmp -s out whole; } || odd="$odd $k:$got"
done
[ -z "$odd" ]
ok $? "any allocation may fail: status 4, or the same JSON ($odd)"
end
