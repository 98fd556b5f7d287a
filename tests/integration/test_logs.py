"""TaskVine's logs are bounded, its tools can read each file, and what is wrong under the run directory stops nobody."""

import importlib.machinery
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import types
from pathlib import Path

import pytest
from parsl.executors.taskvine import TaskVineFactoryConfig, TaskVineManagerConfig

from tests.helpers.prefixes import taskvine
from tests.helpers.processes import left_of
from tests.helpers.waiting import wait_until

pytestmark = pytest.mark.processes

LOG_NBYTES = 50_000
N_CALLS = 100

# Runs calls, each time that it is told to, and says what it has seen; or that it could not begin.
PROGRAM = """
import json, logging, os, sys
from parsl.executors.taskvine import TaskVineFactoryConfig, TaskVineManagerConfig
from vinefast import VineFastExecutor
from vinefast.errors import EngineStartError
logging.basicConfig(level=logging.WARNING, stream=sys.stderr)

def say(**facts):
    print(json.dumps(facts), flush=True)

executor = VineFastExecutor(
    manager_config=TaskVineManagerConfig(port=0, tune_parameters={"log-nbytes": int(sys.argv[2])}),
    factory_config=TaskVineFactoryConfig(min_workers=1, max_workers=1, cores=1, scratch_dir=sys.argv[3]),
)
executor.run_dir = sys.argv[1]
try:
    executor.start()
except EngineStartError as error:
    say(error=str(error))
    sys.exit(3)
say(started=True)
for line in sys.stdin:
    if line.startswith("fill"):
        with open(os.path.join(sys.argv[1], "filler"), "wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                pass
    elif line.startswith("empty"):
        os.unlink(os.path.join(sys.argv[1], "filler"))
    right = [executor.submit(pow, {}, 2, n).result(60) == 2**n for n in range(100)]
    stats = executor.stats()
    say(right=all(right), **{name: n for name, n in stats.items() if name.startswith("log_")})
executor.shutdown()
"""


class Program:
    """The program, its run directory a file system of its own if it is to have so many bytes."""

    def __init__(self, directory, nbytes=None, log_nbytes=LOG_NBYTES, before="true", **variables):
        self.directory = directory / "run"
        self.directory.mkdir()
        scratch = directory / "scratch"
        scratch.mkdir()
        command = [sys.executable, "-c", PROGRAM, str(self.directory), str(log_nbytes), str(scratch)]
        if nbytes is not None:
            mount = f'mount -t tmpfs -o size={nbytes} tmpfs "$0" && cd "$0" && {before} && cd / && exec "$@"'
            command = ["unshare", "--mount", "sh", "-c", mount, str(self.directory), *command]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **variables},
        )
        self.start = self.hear()

    def hear(self):
        return json.loads(self.process.stdout.readline())

    def run_calls(self, what="go"):
        self.process.stdin.write(f"{what}\n")
        self.process.stdin.flush()
        return self.hear()

    def end(self):
        return self.process.communicate(timeout=60)[1]


@pytest.fixture
def start(mark, tmp_path):
    """Start programs; all are ended."""
    programs = []

    def start(**arguments):
        programs.append(Program(tmp_path, **arguments))
        return programs[-1]

    yield start
    for program in programs:
        program.process.kill()
        program.process.communicate()
    assert not left_of(mark)


@pytest.fixture(scope="module")
def may_mount(tmp_path_factory):
    """Skips the test where no file system can be mounted, and says why."""
    directory = tmp_path_factory.mktemp("mount")
    tried = subprocess.run(
        ["unshare", "--mount", "mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", directory],
        capture_output=True,
        text=True,
    )
    if tried.returncode:
        pytest.skip(f"a file system of its own needs root and namespaces: {tried.stderr.strip()}")


def logs_of(directory):
    """All of TaskVine's logs in a run directory, by their names."""
    return {path.name: path for path in Path(directory).glob("*/taskvine/*T*/vine-logs/*")}


def parsed(path):
    """What TaskVine's own tool makes of a file of transactions: its manager; it draws with what need not be here."""
    stand_in = types.ModuleType("stand_in")
    stand_in.NA = float("nan")
    names = ("matplotlib", "matplotlib.pyplot", "pandas")
    before = {name: sys.modules.get(name) for name in names}
    sys.modules.update(dict.fromkeys(names, stand_in))
    stand_in.pyplot = stand_in.ticker = stand_in
    try:
        tool = taskvine.find().prefix / "bin" / "vine_plot_txn_log"
        if wrapped := re.search(r"^exec +(\S+)", tool.read_text(), re.M):
            tool = Path(wrapped[1])
        loader = importlib.machinery.SourceFileLoader("vine_plot_txn_log", str(tool))
        module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
        sys.dont_write_bytecode, written = True, sys.dont_write_bytecode
        try:
            loader.exec_module(module)
        finally:
            sys.dont_write_bytecode = written
    finally:
        for name, former in before.items():
            if former is None:
                del sys.modules[name]
            else:
                sys.modules[name] = former
    module.Manager.make_tables = lambda self, expand_waiting: None
    (manager,) = module.ParseTxn(str(path)).managers.values()
    return manager


