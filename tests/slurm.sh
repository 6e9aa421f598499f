#!/usr/bin/env bash
# slurm.sh -- the job scripts of pipelines/slurm under a real Slurm: munged, slurmctld and slurmd of this machine, started
# for this test with files of their own and stopped at its end. Needs root, munge, slurm-wlm and mpirun.
set -u
ring=$(cd "${BUILD:-build}/tests" && pwd)/comm_ring
bin=$(cd "${BUILD:-build}/bin" && pwd)
top=$(pwd)
tmp=$(mktemp -d /tmp/sky-slurm.XXXXXX) || exit 1
pids=()
n=0
ok() { # status, description
    n=$((n + 1))
    if [ "$1" = 0 ]; then
        echo "ok $n - $2"
    else
        echo "not ok $n - $2"
        tail -n 25 "$tmp"/job-*.log "$tmp"/slurmctld.log "$tmp"/slurmd.log 2>/dev/null | sed 's/^/# /'
    fi
}
skip() { echo "1..0 # SKIP $1"; exit 0; }
clean() {
    [ ${#pids[@]} = 0 ] || kill "${pids[@]}" 2>/dev/null
    wait
    rm -rf "$tmp"
}
trap clean EXIT
[ "$(id -u)" = 0 ] || skip "only root may start a Slurm here"
for p in munged slurmctld slurmd sbatch mpirun; do
    command -v $p >/dev/null || PATH=$PATH:/usr/sbin command -v $p >/dev/null || skip "no $p here"
done
PATH=$PATH:/usr/sbin
ldd "$ring" | grep -q libmpi || skip "MPI is not built in"

chmod 755 "$tmp"
mkdir -m 700 "$tmp/munge" "$tmp/state" "$tmp/spool"
chmod 711 "$tmp/munge"
head -c 64 /dev/urandom >"$tmp/munge/key"
chmod 400 "$tmp/munge/key"
munged --foreground --force --key-file="$tmp/munge/key" --socket="$tmp/munge/socket" --pid-file="$tmp/munge/pid" --log-file="$tmp/munge/log" \
    --seed-file="$tmp/munge/seed" 2>/dev/null &
pids+=($!)
host=$(hostname -s)
cat >"$tmp/slurm.conf" <<CONF
ClusterName=sky
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=46817
SlurmdPort=46818
AuthType=auth/munge
AuthInfo=socket=$tmp/munge/socket
SlurmUser=root
SlurmctldPidFile=$tmp/slurmctld.pid
SlurmdPidFile=$tmp/slurmd.pid
SlurmctldLogFile=$tmp/slurmctld.log
SlurmdLogFile=$tmp/slurmd.log
SlurmdSpoolDir=$tmp/spool
StateSaveLocation=$tmp/state
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=5
NodeName=$host NodeAddr=127.0.0.1 CPUs=4 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
export SLURM_CONF=$tmp/slurm.conf
slurmctld -D -i 2>/dev/null >&2 &
pids+=($!)
slurmd -D 2>/dev/null >&2 &
pids+=($!)
for _ in $(seq 60); do
    sinfo -h -o %t 2>/dev/null | grep -q idle && break
    sleep 0.5
done
sinfo -h -o %t 2>/dev/null | grep -q idle
ok $? "slurmctld has a node of slurmd"

# The program of the jobs: pretend training, which ends by $DIES in the job's first start.
cat >"$tmp/train" <<SH
#!/bin/sh
# train --threads N --out DIR --resume latest STEPS
mkdir -p "\$4"
[ "\${SLURM_RESTART_COUNT:-0}" = 0 ] && dies=\$DIES
exec "$ring" train "\$4/state" "\$7" 100 \$dies
SH
chmod 755 "$tmp/train"
export SKY_TRAIN=$tmp/train RESTARTS=1 MPIRUN=--oversubscribe OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
submit() { # name, options of sbatch and script...: job number in job
    local name=$1
    shift
    job=$(cd "$top" && sbatch --parsable --output="$tmp/job-$name.log" --nodes=1 --ntasks-per-node=4 --cpus-per-task=1 "$@")
    log=$tmp/job-$name.log
}
state() { scontrol -o show job "$job" | grep -o 'JobState=[A-Z]*\|Restarts=[0-9]*\|ExitCode=[0-9:]*' | tr '\n' ' '; }
until_over() { # seconds; a job that was put back waits for 2 minutes unless it is told to begin
    for _ in $(seq $(($1 * 2))); do
        case $(state) in
        *COMPLETED* | *FAILED* | *CANCELLED* | *TIMEOUT*) return ;;
        *PENDING*)
            sleep 2 # a job that begins in the second in which it was put back has no credential yet
            scontrol update jobid="$job" starttime=now 2>/dev/null
            ;;
        esac
        sleep 0.5
    done
}

