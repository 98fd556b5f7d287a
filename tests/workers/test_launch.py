"""Launchers with real programs, against a listening socket or a real manager."""

import errno
import os
import resource
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tarfile
import tempfile
import time

import pytest
from parsl.executors.taskvine import TaskVineFactoryConfig
from parsl.launchers import SimpleLauncher, SingleNodeLauncher, SrunLauncher, WrappedLauncher
from parsl.providers import LocalProvider, SlurmProvider

from tests.helpers.processes import is_alive
from tests.helpers.waiting import wait_until
from vinefast._build_info import TASKVINE_VERSION
from vinefast._core import PROTOCOL
from vinefast.errors import EngineFailure
from vinefast.workers.contact import Contact
from vinefast.workers.environment import PYTHON
from vinefast.workers.launch import factory, make_launcher, process_launcher, processes
from vinefast.workers.launch.arguments import name_for_a_shell, word_for_a_shell
from vinefast.workers.launch.factory import FactoryLauncher
from vinefast.workers.launch.local import LocalLauncher
from vinefast.workers.launch.manual import ManualLauncher
from vinefast.workers.launch.processes import session_members
from vinefast.workers.launch.provider import ProviderLauncher
from vinefast.workers.programs import START_SCRIPT

pytestmark = pytest.mark.processes


@pytest.fixture
def manager():
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        yield server


@pytest.fixture
def archive(tmp_path):
    """What looks like an environment."""
    path = tmp_path / "environment.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for name in ("bin/python", f"lib/python{PYTHON}/os.py"):
            tar.addfile(tarfile.TarInfo(name))
    return str(path)


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    path = tmp_path / "tmp"
    path.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(path))
    return path


@pytest.fixture
def start(tmp_path, temporary, manager):
    """Start a launcher for the socket; it is stopped in the end and must leave nothing."""
    started = []
    password = tmp_path / "pass word"
    password.write_text("secret")
    directory = tmp_path / "logs of workers"
    directory.mkdir()

    def start(on_failure=lambda error: None, provider=None, method="factory", **fields):
        launcher = make_launcher(method, TaskVineFactoryConfig(**fields), str(directory), provider)
        started.append(launcher)
        port = manager.getsockname()[1]
        launcher.start(Contact("127.0.0.1", port, password_file=str(password)), on_failure)
        return launcher

    yield start
    for launcher in started:
        launcher.stop()
    assert not list(temporary.iterdir())


def worker_on(manager):
    """Accept the next worker's connection; answer the factory's questions before it."""
    while True:
        connection, _ = manager.accept()
        connection.settimeout(10)
        greeting = connection.recv(1000)
        if b"auth password" in greeting:
            return connection
        connection.close()


def processes_of(launcher):
    return [process for process in launcher._processes if process is not None]


def test_methods_have_their_launchers(tmp_path, archive):
    def kind(method="factory", provider=None, **fields):
        return type(make_launcher(method, TaskVineFactoryConfig(**fields), str(tmp_path), provider))

    assert kind() is LocalLauncher
    assert kind(min_workers=3, max_workers=3) is LocalLauncher
    assert kind(min_workers=1, max_workers=3) is FactoryLauncher
    assert kind(batch_type="slurm") is FactoryLauncher
    assert kind(python_env=archive) is FactoryLauncher
    assert kind("manual") is ManualLauncher
    assert kind("provider", LocalProvider()) is ProviderLauncher


def test_local_workers_come_and_go(start, manager):
    launcher = start(min_workers=2, max_workers=2)
    connections = [worker_on(manager), worker_on(manager)]
    pids = [process.pid for process in processes_of(launcher)]
    began = time.monotonic()
    launcher.stop()
    assert time.monotonic() - began < 3
    assert not any(is_alive(pid) for pid in pids)
    launcher.stop()
    for connection in connections:
        connection.close()


