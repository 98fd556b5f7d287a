"""Real executors with real workers, and a check that they leave nothing behind."""

import collections
import functools
import glob
import http.server
import logging
import os
import subprocess
import threading
import time
import uuid
from contextlib import ExitStack, contextmanager
from multiprocessing import resource_tracker
from pathlib import Path

import parsl
import pytest
from parsl.executors.taskvine import TaskVineManagerConfig

from tests.helpers.processes import (
    MARK,
    command_by_hand,
    end_by_hand,
    left_of,
    processes_marked,
    start_by_hand,
    workers_of,
)
from tests.helpers.waiting import wait_for_file, wait_until
from tests.integration.hosts import Cluster
from vinefast import VineFastExecutor
from vinefast.data import archives
from vinefast.events import audit_wanted, own_audit
from vinefast.events.audit_log import audit_log

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True, scope="session")
def archives_have_a_place():
    """The process that sees to archives of directories lives as long as this one: it is no test's."""
    archives._directory()


class Errors(logging.Handler):
    """What is logged as an error."""

    def __init__(self):
        super().__init__(logging.ERROR)
        self.messages = []

    def emit(self, record):
        self.messages.append(record.getMessage())


@pytest.fixture(autouse=True)
def audited(request):
    """With VINEFAST_AUDIT=1 in the environment, each executor audits itself, and what is left of others is looked at.

    A test that breaks a rule on purpose has the mark `breaks_rules`.
    """
    if not audit_wanted.is_wanted() or request.node.get_closest_marker("breaks_rules"):
        yield
        return
    errors = Errors()
    own_audit.logger.addHandler(errors)
    directory = request.getfixturevalue("tmp_path")
    yield
    own_audit.logger.removeHandler(errors)
    breaches = list(errors.messages)
    # Programs of their own, also those that were killed.
    for path in glob.glob(f"{glob.escape(str(directory))}/**/events", recursive=True):
        if os.path.isfile(path):
            breaches += [f"{path}: {breach}" for breach in audit_log(path).breaches]
    assert not breaches


@pytest.fixture(scope="session", autouse=True)
def importable():
    """Functions of a test module reach a worker by reference, so it must be able to import the module."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), before]))
    yield
    if before is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = before


@contextmanager
def marked():
    """A mark in the environment, which every process that is started meanwhile inherits."""
    resource_tracker.ensure_running()  # Parsl's monitoring uses it; it ends with this process
    before = os.environ.get(MARK)
    value = uuid.uuid4().hex
    os.environ[MARK] = value
    try:
        yield value
    finally:
        if before is None:
            del os.environ[MARK]
        else:
            os.environ[MARK] = before


@pytest.fixture(scope="module")
def mark():
    """The mark of what a module's tests start, but for the executor that they share."""
    with marked() as value:
        yield value
    # What was killed with its group a moment ago may still be giving its memory back.
    left = left_of(value)
    for process in processes_marked(value):
        process.kill()
    assert not left


@pytest.fixture
def make_executor(mark, tmp_path):
    """Start executors; all are shut down in the end."""
    executors = []

    def make(start=True, **arguments):
        executor = VineFastExecutor(**{"label": f"vinefast{len(executors)}", **arguments})
        executor.run_dir = str(tmp_path)
        executors.append(executor)
        if start:
            executor.start()
        return executor

    yield make
    with ExitStack() as ends:  # all of them, whatever one raises
        for executor in reversed(executors):
            ends.callback(executor.shutdown)
    assert not left_of(mark)


@pytest.fixture
def by_hand(make_executor, tmp_path):
    """Start workers with an executor's command, as a user would; they are ended before the executors."""
    workers = []

    def start(executor, *options, directory=tmp_path, **variables):
        n_before = executor.stats()["workers_joined"]
        workers.append(start_by_hand(command_by_hand(executor, *options), directory, **variables))
        # Two that look for a port of their own at the same moment may find the same, and one ends.
        assert wait_until(lambda: executor.stats()["workers_joined"] > n_before, 30)
        return workers[-1]

    yield start
    assert end_by_hand(*workers)


