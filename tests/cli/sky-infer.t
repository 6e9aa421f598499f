#!/bin/bash
# sky-infer from the outside: prompts made and used, both protocols, same bytes whatever threads and batch, streams, wrong
# arguments and inputs, --keep-going, full disk, closed output, interruption, failing memory.
. "$(dirname "$0")/t.sh"
infer=$B/bin/sky-infer
tool=("$infer")

# ---- inputs: Flood-3i tiles, generated tiny weights -----------------------------------------------------------------
"$B/bin/sky-ingest" --dataset flood3i --no-provenance tests/data/flood3i >"$T/q.stream" 2>"$T/err"; ok $? "samples ingested"
"$B/bin/sky-pack" -o "$T/q.sky" "$T/q.stream" 2>"$T/err"; ok $? "samples packed"
"$B/tests/seed-weights" --config tiny -o "$T/w.safetensors" 2>"$T/err"; ok $? "weights generated"
run 3 "'b_2_10': it is the only one that holds class 8" "a class of one sample cannot be prompted" --make-prompts 4 "$T/q.sky"
run 3 "sample 'b_2_10': it is the only one that holds class 8, so nothing can prompt it" "prompts made without it, which is named" --keep-going --make-prompts 4 "$T/q.sky"
cp "$T/out" "$T/all.tsv"
run 3 "1 record skipped" "again" --keep-going --make-prompts 4 "$T/q.sky"
cmp -s "$T/out" "$T/all.tsv"; ok $? "the same prompts"
run 3 "1 record skipped" "another seed" --keep-going --make-prompts 5 "$T/q.sky"
! cmp -s <(grep -v '^#' "$T/out") <(grep -v '^#' "$T/all.tsv"); ok $? "other prompts"
awk -F'\t' '!/^#/ && $1 == $2 { exit 1 }' "$T/all.tsv"; ok $? "no sample prompts itself"
"$B/bin/sky-pack" --shard-count 1 -o "$T/one-%05d.sky" "$T/q.stream" 2>"$T/err"
(ulimit -Sn 7 && exec "$infer" --keep-going --make-prompts 4 "$T"/one-*.sky) >"$T/out" 2>"$T/err"
cmp -s <(grep -v '^#' "$T/out") <(grep -v '^#' "$T/all.tsv"); ok $? "more shards than the soft limit of open files"
run 0 "" "multi-class prompts" --make-prompts 4 --protocol multiclass "$T/q.sky"
grep -v '^#' "$T/out" | head -3 >"$T/multi.tsv"
same "$(cut -f3 "$T/multi.tsv" | sort -u)" "*" "are of all classes"
grep -v '^#' "$T/all.tsv" | awk 'NR % 4 == 1' | head -5 >"$T/p.tsv"
go=(-m "$T/w.safetensors" --prompts "$T/p.tsv" --size 128 --no-provenance)

# ---- predictions --------------------------------------------------------------------------------------------------------
run 0 "" "binary protocol" "${go[@]}" "$T/q.sky"
cp "$T/out" "$T/one"
same "$("$B/bin/sky-pack" --list "$T/one" | cut -f1)" "$(awk -F'\t' '{ print $1 "#" $3 }' "$T/p.tsv")" "ids and order of the prompts file"
"$B/bin/sky-pack" --verify "$T/one" >/dev/null 2>"$T/err"; ok $? "a stream that sky-pack accepts"
for how in "--threads 1" "--threads 3 --batch 2" "--batch 5" "--batch 16 --threads 2"; do
    # shellcheck disable=SC2086
    run 0 "" "$how" "${go[@]}" $how "$T/q.sky"
    cmp -s "$T/out" "$T/one"; ok $? "the same bytes"
done
run 0 "" "to a file" "${go[@]}" -o "$T/file" "$T/q.sky"
cmp -s "$T/file" "$T/one"; ok $? "the same bytes"
"$infer" "${go[@]}" --prompt-shards "$T/q.sky" <"$T/q.stream" >"$T/out" 2>"$T/err"; ok $? "queries from a stream"
same "$("$B/bin/sky-pack" --list "$T/out" | sort)" "$("$B/bin/sky-pack" --list "$T/one" | sort)" "the same predictions"
head -1 "$T/p.tsv" | "$infer" -m "$T/w.safetensors" --prompts - --size 128 -o "$T/first" "$T/q.sky" 2>"$T/err"; ok $? "prompts from standard input"
run 0 "" "bf16" "${go[@]}" --dtype bf16 "$T/q.sky"
! cmp -s "$T/out" "$T/one"; ok $? "is not f32"
run 0 "" "other slots" "${go[@]}" --seed 3 "$T/q.sky"
! cmp -s "$T/out" "$T/one"; ok $? "are other predictions"
run 0 "" "multi-class with probabilities, two slots and colours" -m "$T/w.safetensors" --prompts "$T/multi.tsv" --size 128 --probabilities --slots 2 --palette "$T/q.sky"
same "$("$B/bin/sky-pack" --list "$T/out" | grep -c 'prob F16\[[0-9]*,128,128\]')" 3 "have a plane per class"
run 0 "canvas 256 x 128, .* MiB of activations" "--verbose" -v "${go[@]}" "$T/q.sky"

