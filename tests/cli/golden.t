#!/usr/bin/env bash
# Reference tensors: the small copies in tests/data, and every file of the shared folder where there is one.
. "$(dirname "$0")/t.sh"
shown=("$T/out")
golden=$B/tests/golden
seed=$B/tests/seed-weights
shared=${SKY_SHARED:-../shared}/golden
status() { "$@" >"$T/out" 2>&1; echo $?; }

replay() { # options... FILE: status 0 and at least one comparison
    "$golden" "$@" >"$T/out" 2>&1 && ! grep -q ': 0 ok, 0 not ok, 0 skipped' "$T/out"
}

for f in tests/data/golden/*.safetensors; do
    replay "$f"
    ok $? "$f"
done
replay --threads 1 tests/data/golden/tiny_hr_only.safetensors
ok $? "one thread"
for level in portable avx2 avx512; do
    SKY_CPU=$level replay tests/data/golden/ops.safetensors
    ok $? "operations, instruction set $level or below"
done

for name in tiny_all_modalities tiny_hr_only tiny_mixed_flags tiny_finetune_vit tiny_finetune_vit_multiscale \
    tiny_finetune_timeseries tiny_swin_image_only tiny_optimizer_steps ops; do
    if [ -f "$shared/$name.safetensors" ]; then
        replay "$shared/$name.safetensors"
        ok $? "shared $name"
    else
        skip "shared $name" "no $shared"
    fi
done
for dtype in f32 bf16; do
    if [ "${SKY_FULL:-}" = 1 ] && [ -f "$shared/full_seeded.safetensors" ]; then
        replay --dtype $dtype "$shared/full_seeded.safetensors"
        ok $? "full model, $dtype"
    else
        skip "full model, $dtype" "set SKY_FULL=1 (needs 9 GB and minutes)"
    fi
done

# What must be noticed.
cp tests/data/golden/tiny_finetune_vit.safetensors "$T/bad.safetensors"
chmod u+w "$T/bad.safetensors"
printf '\x55\x55' | dd of="$T/bad.safetensors" bs=1 seek=$(($(stat -c %s "$T/bad.safetensors") - 2)) conv=notrunc 2>/dev/null
[ "$(status "$golden" "$T/bad.safetensors")" = 1 ] && grep -q 'not ok$' "$T/out"
ok $? "a changed number exits 1"
head -c 3000 tests/data/golden/ops.safetensors >"$T/cut.safetensors"
[ "$(status "$golden" "$T/cut.safetensors")" = 3 ]
ok $? "a cut file exits 3"
[ "$(status "$golden" "$T/none.safetensors")" = 4 ]
ok $? "an absent file exits 4"
[ "$(status "$golden" --dtype f16 x)" = 2 ]
ok $? "an unknown type exits 2"

# Generated weights: the reference file's own, bit for bit, under its prefix.
file=tests/data/golden/tiny_hr_only.safetensors
[ "$(status "$seed" --config tiny --prefix d. -o "$T/w.safetensors")" = 0 ] && [ "$(status "$golden" --same-weights "$T/w.safetensors" $file)" = 0 ]
ok $? "seed-weights: the weights of the reference file"
[ "$(status "$seed" --config tiny --prefix e. -o "$T/w.safetensors")" = 0 ] && [ "$(status "$golden" --same-weights "$T/w.safetensors" $file)" = 1 ]
ok $? "seed-weights: another prefix gives other weights"
end
