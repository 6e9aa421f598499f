#!/usr/bin/env bash
# Ranks over MPI on two hosts: network namespaces with an address each, joined by a pair of virtual interfaces. mpirun
# starts its daemon on the other one through a command in ssh's place. SKY_LONG=1: the link between them goes down.
. "$(dirname "$0")/t.sh"
shown=("$T/out")
ring=$B/tests/comm_ring
id=$$
clean() {
    ip netns del sky1-$id 2>/dev/null
    ip netns del sky2-$id 2>/dev/null
    rm -rf "$T"
}
trap clean EXIT
ldd "$ring" | grep -q libmpi || skip_all "MPI is not built in"
command -v mpirun >/dev/null || skip_all "no mpirun here"
command -v ip >/dev/null || skip_all "no ip here"
ip netns add sky1-$id 2>/dev/null && ip netns add sky2-$id && ip netns exec sky1-$id unshare --uts true 2>/dev/null ||
    skip_all "network namespaces are not permitted here"
ip link add sky-veth netns sky1-$id type veth peer name sky-veth netns sky2-$id || skip_all "virtual interfaces are not permitted here"
for h in 1 2; do
    ip -n sky$h-$id addr add 10.77.0.$h/24 dev sky-veth
    ip -n sky$h-$id link set lo up
    ip -n sky$h-$id link set sky-veth up
done
cd "$T" || exit 1
cat >on <<SH
#!/bin/sh
# on ADDRESS COMMAND...
ns=sky\${1##*.}-$id
shift
exec ip netns exec \$ns unshare --uts sh -c 'hostname "\$0"; exec sh -c "\$1"' \$ns "\$*"
SH
chmod +x on
# Daemons that hear nothing for 5 s ask, and after two questions without an answer end the job.
ranks() { # seconds, arguments of comm_ring...: 2 ranks on each host
    local limit=$1 from=$SECONDS
    shift
    # MPI's own memory is not ours to free.
    ASAN_OPTIONS="${ASAN_OPTIONS:-}:detect_leaks=0" timeout -k 5 "$limit" ./on 10.77.0.1 \
        mpirun --allow-run-as-root --oversubscribe -x ASAN_OPTIONS --mca plm_rsh_agent "$T/on" \
        --mca oob_tcp_keepalive_time 5 --mca oob_tcp_keepalive_intvl 5 --mca oob_tcp_keepalive_probes 2 \
        --host 10.77.0.1:2,10.77.0.2:2 "$ring" "$@" >out 2>&1
    status=$?
    took=$((SECONDS - from))
}

ranks 120 check
[ $status = 0 ] && grep -q '^4 ranks, 2 on this host, MPI$' out && [ "$(grep -c '^ok' out)" = 14 ] && ! grep -q '^not ok' out
ok $? "2 ranks on each of 2 hosts: sums to the bit, parts, broadcast, buckets"

dies() { # HOW RANK STEP PATTERN
    rm -f state
    ranks 40 train state 1000 20 "$2" "$1" "$3"
    [ $status != 0 ] && [ $status != 124 ] && [ $took -le 30 ] && grep -qE -- "$4" out && grep -q "^$3 " state
    ok $? "rank $2 ends by $1 in step $3: status $status after $took s"
}
dies kill 3 5 'process rank 3 with PID [0-9]+ on node 10.77.0.2 exited on signal 9 \(Killed\)'
dies abort 2 4 "^comm_ring: rank 2 of 4 on sky2-$id: the loss is not finite\$"
[ -n "${SKY_LONG:-}" ] || end

rm -f state
{
    for _ in $(seq 100); do [ -s state ] && break; sleep 0.1; done
    ip -n sky2-$id link set sky-veth down
} &
ranks 50 train state 100000 20
wait
[ $status != 0 ] && [ $status != 124 ] && [ $took -le 40 ] && grep -q 'lost communication with a remote daemon' out && grep -q '10.77.0.2' out && [ -s state ]
ok $? "the link goes down: status $status after $took s"
end
