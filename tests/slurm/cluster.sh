#!/usr/bin/env bash
# A SLURM of two nodes, n1 and n2, on this one machine, for tests.
#
#   cluster.sh start [--install]   start it, or do nothing when it runs; --install fetches Debian's packages
#   cluster.sh during COMMAND...   start it with --install, run the command, stop it whatever happened
#   cluster.sh status              exit code 0 when it runs
#   cluster.sh stop                stop its daemons and remove its configuration
#
# Exit code 77: this machine cannot have it, for the reason that is printed. It has a munge key, a socket and ports
# of its own, and leaves alone every SLURM that it did not set up itself.
set -euo pipefail

readonly STATE=/run/slideunet-slurm
# Snakemake's plugin clears SLURM_CONF inside jobs, so it has to be the place where SLURM looks by itself.
readonly CONF=/etc/slurm/slurm.conf
readonly MARK="# Written by tests/slurm/cluster.sh of slideunet, removed by its stop."
readonly PACKAGES=(slurmctld slurmd slurm-client munge)
readonly NODES=(n1 n2)
readonly PATIENCE=60

cannot() {
    echo "cluster.sh: $*" >&2
    exit 77
}

is_ours() { [[ -f $CONF && $(head -n 1 "$CONF") == "$MARK" ]]; }

ping_controller() { scontrol ping 2>/dev/null | grep -q "is UP"; }

check_machine() {
    [[ $(id -u) == 0 ]] || cannot "starting SLURM needs root; nothing was started."
    [[ ! -e $CONF ]] || is_ours || cannot "$CONF belongs to another SLURM; nothing was touched."
    ! have_commands || return 0
    [[ ${1:-} == --install ]] || cannot "the packages ${PACKAGES[*]} are missing; run it with --install to fetch them."
    command -v apt-get >/dev/null || cannot "the packages ${PACKAGES[*]} are missing and there is no apt-get."
    install_packages || cannot "the packages ${PACKAGES[*]} could not be installed, see above."
}

have_commands() {
    local command
    for command in slurmctld slurmd sbatch munged mungekey; do
        command -v "$command" >/dev/null || return 1
    done
}

install_packages() {
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq && apt-get install -qq -y --no-install-recommends "${PACKAGES[@]}" >/dev/null
}

write_configuration() {
    local host
    host=$(hostname -s)
    mkdir -p "$(dirname "$CONF")"
    # Both nodes declare more than half of this machine: nothing here enforces it, and the jobs of a test are small.
    # LLN: jobs go to the emptier node, so that both are used.
    cat >"$CONF" <<END
$MARK
ClusterName=slideunet
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=16817
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$STATE/munge.socket
StateSaveLocation=$STATE/controller
SlurmdSpoolDir=$STATE/%n
SlurmctldPidFile=$STATE/slurmctld.pid
SlurmdPidFile=$STATE/%n.pid
SlurmctldLogFile=$STATE/slurmctld.log
SlurmdLogFile=$STATE/%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
MpiDefault=none
SchedulerParameters=batch_sched_delay=0
MinJobAge=3600
KillWait=5
ReturnToService=2
NodeName=n[1-2] NodeHostname=$host NodeAddr=127.0.0.1 Port=[16821-16822] CPUs=4 RealMemory=32000
PartitionName=main Nodes=n[1-2] Default=YES MaxTime=INFINITE State=UP LLN=YES
END
}

start() {
    check_machine "${1:-}"
    if is_ours && ping_controller; then
        echo "SLURM runs already on ${NODES[*]}."
        return
    fi
    # What a crash left over.
    halt
    write_configuration
    mkdir -p -m 755 "$STATE" "$STATE/controller"
    mkdir -p -m 700 "$STATE/key"
    mungekey --create --force --keyfile="$STATE/key/munge.key"
    munged --key-file="$STATE/key/munge.key" --socket="$STATE/munge.socket" --pid-file="$STATE/munged.pid" \
        --log-file="$STATE/munged.log" --seed-file="$STATE/munged.seed"
    slurmctld -c
    local node
    for node in "${NODES[@]}"; do slurmd -N "$node"; done
    wait_for_nodes
}

wait_for_nodes() {
    local end=$((SECONDS + PATIENCE))
    until [[ $(sinfo -h -N -t idle -o %N 2>/dev/null | wc -l) == "${#NODES[@]}" ]]; do
        if ((SECONDS > end)); then
            tail -n 20 "$STATE"/*.log >&2
            echo "cluster.sh: the nodes ${NODES[*]} did not come up within $PATIENCE s; their logs are above." >&2
            halt
            exit 1
        fi
        sleep 0.2
    done
    echo "SLURM runs on ${NODES[*]}."
}

halt() {
    if is_ours && ping_controller; then cancel_jobs || true; fi
    local name
    # The nodes first, so that they can still tell the controller; munged last, because all of them need it.
    for name in "${NODES[@]}" slurmctld munged; do end_daemon "$STATE/$name.pid" "$name"; done
    if is_ours; then rm -f "$CONF"; fi
    rm -rf "$STATE"
}

cancel_jobs() {
    local end=$((SECONDS + 20))
    scancel --quiet --user="$(id -un)"
    while ((SECONDS < end)) && [[ -n $(squeue -h -t RUNNING,COMPLETING) ]]; do sleep 0.2; done
}

end_daemon() {
    [[ -s $1 ]] || return 0
    local pid end=$((SECONDS + 20))
    pid=$(<"$1")
    while is_alive "$pid" "$2"; do
        if ((SECONDS < end)); then kill "$pid"; else kill -9 "$pid"; fi 2>/dev/null || true
        sleep 0.2
    done
}

is_alive() {
    # By its command line: the number may have gone to another process since, and a zombie has none.
    local command=$2
    [[ $command != n[0-9] ]] || command="slurmd.*-N.*$command"
    tr '\0' ' ' <"/proc/$1/cmdline" 2>/dev/null | grep -qE "(^|/)$command"
}

case ${1:-} in
start) start "${2:-}" ;;
during)
    shift
    # What runs already belongs to whoever started it.
    if ! { is_ours && ping_controller; }; then
        trap halt EXIT
        start --install
    fi
    "$@"
    ;;
status) is_ours && ping_controller && sinfo -N -l ;;
stop)
    [[ $(id -u) == 0 ]] || cannot "stopping SLURM needs root."
    halt
    ;;
*)
    sed -n '2,12s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