def test_a_worker_that_was_killed_is_replaced(start, manager, caplog):
    launcher = start()
    worker_on(manager).close()
    (process,) = processes_of(launcher)
    process.kill()
    worker_on(manager).close()
    assert f"vine_worker (pid {process.pid}) was killed by SIGKILL (often " in caplog.text
    assert processes_of(launcher) != [process]


def test_a_worker_is_replaced_once_there_are_descriptors_again(start, manager, caplog):
    failures, taken = [], []
    launcher = start(failures.append)
    worker_on(manager).close()
    (process,) = processes_of(launcher)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 300), hard))
    try:
        with pytest.raises(OSError):
            while True:
                taken.append(os.dup(0))
        process.kill()
        assert wait_until(lambda: "No vine_worker can be started" in caplog.text)
        time.sleep(3 * process_launcher._POLL_S)
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    worker_on(manager).close()
    assert not failures
    assert caplog.text.count("can be started") == 1


@pytest.mark.parametrize("lack", [errno.EAGAIN, errno.ENOMEM, errno.ENOSPC])
def test_a_worker_is_replaced_once_there_is_room_again(start, manager, monkeypatch, lack):
    failures, tried = [], []
    launcher = start(failures.append)
    worker_on(manager).close()
    (process,) = processes_of(launcher)

    def refuse(*args, **options):
        tried.append(args)
        raise OSError(lack, os.strerror(lack))

    with monkeypatch.context() as patched:
        patched.setattr(processes.subprocess, "Popen", refuse)
        process.kill()
        assert wait_until(lambda: len(tried) > 1)
    worker_on(manager).close()
    assert not failures


@pytest.mark.parametrize("workers", [{}, {"max_workers": 2}], ids=["local", "factory"])
def test_a_worker_is_replaced_without_the_run_directory(start, manager, tmp_path, caplog, workers):
    """Its log and the password's file are gone."""
    failures = []
    launcher = start(failures.append, **workers)
    worker_on(manager).close()
    shutil.rmtree(launcher.directory)
    (tmp_path / "pass word").unlink()
    (process,) = processes_of(launcher)
    process.kill()
    assert wait_until(lambda: failures or processes_of(launcher) not in ([], [process]))
    worker_on(manager).close()  # which knows the password
    assert not failures
    assert "is not kept" in caplog.text


def test_a_retired_launcher_replaces_no_worker(start, manager):
    launcher = start()
    worker_on(manager).close()
    launcher.retire()
    (process,) = processes_of(launcher)
    process.kill()
    time.sleep(3 * process_launcher._POLL_S)
    assert processes_of(launcher) == [process]


def test_workers_that_soon_end_by_signals_are_replaced_for_ever(start, manager, monkeypatch):
    monkeypatch.setattr(process_launcher, "_LONGEST_PAUSE_S", 0.0)
    failures = []
    launcher = start(failures.append)
    launcher._early_ends = [5000]  # as after half a day
    for _ in range(2):
        (process,) = processes_of(launcher)
        process.send_signal(signal.SIGSEGV)
        assert wait_until(lambda process=process: failures or processes_of(launcher) not in ([], [process]))
    assert not failures


def test_workers_that_cannot_run_are_given_up(start):
    failures = []
    launcher = start(failures.append, worker_options="--no-such-option")
    assert wait_until(lambda: failures)
    (failure,) = failures
    assert isinstance(failure, EngineFailure)
    assert "--no-such-option" in str(failure)
    assert "worker-0.log" in str(failure)
    launcher.stop()


def test_a_worker_that_hangs_is_killed_with_all_it_started(start, tmp_path):
    script = tmp_path / "vine_worker"
    script.write_text(
        f"#!/bin/sh\ntrap '' TERM\nset -m\nsleep 1000 & echo $! > {tmp_path}/pid\nwhile :; do wait; done\n"
    )
    script.chmod(0o755)
    launcher = start(worker_executable=str(script))
    assert wait_until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip())
    pids = [processes_of(launcher)[0].pid, int((tmp_path / "pid").read_text())]
    began = time.monotonic()
    launcher.stop()
    assert time.monotonic() - began < 4
    assert wait_until(lambda: not any(is_alive(pid) for pid in pids))


