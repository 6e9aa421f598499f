#!/usr/bin/env bash
# Ranks over MPI on one machine: every call of train/comm.h, also with emulated GPUs and NCCL between them, and that a rank
# that dies ends the job with its number and reason and leaves the last checkpoint whole. SKY_LONG=1: more ranks, more ways
# to die.
. "$(dirname "$0")/t.sh"
shown=("$T/out")
ring=$B/tests/comm_ring
cd "$T" || exit 1
# A rank may be started as root in a container, and there may be more ranks than cores.
ranks() { # ranks, seconds, arguments of comm_ring...: output in out, exit status in status, seconds taken in took
    local count=$1 limit=$2 from=$SECONDS
    shift 2
    # MPI's own memory is not ours to free.
    ASAN_OPTIONS="${ASAN_OPTIONS:-}:detect_leaks=0" timeout -k 5 "$limit" mpirun --allow-run-as-root --oversubscribe -n "$count" "$ring" "$@" >out 2>&1
    status=$?
    took=$((SECONDS - from))
}

"$ring" check >out 2>&1 && grep -q '^1 ranks, 1 on this host, alone$' out && ! grep -q '^not ok' out
ok $? "without mpirun: a single rank, for which MPI is not started"

for tool in sky-pack sky-infer sky-score sky-tile sky-ingest; do
    [ -x "$B/bin/$tool" ] || continue
    ! ldd "$B/bin/$tool" | grep -q libmpi
    ok $? "$tool is not linked to MPI"
done
SLURM_STEP_NUM_TASKS=4 SLURM_PROCID=1 "$ring" check >out 2>&1
[ $? = 2 ] && grep -qE 'without a way to reach the others|MPI is not built in' out
ok $? "srun without a process manager is an error, not four runs"

if ! ldd "$ring" | grep -q libmpi; then
    OMPI_COMM_WORLD_SIZE=4 "$ring" check >out 2>&1
    [ $? = 2 ] && grep -q 'MPI is not built in' out
    ok $? "ranks without MPI are an error, not four runs"
    skip "ranks" "MPI is not built in"
    end
fi
if ! command -v mpirun >/dev/null; then
    skip "ranks" "no mpirun here"
    end
fi
ranks 1 60 check
[ $status = 0 ] && grep -q '^1 ranks, 1 on this host, MPI$' out
ok $? "mpirun with one rank"
for count in 2 4 ${SKY_LONG:+3 7 8}; do
    ranks $count 120 check
    [ $status = 0 ] && grep -q "^$count ranks" out && ! grep -q '^not ok' out && [ "$(grep -c '^ok' out)" = 14 ]
    ok $? "$count ranks: sums to the bit, parts, broadcast, buckets"
done

emulated=$(dirname "$ring")/emulated_ring
if [ -x "$emulated" ]; then
    cpu=$ring ring=$emulated
    for layout in "2 2" "4 2" "6 3" ${SKY_LONG:+"1 1" "4 4" "3 1"}; do
        count=${layout% *}
        ranks $count 240 check cuda ${layout#* }
        [ $status = 0 ] && grep -qE "^$count ranks, .*$([ $count = 1 ] && echo MPI || echo NCCL)\$" out && ! grep -q '^not ok' out && [ "$(grep -c '^ok' out)" = 13 ]
        ok $? "$count ranks with an emulated GPU each, ${layout#* } on a host: the same sums to the bit, through NCCL's interface"
    done
    # The device's work late, and the lane of the sums late (tests/emulate/cuda_emu.h): a wait that is missing shows.
    for late in 1 8; do
        EMU_LAZY=$late ranks 2 240 buckets cuda
        [ $status = 0 ] && ! grep -q '^not ok' out && [ "$(grep -c '^ok' out)" = 1 ]
        ok $? "2 ranks, $([ $late = 1 ] && echo the work || echo sums over ranks) as late as possible: gradients in buckets are the same"
    done
    ranks 2 60 check cuda:1
    [ $status = 2 ] && grep -q "device 'cuda:1' for 2 ranks of one host: with 'cuda' each takes the GPU of its number" out
    ok $? "one GPU for several ranks is an error"
    ring=$cpu
else
    skip "ranks with an emulated GPU each" "no C++ compiler or no nvcc"
fi

# dies HOW RANK STEP PATTERN: the job ends in 30 s, says PATTERN, and STATE is that of the step before.
dies() {
    rm -f state
    ranks 4 40 train state 1000 20 "$2" "$1" "$3"
    [ $status != 0 ] && [ $status != 124 ] && [ $took -le 30 ] && grep -qE -- "$4" out && grep -q "^$3 " state
    ok $? "rank $2 ends by $1 in step $3: status $status after $took s"
}
dies kill 2 6 'process rank 2 with PID [0-9]+ on node .* exited on signal 9 \(Killed\)'
dies abort 3 5 '^comm_ring: rank 3 of 4 on .*: the loss is not finite$'
dies exit 1 4 'Process name: \[\[[0-9]+,1\],1\]'
if [ -n "${SKY_LONG:-}" ]; then
    dies kill 0 9 'process rank 0 with PID [0-9]+ on node .* exited on signal 9 \(Killed\)'
    dies exit 3 2 'Process name: \[\[[0-9]+,1\],3\]'
fi
ranks 3 60 train state 12 5
[ $status = 0 ] && grep -q '^continued from step' out && grep -q '^step 11 ' out
ok $? "another number of ranks goes on from it"
end