DIES='' submit plain pipelines/slurm/pretrain.sbatch 5 "$tmp/plain"
until_over 60
[[ $(state) = *COMPLETED*Restarts=0* || $(state) = *Restarts=0*COMPLETED* ]] && grep -q '^4 ranks, 4 on this host, MPI' "$log" && grep -q '^step 4 ' "$log"
ok $? "pretrain.sbatch: 4 ranks to the end: $(state)"

DIES='2 kill 3' submit kill pipelines/slurm/pretrain.sbatch 6 "$tmp/kill"
until_over 90
grep -q 'process rank 2 .* exited on signal 9' "$log" && grep -q '^continued from step 3' "$log" && grep -q '^step 5 ' "$log" && [[ $(state) = *Restarts=1* && $(state) = *COMPLETED* ]]
ok $? "a rank is killed: the job is put back and goes on from the last checkpoint: $(state)"

# What --signal=B:USR1@SECONDS of the script does near the end of its time, asked for now.
RESTARTS=0 DIES='' submit time pipelines/slurm/finetune.sbatch 40 "$tmp/time"
for _ in $(seq 60); do grep -q '^step 3 ' "$log" 2>/dev/null && break; sleep 0.5; done
scancel --batch --signal=USR1 "$job"
until_over 90
grep -q '^ranks ended with status 0' "$log" && grep -q '^continued from step' "$log" && grep -q '^step 39 ' "$log" &&
    [[ $(state) = *Restarts=1* && $(state) = *COMPLETED* ]]
ok $? "finetune.sbatch: its time is nearly over: stopped after a step, put back, and to the end: $(state)"

# sky-train itself, on records of Flood-3i with the tiny model: asked to stop after its first checkpoint.
"$bin/sky-ingest" --dataset flood3i tests/data/flood3i 2>/dev/null | "$bin/sky-pack" -o "$tmp/train.sky" 2>/dev/null
cat >"$tmp/run.yaml" <<YAML
task: pretrain
model: tiny
steps: 12
batch: 4
data: {train: [$tmp/train.sky], side: 128, repeat: 20}
optimizer: {lr: 2.0e-4}
checkpoint: {every: 2, keep: 2}
log: {every: 1}
YAML
RESTARTS=0 SKY_TRAIN=$bin/sky-train submit real pipelines/slurm/pretrain.sbatch "$tmp/run.yaml" "$tmp/real"
for _ in $(seq 120); do ls "$tmp"/real/step-*.state >/dev/null 2>&1 && break; sleep 0.5; done
scancel --batch --signal=USR1 "$job"
until_over 120
grep -q 'stopped as asked' "$log" && [ -f "$tmp/real/step-00000012.state" ] && [ "$(grep -c '"loss"' "$tmp/real/log.jsonl")" = 12 ] &&
    [[ $(state) = *Restarts=1* && $(state) = *COMPLETED* ]]
ok $? "sky-train on 4 ranks: stopped with a checkpoint, put back, and to the end: $(state)"

DIES='1 exit 2' submit exit pipelines/slurm/pretrain.sbatch 6 "$tmp/exit"
until_over 60
! grep -qE '^step 2 |start 1' "$log" && [[ $(state) = *FAILED* && $(state) = *ExitCode=3:0* ]]
ok $? "bad data end the job: $(state)"
echo "1..$n"
