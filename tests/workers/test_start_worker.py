"""start-worker.sh, by each shell that is here: a worker's files are its own, and are gone when it has ended."""

import os
import shutil
import signal
import stat
import subprocess
import time

import pytest

from tests.helpers.processes import descendants
from tests.helpers.waiting import wait_for_file, wait_until
from vinefast.workers.programs import START_SCRIPT

pytestmark = pytest.mark.processes

SHELLS = [[path] for path in (shutil.which("dash"), shutil.which("bash")) if path]
SHELLS += [[path, "sh"] for path in (shutil.which("busybox"),) if path]


@pytest.fixture(params=SHELLS, ids=lambda shell: os.path.basename(shell[0]))
def start(request, tmp_path):
    """Start a worker, which is the script given; its temporary files are in tmp_path/tmp."""
    started = []
    (tmp_path / "tmp").mkdir()

    def start(script, *arguments, **variables):
        worker = tmp_path / "worker"
        worker.write_text(f'#!/bin/sh\nsaid={tmp_path}/said\n[ "$1" = --workspace ] || exit 99\n{script}\n')
        worker.chmod(0o755)
        environment = {"PATH": os.environ["PATH"], "TMPDIR": str(tmp_path / "tmp"), **variables}
        command = [*request.param, START_SCRIPT, str(worker), *arguments]
        started.append(subprocess.Popen(command, env=environment, start_new_session=True, preexec_fn=heed_hangups))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def heed_hangups():
    """What nohup has taken from the tests: a shell cannot trap a signal that was ignored before."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def said(tmp_path):
    wait_for_file(tmp_path / "said")
    return (tmp_path / "said").read_text().splitlines()


def arguments_of(start, tmp_path, *arguments, **variables):
    """What a worker is given, but for its directory."""
    assert start('shift 2; echo "$@" > $said.; mv $said. $said', *arguments, **variables).wait(20) == 0
    given = said(tmp_path)[0].split()
    (tmp_path / "said").unlink()
    return given


def test_a_worker_takes_no_more_cores_than_were_given_to_it(start, tmp_path):
    if len(os.sched_getaffinity(0)) < max(2, os.cpu_count()):
        pytest.skip("this machine has one core, or these tests may not use all: a worker cannot be given fewer")
    assert arguments_of(start, tmp_path, "x") == ["x"]
    for name in ("SLURM_CPUS_ON_NODE", "NSLOTS", "PARSL_CORES", "CORES"):
        assert arguments_of(start, tmp_path, "x", **{name: "1"}) == ["--cores", "1", "x"]
        assert arguments_of(start, tmp_path, "x", **{name: "some"}) == ["x"]
    # As many as there are, or more, change nothing, and neither does what is for the threads of calls.
    variables = {"SLURM_CPUS_ON_NODE": "9999", "CORES": "0", "OMP_NUM_THREADS": "1"}
    assert arguments_of(start, tmp_path, "x", **variables) == ["x"]

    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        # The user's word is the last one.
        assert arguments_of(start, tmp_path, "--cores", "2") == ["--cores", "1", "--cores", "2"]
    finally:
        os.sched_setaffinity(0, before)


def test_a_directory_of_its_own_that_is_removed(start, tmp_path):
    script = 'umask 0; mkdir -p "$2/cache/x"; stat -c "%a" "$2" > $said.; echo "$@" >> $said.; mv $said. $said; exit 7'
    assert start(script, "--cores", "2", "a  b").wait(20) == 7
    mode, arguments = said(tmp_path)
    assert mode == "700"
    place = arguments.split()[1]
    assert os.path.dirname(place) == str(tmp_path / "tmp") and arguments == f"--workspace {place} --cores 2 a  b"
    assert not list((tmp_path / "tmp").iterdir())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_signals_end_the_worker_which_may_take_several(start, tmp_path, number):
    script = 'n=0; trap "n=\\$((n + 1))" TERM; touch $said; while [ $n -lt 2 ]; do sleep 0.05; done; exit 3'
    process = start(script)
    wait_for_file(tmp_path / "said")
    assert list((tmp_path / "tmp").iterdir())

    def ended():
        process.send_signal(number)
        time.sleep(0.1)
        return process.poll() is not None

    assert wait_until(ended, 20)
    assert process.returncode == 3
    assert not list((tmp_path / "tmp").iterdir())


def test_a_worker_that_heeds_no_signal_is_killed_in_the_end(start, tmp_path):
    """The whole group gets the signal, as batch systems send it."""
    process = start("trap '' TERM; touch $said; while :; do sleep 0.05; done", VINEFAST_WORKER_GRACE_S="0.5")
    wait_for_file(tmp_path / "said")
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait(20) == 128 + signal.SIGKILL
    assert not list((tmp_path / "tmp").iterdir())
    assert wait_until(lambda: not descendants(process.pid))


def test_nobody_waits_for_a_worker_that_has_ended(start, tmp_path):
    process = start("trap 'exit 3' TERM; touch $said; while :; do sleep 0.05; done")
    wait_for_file(tmp_path / "said")
    os.killpg(process.pid, signal.SIGTERM)
    # Not killed after 20 s. bash may have lost how it has ended, and takes it for one that was ended by the signal.
    start_s = time.monotonic()
    assert process.wait(60) in (3, 128 + signal.SIGTERM)
    assert time.monotonic() - start_s < 15
    assert wait_until(lambda: not descendants(process.pid))


def test_a_worker_that_was_killed_leaves_nothing(start, tmp_path):
    assert start('touch "$2/cache"; kill -9 $$').wait(20) == 128 + signal.SIGKILL
    assert not list((tmp_path / "tmp").iterdir())


def test_a_program_that_is_not_there_leaves_nothing(start, tmp_path):
    process = start("true")
    process.wait(20)
    (tmp_path / "worker").unlink()
    environment = {"PATH": os.environ["PATH"], "TMPDIR": str(tmp_path / "tmp")}
    done = subprocess.run(process.args, env=environment, stderr=subprocess.DEVNULL, timeout=20)
    assert done.returncode == 127
    assert not list((tmp_path / "tmp").iterdir())


def test_the_directory_is_where_taskvine_would_make_its_own(start, tmp_path):
    places = {}
    for name in ("TMP", "TEMP", "TMPDIR", "_CONDOR_SCRATCH_DIR", "CCTOOLS_TEMP"):  # from the last on
        places[name] = str(tmp_path / f"of{name}")
        os.mkdir(places[name])
        variables = {"TMPDIR": "", **places}
        assert start('echo "$2" > $said', **variables).wait(20) == 0
        assert os.path.dirname(said(tmp_path)[0]) == places[name]
    # What cannot be used is passed over.
    assert start('echo "$2" > $said', CCTOOLS_TEMP="/no/such/place", TMPDIR=places["TMPDIR"]).wait(20) == 0
    assert os.path.dirname(said(tmp_path)[0]) == places["TMPDIR"]


def test_what_somebody_else_has_made_is_not_taken(start, tmp_path):
    """TaskVine's worker takes worker-UID-PID if it is there, whoever made it."""
    place = tmp_path / "tmp"
    for pid in range(os.getpid(), os.getpid() + 200):
        (place / f"worker-{os.getuid()}-{pid}").mkdir(mode=0o777)
    before = set(place.iterdir())
    assert start('echo "$2" > $said').wait(20) == 0
    assert said(tmp_path)[0] not in {str(path) for path in before}
    assert set(place.iterdir()) == before


def test_the_script_is_for_everybody_to_read():
    assert stat.S_IMODE(os.stat(START_SCRIPT).st_mode) & 0o444 == 0o444