def test_the_factory_makes_workers_and_takes_them_along(start, manager):
    launcher = start(min_workers=1, max_workers=2, cores=1)
    worker_on(manager).close()
    (process,) = processes_of(launcher)
    members = session_members(process.pid)
    assert len(members) >= 3
    began = time.monotonic()
    launcher.stop()
    assert time.monotonic() - began < 3
    assert wait_until(lambda: not any(is_alive(pid) for pid in members))


def test_a_factory_that_cannot_run_is_given_up(start, archive, monkeypatch):
    failures = []
    monkeypatch.setattr(factory, "SCRIPT", "/no/such/script")
    start(failures.append, max_workers=2, python_env=archive)
    assert wait_until(lambda: failures)
    assert "factory.log" in str(failures[0])


def test_factory_fields_become_options(tmp_path, archive):
    def options(password_file=None, project_name=None, ssl=False, **fields):
        config = TaskVineFactoryConfig(**{"batch_type": "slurm", **fields})
        launcher = FactoryLauncher(config, str(tmp_path))
        arguments = launcher._arguments(Contact("head", 9123, project_name, password_file=password_file, ssl=ssl))
        return arguments

    def value(name, **fields):
        arguments = options(**fields)
        return arguments[arguments.index(name) + 1]

    assert options()[-2:] == ["head", "9123"]
    assert options(project_name="melting")[-2:] == ["-M", "melting"]
    assert "--catalog" not in options(project_name="melting")
    assert value("--catalog").startswith("127.0.0.1")
    assert value("--batch-type") == "slurm"
    assert value("--batch-type", batch_type="sge") == "uge"
    assert value("--min-workers", min_workers=2, max_workers=5) == "2"
    assert value("--max-workers", max_workers=5) == "5"
    assert value("--workers-per-cycle", workers_per_cycle=7) == "7"
    assert value("--timeout", worker_timeout=60) == "60"
    assert value("--factory-timeout", factory_timeout=61) == "61"
    assert value("--extra-options", worker_options="--wall-time 5") == "--wall-time 5"
    assert value("--password", password_file="/secret") == "password"
    assert f"--wrapper-input={archive}" in options(python_env=archive)
    assert value("--condor-requirements", batch_type="condor", condor_requirements="(x)") == "(x)"
    assert value("--batch-options", batch_options="-q short") == "-q short"
    for name in ("cores", "gpus", "memory", "disk"):
        assert value(f"--{name}", **{name: 3}) == "3"
        assert f"--{name}" not in options()
    start_script = [option for option in options() if option.startswith("--wrapper")]
    assert start_script == [f"--wrapper-input={START_SCRIPT}", "--wrapper=sh start-worker.sh"]
    # Each is put before the one that was given before it: what unpacks the environment comes first.
    wrappers = [option for option in options(python_env=archive) if option.startswith("--wrapper=")]
    assert wrappers[0] == start_script[1] and "environment.sh" in wrappers[1]
    # All of it is in a directory that is ours alone.
    assert not any(option.startswith("--wrapper") for option in options(batch_type="local", max_workers=2))
    assert ("--ssl" in options(ssl=True), "--ssl" in options()) == (True, False)
    assert not {"--password", "--condor-requirements", "--batch-options"} & set(options())


def test_fields_become_a_workers_options(start):
    launcher = start(
        method="manual",
        worker_executable="my_worker",
        worker_options="--wall-time '5'",
        cores=1,
        memory=2,
        disk=3,
        gpus=4,
    )
    command = shlex.split(launcher.worker_command)
    assert command[0] == "my_worker"
    assert command[1] == "--workspace" and "mktemp -d" in command[2]
    assert command[3] == "--password" and command[5] == "--connect-timeout=60"
    assert command[6:14] == ["--cores", "1", "--gpus", "4", "--memory", "2", "--disk", "3"]
    assert command[14:17] == ["--wall-time", "5", "127.0.0.1"]