# ---- wrong command lines --------------------------------------------------------------------------------------------------
run 2 "-m WEIGHTS is missing" "no weights" --prompts "$T/p.tsv" "$T/q.sky"
run 2 "--prompts FILE is missing" "no prompts" -m "$T/w.safetensors" "$T/q.sky"
run 2 "multiple of 128" "odd size" "${go[@]}" --size 200 "$T/q.sky"
run 2 "expected f32 or bf16" "unknown type" "${go[@]}" --dtype f16 "$T/q.sky"
run 2 "expected nearest or first" "unknown date" "${go[@]}" --date last "$T/q.sky"
run 2 "expected binary or multiclass" "unknown protocol" "${go[@]}" --protocol ternary "$T/q.sky"
run 2 "is of the binary protocol" "the file's protocol is another" "${go[@]}" --protocol multiclass "$T/q.sky"
run 2 "--split 'foo': no sample is of this split; there are 'val'" "a split that is not there" --make-prompts 1 --split foo "$T/q.sky"
run 2 "--prompt-split 'foo': no sample" "nor for prompts" --make-prompts 1 --split val --prompt-split foo "$T/q.sky"
run 2 "do not go with it" "two jobs at once" --make-prompts 1 "${go[@]}" "$T/q.sky"
run 2 "name the prompts' shards" "a stream without --prompt-shards" "${go[@]}"
case $("$infer" --version) in
*"driver for CUDA"*) ;; # there may be one
*) run 4 "without CUDA\|no usable GPU" "no such device" "${go[@]}" --device cuda "$T/q.sky" ;;
esac
run 2 "expected cpu, cuda" "no device at all" "${go[@]}" --device tpu "$T/q.sky"
"$infer" --version | grep -q '^CUDA: '; ok $? "--version names the backends"

