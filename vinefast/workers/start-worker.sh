# Run a worker with its files where nobody else can read them, or has put some: sh start-worker.sh vine_worker ARGUMENTS
#
# TaskVine's own place for them, /tmp/worker-UID-PID, can be read by others, and is taken as it is if somebody else has
# made it. This one is mktemp's, in the same directory, and is removed when the worker has ended, however that ends.
# Whoever ends this script by a signal ends the worker; the exit code is the worker's.

for parent in "$CCTOOLS_TEMP" "$_CONDOR_SCRATCH_DIR" "$TMPDIR" "$TEMP" "$TMP" /tmp; do
    [ -r "$parent" ] && [ -w "$parent" ] && [ -x "$parent" ] && break
done

worker='' ended='' status='' signalled=''
for signal in HUP INT QUIT TERM USR1 USR2; do
    # Each of them: a worker sleeps for seconds here and there, and each ends one such sleep.
    trap 'ended=1 signalled=1; [ -z "$worker" ] || kill -TERM "$worker" 2>/dev/null' "$signal"
done

workspace=$(mktemp -d "$parent/worker-XXXXXXXXXX") || exit 1
if [ -z "$ended" ]; then
    program=$1
    shift
    # The last of equal options wins: the user's.
    "$program" --workspace "$workspace" "$@" &
    worker=$!
    [ -z "$ended" ] || kill -TERM "$worker" 2>/dev/null
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
fi
trap '' HUP INT QUIT TERM USR1 USR2
# What calls have started may still write for a moment.
rm -rf "$workspace" 2>/dev/null || { sleep 1; rm -rf "$workspace"; }
exit "${status:-143}"