def test_manual_starts_nothing_but_says_how(start):
    launcher = start(method="manual")
    assert f"vinefast worker '{launcher.directory}'" in launcher.diagnosis()
    assert launcher.worker_command in launcher.diagnosis()
    assert not launcher.local


@pytest.mark.parametrize("wrap", [SimpleLauncher(), SingleNodeLauncher(), WrappedLauncher("nice")])
def test_a_providers_command_starts_a_worker(start, manager, tmp_path, monkeypatch, wrap):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    launcher = start(method="provider", provider=LocalProvider())
    assert launcher.local
    script = wrap(f"env PARSL_WORKER_BLOCK_ID=0 {launcher.worker_command}", 1, 1)
    process = subprocess.Popen(["bash", "-c", script], start_new_session=True)
    connection = worker_on(manager)
    (workspace,) = tmp_path.glob("worker-*")
    assert stat.S_IMODE(workspace.stat().st_mode) == 0o700

    # Before its connection ends, and once: a worker that is told while it sleeps after that connects again, and waits
    # a quarter of an hour for the manager's half of the password, whatever signals come (TaskVine 7.14.5).
    os.killpg(process.pid, signal.SIGTERM)
    connection.close()
    assert wait_until(lambda: process.poll() is not None and not workspace.exists(), 30)


def remote(tmp_path, **fields):
    return make_launcher("provider", TaskVineFactoryConfig(**fields), str(tmp_path), SlurmProvider())


def test_remote_blocks_get_their_target(tmp_path):
    launcher = remote(tmp_path, worker_executable="my_worker")
    launcher.start(Contact("head", 9123, "melting"), lambda error: None)
    command = shlex.split(launcher.worker_command)
    assert command[0] == "sh" and os.path.samefile(os.path.dirname(command[1]), tmp_path)
    assert command[2] == "my_worker"
    assert command[-2:] == ["-M", "melting"]
    assert "--catalog" not in command
    launcher.start(Contact("head", 9123, "melting", "catalog:9097"), lambda error: None)
    assert shlex.split(launcher.worker_command)[-4:] == ["--catalog", "catalog:9097", "-M", "melting"]
    assert {"--single-shot", "--parent-death"} <= set(command)
    assert not launcher.local


@pytest.mark.parametrize("wrap", [SimpleLauncher(), SingleNodeLauncher(), SrunLauncher()])
def test_remote_blocks_look_for_the_worker_themselves(tmp_path, monkeypatch, wrap):
    """Where the job's environment has one it is that, and otherwise the one that is here, on PATH or not."""
    for place in ("here", "there"):
        program = tmp_path / place / "bin/vine_worker"
        program.parent.mkdir(parents=True)
        program.write_text(f"#!/bin/sh\necho {place} $1 $3\n")
        program.chmod(0o755)
    srun = tmp_path / "srun"
    srun.write_text("#!/bin/sh\nfor script; do :; done\nexec sh $script\n")
    srun.chmod(0o755)
    monkeypatch.setenv("VINEFAST_TASKVINE_PREFIX", str(tmp_path / "here"))
    launcher = remote(tmp_path)
    launcher.start(Contact("head", 9123), lambda error: None)
    script = wrap(f"env PARSL_WORKER_BLOCK_ID=0 {launcher.worker_command}", 1, 1)

    def run(*places):
        path = os.pathsep.join([*places, str(tmp_path), os.defpath])
        environment = {"PATH": path, "SLURM_JOB_NAME": "job", "SLURM_CPUS_ON_NODE": str(os.cpu_count())}
        done = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True)
        return done.stdout.splitlines()

    assert "here --workspace --single-shot" in run()
    assert "there --workspace --single-shot" in run(str(tmp_path / "there/bin"))


