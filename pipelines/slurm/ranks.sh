# shellcheck shell=bash disable=SC2086
# ranks.sh -- what the job scripts here share: ranks under Slurm that stop in time, and go on where they were.
#
# sky_ranks RUN.yaml OUT starts the ranks and ends with their exit status. It goes on from the last checkpoint in OUT. The
# job is put back into the queue when its time is nearly over (the script asks for USR1 then: the ranks finish their step
# and write a checkpoint), and when ranks died of a signal or of the machine (status 4 and above), at most $RESTARTS times.
# Slurm itself does it when a node fails. A bad command line, bad data or a loss that is not finite ends the job.
#
#   SKY_TRAIN   the program [sky-train]
#   RESTARTS    [3]
#   MPIRUN      further options of mpirun
sky_ranks() {
    local run=$1 out=$2 status over=0
    echo "job ${SLURM_JOB_ID:-none}, start ${SLURM_RESTART_COUNT:-0}: ${SLURM_NTASKS:-1} ranks on ${SLURM_JOB_NODELIST:-this host}"
    # Ranks keep to their share of the cores by --threads. Daemons that hear nothing for 5 s ask, and after two questions
    # without an answer end the job: without this a cut cable is noticed after minutes.
    mpirun -n "${SLURM_NTASKS:-1}" --bind-to none --mca oob_tcp_keepalive_time 5 --mca oob_tcp_keepalive_intvl 5 \
        --mca oob_tcp_keepalive_probes 2 ${MPIRUN:-} "${SKY_TRAIN:-sky-train}" --threads "${SLURM_CPUS_PER_TASK:-1}" \
        --out "$out" --resume latest "$run" &
    local ranks=$!
    trap 'over=1; kill -USR1 $ranks' USR1
    wait $ranks
    status=$?
    while kill -0 $ranks 2>/dev/null; do # a wait that was interrupted by USR1
        wait $ranks
        status=$?
    done
    echo "ranks ended with status $status"
    if [ $over = 1 ] && [ $status = 0 ]; then
        scontrol requeue "$SLURM_JOB_ID"
    elif [ $status -ge 4 ] && [ "${SLURM_RESTART_COUNT:-0}" -lt "${RESTARTS:-3}" ]; then
        scontrol requeue "$SLURM_JOB_ID"
    fi
    return $status
}
