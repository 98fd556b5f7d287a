# Run a worker with its files where nobody else can read them, or has put some: sh start-worker.sh vine_worker ARGUMENTS
#
# TaskVine's own place for them, /tmp/worker-UID-PID, can be read by others, and is taken as it is if somebody else has
# made it. This one is mktemp's, in the same directory, and is removed when the worker has ended, however that ends.
# Whoever ends this script by a signal ends the worker; the exit code is the worker's.

for parent in "$CCTOOLS_TEMP" "$_CONDOR_SCRATCH_DIR" "$TMPDIR" "$TEMP" "$TMP" /tmp; do
    [ -r "$parent" ] && [ -w "$parent" ] && [ -x "$parent" ] && break
done

worker='' ended='' status='' signalled='' watcher=''

# A worker that waits for its manager's half of the password heeds no signal for a quarter of an hour (TaskVine 7.14.5):
# a manager that is suspended is enough. So it is killed after a while, in which any other one has ended, and which is
# shorter than what batch systems give us. The signals of a whole process group do not end who waits for that.
watch() {
    [ -z "$watcher" ] || return
    (
        trap '' HUP INT QUIT TERM USR1 USR2
        sleep "${VINEFAST_WORKER_GRACE_S:-20}" &
        sleeper=$!
        trap 'kill -KILL "$sleeper" 2>/dev/null; exit' ALRM
        # If a signal comes as the worker ends, bash (5.2) loses how it has ended, and waits until any other child ends.
        while kill -0 "$worker" 2>/dev/null; do
            kill -0 "$sleeper" 2>/dev/null || kill -KILL "$worker" 2>/dev/null
            sleep 0.2
        done
        kill -KILL "$sleeper" 2>/dev/null
    ) &
    watcher=$!
}

end_worker() {
    ended=1 signalled=1
    [ -n "$worker" ] || return
    kill -TERM "$worker" 2>/dev/null
    watch
}

for signal in HUP INT QUIT TERM USR1 USR2; do
    # Each of them: a worker sleeps for seconds here and there, and each ends one such sleep.
    trap end_worker "$signal"
done

# A worker takes all cores that its machine has, also those that a batch system has given to others. Unlike `nproc` alone,
# which knows what a process may run on, these variables also say what Slurm, Grid Engine and Parsl's providers have
# asked for where nobody is kept to it; CORES is TaskVine's own.
cores_here=$(getconf _NPROCESSORS_ONLN 2>/dev/null || nproc --all)
cores=$(env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc 2>/dev/null || echo "$cores_here")
for given in "$SLURM_CPUS_ON_NODE" "$NSLOTS" "$PARSL_CORES" "$CORES"; do
    [ "$given" -ge 1 ] 2>/dev/null && [ "$given" -lt "$cores" ] && cores=$given
done

workspace=$(mktemp -d "$parent/worker-XXXXXXXXXX") || exit 1
if [ -z "$ended" ]; then
    program=$1
    shift
    [ "$cores" -ge "$cores_here" ] || set -- --cores "$cores" "$@"
    # The last of equal options wins: the user's. By its environment all is known that comes from this worker.
    VINEFAST_WORKSPACE=${workspace##*/} "$program" --workspace "$workspace" "$@" &
    worker=$!
    [ -z "$ended" ] || end_worker
    while :; do
        signalled=''
        wait "$worker"
        code=$?
        # The one before has told how it has ended.
        [ "$code" = 127 ] && [ -n "$status" ] && break
        status=$code
        # A signal ends the wait as well.
        [ -n "$signalled" ] || break
    done
    # bash may have heard of the signal only after it had lost how the worker ended.
    [ "$status" = 255 ] && [ -n "$ended" ] && status=143
fi
trap '' HUP INT QUIT TERM USR1 USR2
# A worker that was killed leaves its forks, which hold its connection to the manager open, as if it were still there.
# They are where the worker was; its calls are further below, and what else is there is not the worker's. One may just
# be forking another.
end_forks() {
    found=''
    for environment in $(grep -lFs "VINEFAST_WORKSPACE=${workspace##*/}" /proc/[0-9]*/environ); do
        process=${environment%/environ}
        [ "$process/cwd" -ef "$workspace" ] && kill -KILL "${process#/proc/}" 2>/dev/null && found=1
    done
    [ -n "$found" ]
}
if [ "${status:-0}" -gt 128 ]; then
    for round in 1 2 3 4 5 6 7 8 9; do
        end_forks || break
    done
fi
[ -z "$watcher" ] || kill -ALRM "$watcher" 2>/dev/null
# What calls have started may still write for a moment.
rm -rf "$workspace" 2>/dev/null || { sleep 1; rm -rf "$workspace"; }
exit "${status:-143}"