def test_a_worker_of_another_taskvine_on_path_is_passed_by(tmp_path, monkeypatch):
    """Jobs get this PATH, and the manager would send that worker away."""
    for place, release in (("ours", TASKVINE_VERSION), ("other", "7.17.1" if PROTOCOL < 13 else "7.14.5")):
        program = tmp_path / place / "bin/vine_worker"
        program.parent.mkdir(parents=True)
        (tmp_path / place / "vinefast-install.json").touch()  # of TaskVine's own programs
        program.write_text(f"#!/bin/sh\necho vine_worker version {release} {place}\n")
        program.chmod(0o755)
    monkeypatch.setenv("VINEFAST_TASKVINE_PREFIX", str(tmp_path / "ours"))
    monkeypatch.setenv("PATH", f"{tmp_path}/other/bin{os.pathsep}{os.environ['PATH']}")
    launcher = remote(tmp_path)
    launcher.start(Contact("head", 9123), lambda error: None)
    said = subprocess.check_output(["sh", "-c", f"echo {word_for_a_shell('vine_worker')}"], text=True)
    assert said == f"{tmp_path}/ours/bin/vine_worker\n"
    assert name_for_a_shell("vine_worker") == said.strip()
    assert f"command -v {said.strip()}" in launcher.worker_command


def test_what_remote_blocks_say_is_shown(tmp_path):
    launcher = remote(tmp_path)
    assert "its script_dir" in launcher.diagnosis()
    launcher.provider.script_dir = str(tmp_path)
    assert str(tmp_path) in launcher.diagnosis()
    (tmp_path / "block-0.stderr").write_text("")
    (tmp_path / "block-1.stderr").write_text("vine_worker: not found\n")
    assert "vine_worker: not found" in launcher.diagnosis()


def test_workers_leave_when_the_program_is_killed(tmp_path, manager):
    program = tmp_path / "program.py"
    program.write_text(
        "import sys, time\n"
        "from parsl.executors.taskvine import TaskVineFactoryConfig\n"
        "from vinefast.workers.contact import Contact\n"
        "from vinefast.workers.launch.factory import FactoryLauncher\n"
        "launcher = FactoryLauncher(TaskVineFactoryConfig(max_workers=2), sys.argv[1])\n"
        "launcher.start(Contact('127.0.0.1', int(sys.argv[2])), print)\n"
        "print(launcher._processes[0].pid, flush=True)\n"
        "time.sleep(100)\n"
    )
    environment = os.environ | {"TMPDIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, str(program), str(tmp_path), str(manager.getsockname()[1])],
        stdout=subprocess.PIPE,
        env=environment,
    ) as process:
        session = int(process.stdout.readline())
        while not manager.accept()[0].recv(100).startswith(b"taskvine"):
            pass
        assert len(session_members(session)) >= 3
        process.kill()
    assert wait_until(lambda: not session_members(session), seconds=20)
    assert not list(tmp_path.glob("vinefast-*"))


def test_local_workers_larger_than_this_machine_are_warned_of(tmp_path, caplog):
    for fields in ({"cores": 9999}, {"memory": 10**9}, {"disk": 10**12}, {"cores": 1, "memory": 100, "disk": 100}):
        for counts in ({}, {"min_workers": 1, "max_workers": 2}):
            make_launcher("factory", TaskVineFactoryConfig(**fields, **counts), str(tmp_path), None)
    make_launcher("factory", TaskVineFactoryConfig(batch_type="condor", cores=9999), str(tmp_path), None)
    told = [record.getMessage().split(",")[0] for record in caplog.records]
    assert "calls will be given more than there is" in caplog.text
    cores, memory, disk = (
        f"factory_config.{name} of executor {tmp_path.name} is {value}"
        for name, value in (("cores", 9999), ("memory", 10**9), ("disk", 10**12))
    )
    assert told == [cores, cores, memory, memory, disk, disk]
    assert {getattr(record, "parsl.executor") for record in caplog.records} == {tmp_path.name}