# ---- wrong input ------------------------------------------------------------------------------------------------------------
q=$(cut -f1 "$T/p.tsv" | head -1) p=$(cut -f2 "$T/p.tsv" | head -1) c=$(cut -f3 "$T/p.tsv" | head -1)
mk() { printf "$@" >"$T/bad.tsv"; wrong=(-m "$T/w.safetensors" --prompts "$T/bad.tsv" --size 128 --no-provenance "$T/q.sky"); }
mk '# head\n%s\t%s\t%s\nnobody\t%s\t1\n' "$q" "$p" "$c" "$p"
run 3 "bad.tsv: line 3 (query 'nobody'.*is in none of the 1 shards" "unknown query" "${wrong[@]}"
[ ! -s "$T/out" ]; ok $? "found before anything is written"
run 3 "line 3" "--keep-going" --keep-going "${wrong[@]}"
same "$("$B/bin/sky-pack" --list "$T/out" 2>"$T/err" | cut -f1)" "$q#$c" "answers the other line"
mk '%s\t%s\t%s\n%s\t%s\t%s\n' "$q" "$q" "$c" "$q" "$p" "$c"
run 3 "bad.tsv: line 1: '$q' prompts itself" "a line whose query prompts itself" "${wrong[@]}"
[ ! -s "$T/out" ]; ok $? "ends it"
run 3 "bad.tsv: line 1: '$q' prompts itself" "under --keep-going it is named" --keep-going "${wrong[@]}"
same "$("$B/bin/sky-pack" --list "$T/out" 2>"$T/err" | cut -f1)" "$q#$c" "and left out"
mk '%s\tnobody\t1\n' "$q"
run 3 "prompt 'nobody' is in none" "unknown prompt" "${wrong[@]}"
mk '%s\t%s\t200\n' "$q" "$p"
run 3 "line 1 .*no pixel of class 200" "a class the prompt lacks" "${wrong[@]}"
run 3 "none of 1 lines gave a prediction" "nothing left under --keep-going" --keep-going "${wrong[@]}"
printf 'nobody\t%s\t1\n' "$p" >"$T/bad.tsv"
"$infer" -m "$T/w.safetensors" --prompts "$T/bad.tsv" --size 128 --prompt-shards "$T/q.sky" <"$T/q.stream" >"$T/out" 2>"$T/err"
same "$? $(grep -c "ended without this query" "$T/err")" "3 1" "a query the stream does not hold"
size=$(stat -c %s "$T/q.sky")
{ head -c $((size / 2)) "$T/q.sky"; printf XXXXXXXX; tail -c +$((size / 2 + 9)) "$T/q.sky"; } >"$T/hurt.sky"
"$infer" "${go[@]}" --prompt-shards "$T/q.sky" <"$T/hurt.sky" >"$T/out" 2>"$T/err"
same "$? $(wc -l <"$T/err")" "3 1" "a damaged record in the stream ends it"
"$infer" "${go[@]}" --keep-going --prompt-shards "$T/q.sky" <"$T/hurt.sky" >"$T/out" 2>"$T/err"
same "$? $(grep -c "standard input: record [0-9]* " "$T/err")" "3 1" "under --keep-going it is named"
lost=$(grep -c "ended without this query" "$T/err")
[ "$lost" -gt 0 ] && same "$("$B/bin/sky-pack" --list "$T/out" | wc -l)" $((5 - lost)) "and costs its $lost predictions, not those after it"
run 3 "q.stream: a plain stream has no index" "a plain stream as a shard" "${go[@]}" "$T/q.stream"
run 4 "absent.sky" "no such shard" "${go[@]}" "$T/absent.sky"
head -c 100000 "$T/w.safetensors" >"$T/short.safetensors"
run 3 "short.safetensors" "truncated weights" "${go[@]}" -m "$T/short.safetensors" "$T/q.sky"
# The same weights with another header: eight bytes of length, JSON, padding.
relabel() { # METADATA to $T/named.safetensors
    local n=$(od -An -tu8 -N8 "$T/w.safetensors") head
    head=$(head -c $((n + 8)) "$T/w.safetensors" | tail -c "$n" | sed 's/"__metadata__":{/&'"$1"',/; s/ *$//')
    while [ $((${#head} % 8)) != 0 ]; do head="$head "; done
    { for ((i = 0; i < 8; i++)); do printf "\\x$(printf %02x $((${#head} >> 8 * i & 255)))"; done; printf %s "$head"; tail -c +$((n + 9)) "$T/w.safetensors"; } >"$T/named.safetensors"
}
rgb='\\"mean\\":[0.485,0.456,0.406],\\"std\\":[0.229,0.224,0.225]'
relabel '"normal":"{\\"hr\\":{\\"divide\\":1,'"$rgb"'}}"'
run 3 "named.safetensors: normalisation of field 'hr': divided by 1 when trained, by 255 now" "trained with another normalisation" "${go[@]}" -m "$T/named.safetensors" "$T/q.sky"
relabel '"normal":"{\\"hr\\":{\\"divide\\":255,'"$rgb"'}}"'
run 0 "" "trained with the same" "${go[@]}" -m "$T/named.safetensors" -o "$T/named.sky" "$T/q.sky"
run 3 "w.safetensors: weights do not fit the model" "wrong configuration" "${go[@]}" --config full "$T/q.sky"
run 3 "field 'rgb' is missing" "no such field" "${go[@]}" --image rgb "$T/q.sky"

# ---- faults -------------------------------------------------------------------------------------------------------------------
"$infer" "${go[@]}" "$T/q.sky" >&- 2>"$T/err"; same $? 4 "closed output"
if [ -e /dev/full ]; then "$infer" "${go[@]}" "$T/q.sky" >/dev/full 2>"$T/err"; same $? 4 "full disk"; fi
"$infer" "${go[@]}" --slots 64 -o "$T/never" "$T/q.sky" 2>"$T/err" &
pid=$!
sleep 1
kill -TERM $pid # INT is ignored by what a script starts in the background
wait $pid; got=$?
[ $got -gt 128 ] && ! ls "$T"/never* >/dev/null 2>&1; ok $? "interrupted: no file is left"
head -2 "$T/p.tsv" >"$T/two.tsv"
small=(-m "$T/w.safetensors" --prompts "$T/two.tsv" --size 128 --no-provenance --batch 2 --threads 1 --probabilities "$T/q.sky")
"$infer" "${small[@]}" >"$T/good" 2>"$T/err"
odd=""
step=${SWEEP_STEP:-293}
for ((k = 1; k < 20000; k += step)); do
    SKY_TEST_FAIL_ALLOC=$k "$infer" "${small[@]}" >"$T/out" 2>"$T/err"
    got=$?
    if [ $got = 0 ]; then
        cmp -s "$T/out" "$T/good" || odd="$odd $k:other-bytes"
        SKY_TEST_FAIL_ALLOC=$((k + 5000)) "$infer" "${small[@]}" >/dev/null 2>&1 && break
    elif [ $got != 4 ]; then
        odd="$odd $k:status-$got"
    fi
done
same "$odd" "" "any allocation may fail: status 4, or the same bytes (up to the ${k}th)"

end
