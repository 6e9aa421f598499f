#!/bin/sh
# gpu-check.sh -- everything that wants a real GPU, in one run of less than eight minutes and one report (make gpu-check).
#
#   DEVICE=cuda       cpu: a rehearsal of this script where there is no GPU
#   REPORT=FILE       [build/gpu-report.txt]
#   PYTHON=python3    one that has torch: the peer then runs in turn with ours
#   SHARED=DIR        golden/ and reference/ of the project's shared folder [shared, then ../shared]
# Where there is no nvcc, or building fails, prebuilt/ of the package (make gpu-package) is used; cuBLASLt and NCCL may be
# those that came with PYTHON's torch. Ends with 0 when nothing failed; what was skipped, and why, is in the report.
set -u
cd "$(dirname "$0")/../.."
device=${DEVICE:-cuda}
build=${BUILD:-build}
report=${REPORT:-$build/gpu-report.txt}
python=${PYTHON:-python3}
shared=${SHARED:-$([ -d shared ] && echo shared || echo ../shared)}
budget=470
start=$(date +%s)
failed=0
mkdir -p "$build"
: >"$report"

say() { printf '%s\n' "$*" | tee -a "$report"; }
left() { echo $((budget - $(date +%s) + start)); }
# step NAME LIMIT COMMAND...: at most LIMIT seconds and what is left of the budget
step() {
    name=$1 limit=$2
    shift 2
    [ "$limit" -le "$(left)" ] || limit=$(left)
    if [ "$limit" -lt 5 ]; then
        say "SKIPPED $name: the time is used up"
        return
    fi
    t0=$(date +%s)
    timeout "$limit" "$@" >"$build/gpu-step.txt" 2>&1
    rc=$?
    t1=$(date +%s)
    if [ $rc = 0 ]; then
        say "ok      $name ($((t1 - t0)) s)"
    else
        say "FAILED  $name: status $rc after $((t1 - t0)) s: $*"
        failed=$((failed + 1))
    fi
}
details() { grep -E "$1" "$build/gpu-step.txt" | head -"$2" | sed 's/^/    /' | tee -a "$report"; } # PATTERN LINES

say "gpu-check of $(date -u '+%Y-%m-%d %H:%M') UTC, device $device, $(git rev-parse --short HEAD 2>/dev/null || cat COMMIT 2>/dev/null || echo 'unknown commit')"
if command -v nvidia-smi >/dev/null; then
    nvidia-smi --query-gpu=name,driver_version,compute_cap,memory.total --format=csv,noheader | tee -a "$report"
    CUDA_ARCHS=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -1 | tr -d .)
fi

# Behind what is there, for a machine that has the libraries only so.
libraries=$("$python" -c 'import glob, sysconfig; print(":".join(glob.glob(sysconfig.get_path("purelib") + "/nvidia/*/lib")))' 2>/dev/null)
[ -z "$libraries" ] || export LD_LIBRARY_PATH="${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$libraries"

# Models are named by their configurations, which no program here has beside it.
mkdir -p "$build/data"
ln -sfn "$PWD/pipelines" "$build/data/configs"
SKY_DATA=$(cd "$build/data" && pwd)
export SKY_DATA

# ---- build
tests="device_ops golden bench_model bench_device make-samples comm_ring"
if make -s print-config 2>/dev/null | grep -q '^CUDA=yes' || [ "$device" = cpu ]; then
    targets=
    mpi=$(mpicc -showme:compile 2>/dev/null) # static programs have none unless told
    for t in $tests; do targets="$targets $build/tests/$t"; done
    # shellcheck disable=SC2086
    step build 240 make -s -j"$(getconf _NPROCESSORS_ONLN)" BUILD="$build" TOOLS="sky-infer sky-train" ${CUDA_ARCHS:+CUDA_ARCHS="$CUDA_ARCHS"} ${mpi:+MPI=yes} "$build/bin/sky-infer" "$build/bin/sky-train" $targets
    details 'error|Error' 20
    built=$rc
else
    say "SKIPPED build: no nvcc"
    built=1
fi
if [ "$built" = 0 ]; then
    bin=$build/tests infer=$build/bin/sky-infer train=$build/bin/sky-train
elif [ -d prebuilt ]; then
    say "prebuilt programs"
    bin=prebuilt infer=prebuilt/sky-infer train=prebuilt/sky-train
else
    say "nothing was built, and there is no prebuilt/"
    exit 1
fi
"$infer" --version | tee -a "$report"