def test_logs_are_rotated_and_each_file_can_be_read_by_itself(make_executor, tmp_path):
    executor = make_executor(
        manager_config=TaskVineManagerConfig(port=0, tune_parameters={"log-nbytes": LOG_NBYTES}),
        factory_config=TaskVineFactoryConfig(min_workers=2, max_workers=2, cores=1),
    )
    assert wait_until(lambda: executor.stats()["workers_connected"] == 2, 60)
    for _ in range(3 * N_CALLS):
        executor.submit(pow, {}, 2, 3).result(60)
    executor.shutdown()
    logs = logs_of(tmp_path)
    assert {"transactions", "transactions.old", "performance", "performance.old"} <= logs.keys()
    assert all(path.stat().st_size < LOG_NBYTES + 10_000 for path in logs.values())
    assert executor.stats()["log_bytes_dropped"] > LOG_NBYTES
    for name in ("performance", "performance.old"):
        lines = logs[name].read_text().splitlines()
        assert lines[0].startswith("# timestamp workers_connected")
        n_fields = len(lines[0].split()) - 1
        assert all(len(line.split()) == n_fields for line in lines[1:])
    tasks = set()
    for name in ("transactions.old", "transactions"):
        text = logs[name].read_text()
        assert text.startswith("# time manager_pid MANAGER") and text.count("# time") == 16
        manager = parsed(logs[name])
        assert len(manager.worker_lifetime) == 2
        done = {number for number, tries in manager.tasks_attempts.items() if any("DONE" in t for t in tries.values())}
        tasks |= done
    assert len(tasks) > 20


@pytest.mark.parametrize("debug", ["0", "1"])
def test_a_full_disk_is_one_warning_and_calls_go_on(may_mount, start, debug):
    program = start(nbytes="1M", log_nbytes=0, VINEFAST_DEBUG=debug)
    assert program.run_calls() == {"right": True, "log_bytes_dropped": 0, "log_bytes_unwritten": 0, "log_errno": 0}
    full = program.run_calls("fill")
    assert full["right"] and full["log_errno"] and full["log_bytes_unwritten"] > 0
    more = program.run_calls()
    assert more["right"] and more["log_bytes_unwritten"] > full["log_bytes_unwritten"]
    assert program.run_calls("empty")["right"]
    words = program.end()
    assert program.process.returncode == 0
    assert words.count("cannot be written") == 1
    directory = program.directory / "VineFastExecutor" / "taskvine"
    assert f"cannot be written in {directory}: No space left on device. Calls go on" in words


@pytest.mark.parametrize("debug", ["0", "1"])
@pytest.mark.parametrize("limits", ["1M,nr_inodes=5", "1M,nr_inodes=9", "4k", "12k"], ids=lambda limits: limits)
def test_a_disk_that_is_full_at_the_start_is_an_error_with_directory_and_reason(may_mount, start, limits, debug):
    program = start(nbytes=limits, VINEFAST_DEBUG=debug)
    words = program.end()
    assert program.process.returncode == 3
    assert str(program.directory) in program.start["error"] and "No space left on device" in program.start["error"]
    assert "Traceback" not in words


def test_a_disk_with_room_for_names_alone_is_an_error_with_directory_and_reason(may_mount, start):
    program = start(nbytes="64k", before="{ dd if=/dev/zero of=filler bs=1k 2>/dev/null; true; }")
    program.end()
    assert program.process.returncode == 3
    assert str(program.directory) in program.start["error"] and "No space left on device" in program.start["error"]


def test_without_its_run_directory_a_program_goes_on(start):
    program = start(log_nbytes=10_000, VINEFAST_DEBUG="1")
    assert program.run_calls()["right"]
    shutil.rmtree(program.directory)
    gone = program.run_calls()
    assert gone["right"] and gone["log_bytes_unwritten"] == 0
    assert wait_until(lambda: program.run_calls()["log_errno"], 60)
    words = program.end()
    assert program.process.returncode == 0
    assert words.count("cannot be written") == 1 and "No such file or directory" in words


# Gets an output from a worker that does not share its files, with no room for it.
FETCHING = """
import os, subprocess, sys
from parsl import File
from parsl.executors.taskvine import TaskVineFactoryConfig
from vinefast import VineFastExecutor

def write(outputs=()):
    open(outputs[0].filepath, "w").write(100_000 * "y")

os.chdir(sys.argv[1])
with VineFastExecutor(worker_launch_method="manual", factory_config=TaskVineFactoryConfig(cores=1)) as executor:
    scratch = {**os.environ, "TMPDIR": sys.argv[2]}
    worker = subprocess.Popen("exec " + executor.worker_command, shell=True, env=scratch, stdout=2)
    assert executor.submit(pow, {}, 2, 3).result(60) == 8
    with open("filler", "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
    error = executor.submit(write, {}, outputs=[File("out.txt")]).exception(120)
    assert error is not None and not os.path.exists("out.txt")
    assert executor.submit(pow, {}, 2, 3).result(60) == 8
worker.terminate()
worker.wait(60)
print("over")
"""


def test_an_output_that_finds_no_room_fails_its_call_and_the_program_goes_on(may_mount, mark, tmp_path):
    mount = 'mount -t tmpfs -o size=1M tmpfs "$0" && exec "$@"'
    directory, scratch = tmp_path / "run", tmp_path / "scratch"
    directory.mkdir()
    scratch.mkdir()
    command = [sys.executable, "-c", FETCHING, str(directory), str(scratch)]
    run = subprocess.run(
        ["unshare", "--mount", "sh", "-c", mount, str(directory), *command], capture_output=True, text=True, timeout=200
    )
    assert run.stdout == "over\n" and run.returncode == 0, run.stderr
    assert not left_of(mark)