@pytest.fixture
def make_hosts(make_executor, tmp_path):
    """Make "hosts" with a network; they end, with all that runs there, before the executors."""
    clusters = []

    def make(n):
        clusters.append(Cluster(n, tmp_path))
        return clusters[-1]

    yield make
    for cluster in clusters:
        cluster.close()


@pytest.fixture
def mount_disk(tmp_path):
    """Make a directory on a disk with so many bytes of room."""
    mounted = []

    def mount(nbytes):
        directory = tmp_path / f"disk{len(mounted)}"
        directory.mkdir()
        try:
            command = ["mount", "-t", "tmpfs", "-o", f"size={nbytes}", "vinefast-test", str(directory)]
            subprocess.run(command, check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"no tmpfs can be mounted here: {getattr(error, 'stderr', error)}")
        mounted.append(directory)
        return directory

    yield mount
    for directory in mounted:
        # Lazily, for a worker that is being killed may still have files there.
        subprocess.run(["umount", "--lazy", directory], check=True)


@pytest.fixture
def server(tmp_path):
    """A web server: its address, how often each path was asked for, and a directory of what it serves."""
    asked = collections.Counter()
    served = tmp_path / "served"
    served.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self):
            asked[self.path] += 1
            if self.path == "/slow":
                time.sleep(0.5)  # so that others ask meanwhile
            if self.path == "/late":
                wait_for_file(served / "late")
            if self.path == "/500":
                self.send_error(500)
            else:
                super().do_GET()

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(served)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked, served
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def scheduler(tmp_path, monkeypatch):
    """Commands of batch systems that are not here: they note how they are called and run the job at once."""
    directory = tmp_path / "bin"
    directory.mkdir()
    monkeypatch.setenv("PATH", str(directory), prepend=os.pathsep)

    def make(command, script):
        program = directory / command
        program.write_text(f'#!/bin/sh\necho "$@" "$BATCH_JOB_COMMAND" >> {tmp_path}/{command}.log\n{script}\n')
        program.chmod(0o755)
        return tmp_path / f"{command}.log"

    return make


@pytest.fixture
def slurm(scheduler):
    """What its commands note; like the real one, it leaves nothing of a job behind."""
    run = "SLURM_JOB_ID=$$ setsid sh -c '$0; kill 0' $job > /dev/null 2>&1 &"
    submitted = scheduler("sbatch", f"for job; do :; done\n{run}\necho Submitted batch job $!")
    return submitted, scheduler("scancel", 'kill -TERM -- -"$1"')


@pytest.fixture(scope="module")
def executor(tmp_path_factory):
    """One executor without any argument, for all tests of a module that do not harm it."""
    executor = VineFastExecutor()
    executor.run_dir = str(tmp_path_factory.mktemp("run"))
    # It outlives tests that look for what they have left behind.
    with marked() as value:
        executor.start()
    yield executor
    executor.shutdown()
    assert not left_of(value)


@pytest.fixture
def load(mark, tmp_path):
    """Load Parsl with one executor, made with the arguments given; `options` are further ones for `parsl.Config`."""
    loaded = []

    def load(options=None, **arguments):
        executor = VineFastExecutor(**arguments)
        config = {"run_dir": str(tmp_path / "runinfo"), "usage_tracking": 0, **(options or {})}
        loaded.append(parsl.load(parsl.Config(executors=[executor], **config)))
        return executor

    yield load
    for dfk in loaded:
        if not dfk.cleanup_called:
            dfk.cleanup()
        parsl.clear()
    assert not left_of(mark)


@pytest.fixture
def make_cluster(make_hosts, make_executor, tmp_path):
    """An executor and a worker with one core on each of n hosts."""

    def make(n, **fields):
        cluster = make_hosts(n)
        password = tmp_path / "password"
        password.write_text("hosts\n")
        config = TaskVineManagerConfig(
            port=0, address=cluster.manager_address, project_password_file=str(password), **fields
        )
        executor = make_executor(worker_launch_method="manual", manager_config=config)
        for i in range(n):
            cluster.start_worker(i, executor, "--cores", "1")
        assert wait_until(lambda: executor.stats()["workers_connected"] == n)
        assert wait_until(lambda: workers_of(executor, n) == set(cluster.names), 60)
        return cluster, executor

    return make