# ---- correctness
step "operations against the CPU" 90 "$bin/device_ops" "$device"
details '^not ok|^Bail|SKIP' 40
grep -q '^1..0' "$build/gpu-step.txt" && failed=$((failed + 1))
for dtype in f32 bf16; do
    for f in tests/data/golden/*.safetensors "$shared"/golden/tiny_*.safetensors "$shared"/golden/ops.safetensors; do
        [ -f "$f" ] || continue
        case $dtype-$f in bf16-*tiny_*) continue ;; esac # the goals in BF16 are the full model's: small ones have too few pixels
        step "golden $dtype $(basename "$f")" 30 "$bin/golden" --device "$device" --dtype $dtype "$f"
        details ' not ok$|golden:' 5
    done
done
for dtype in f32 bf16; do
    if [ "$device" = cpu ] && [ -z "${SKY_FULL:-}" ]; then
        say "SKIPPED full model $dtype: SKY_FULL=1 runs it on the CPU (9 GB, minutes)"
    elif [ -f "$shared/golden/full_seeded.safetensors" ]; then
        step "golden $dtype full model" 120 "$bin/golden" --device "$device" --dtype $dtype "$shared/golden/full_seeded.safetensors"
        details ' not ok$|golden:|argmax' 10
    else
        say "SKIPPED full model $dtype: no $shared/golden/full_seeded.safetensors"
    fi
done

# ---- training: four steps of pretraining on made pictures, and the last two again from the checkpoint
runs=$build/gpu-runs
rm -rf "$runs"
mkdir -p "$runs"
"$bin/make-samples" 8 "$runs/made.sky" pictures
for dtype in f32 bf16; do
    cat >"$runs/$dtype.yaml" <<YAML
task: pretrain
model: pipelines/tiny.yaml
seed: 3
dtype: $dtype
steps: 4
batch: 2
data: {train: [$runs/made.sky], side: 128, repeat: 10}
checkpoint: {every: 2}
log: {every: 1, curves: false}
YAML
    step "training $dtype on the CPU" 30 "$train" --device cpu --out "$runs/$dtype-cpu" "$runs/$dtype.yaml"
    step "training $dtype" 30 "$train" --device "$device" --out "$runs/$dtype" "$runs/$dtype.yaml"
    # The project's goals for parity with a reference.
    step "training $dtype: losses and gradient norms of the CPU" 5 tests/device/close.sh "$runs/$dtype/log.jsonl" "$runs/$dtype-cpu/log.jsonl" $([ $dtype = f32 ] && echo 1e-4 || echo 2e-2)
    details . 2
    mkdir "$runs/$dtype-again"
    cp "$runs/$dtype"/step-00000002.* "$runs/$dtype-again"
    step "training $dtype resumed" 30 "$train" --device "$device" --out "$runs/$dtype-again" --resume latest "$runs/$dtype.yaml"
    step "training $dtype resumed: the same bits" 5 cmp "$runs/$dtype/step-00000004.safetensors" "$runs/$dtype-again/step-00000004.safetensors"
    details . 2
done
rm -rf "$runs"
gpus=$(nvidia-smi -L 2>/dev/null | wc -l)
if [ "$device" != cpu ] && [ "$gpus" -gt 1 ] && ldd "$bin/comm_ring" 2>/dev/null | grep -q libmpi && command -v mpirun >/dev/null; then
    step "sums over $gpus GPUs" 60 mpirun --allow-run-as-root -n "$gpus" "$bin/comm_ring" check cuda
    details '^not ok|ranks,|cuda|NCCL' 10
else
    say "SKIPPED sums over several GPUs: $gpus GPUs, or no MPI, or a rehearsal"
fi

if [ "$device" != cpu ] && command -v compute-sanitizer >/dev/null; then
    for tool in memcheck racecheck initcheck; do
        # One test asks for more memory than there is.
        step "compute-sanitizer $tool" 40 compute-sanitizer --tool $tool $([ $tool = memcheck ] && echo --report-api-errors no) --error-exitcode 9 "$bin/device_ops" "$device"
        details '=========|^not ok' 10
    done
else
    say "SKIPPED compute-sanitizer: not on this machine"
fi

# ---- speed
if [ "$device" = cpu ]; then
    say "SKIPPED single operations: bench_device takes minutes on a CPU"
    size=tiny
else
    step "single operations" 60 "$bin/bench_device" "$device"
    details '.' 60
    size=full
fi
peer=$shared/reference/bench_peer.py
for modalities in hr all; do
    for batch in 1 8; do
        step "model $size bf16 $modalities, batch $batch" 40 "$bin/bench_model" --size $size --device "$device" --modalities $modalities --batch $batch --repeat 5
        details '^\{|:' 2
        if [ "$device" = cpu ] || [ ! -f "$peer" ] || ! "$python" -c 'import torch' 2>/dev/null; then
            say "SKIPPED peer: no $peer, or no torch for $python, or a rehearsal"
            continue
        fi
        step "peer, the same" 60 "$python" "$peer" --size $size --device cuda --modalities $modalities --batch $batch --repeat 5
        details '^\{|Error' 2
        step "peer, compiled" 90 "$python" "$peer" --size $size --device cuda --modalities $modalities --batch $batch --repeat 5 --compile
        details '^\{|Error' 2
    done
done

rm -f "$build/gpu-step.txt"
say "$(($(date +%s) - start)) s in all, $failed failed; report: $report"
[ $failed = 0 ]
