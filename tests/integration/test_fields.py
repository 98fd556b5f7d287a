"""Each field of TaskVineManagerConfig and TaskVineFactoryConfig does what its documentation says."""

import os
import socket
import time
from dataclasses import fields
from pathlib import Path

import pytest
from parsl.executors.taskvine import TaskVineFactoryConfig, TaskVineManagerConfig

from tests.helpers.waiting import wait_until
from vinefast.errors import RemoteError
from vinefast.workers.programs import find_program

TESTS = Path(__file__).parents[1]
FIELDS = "integration/test_fields.py::"
LAUNCH = "workers/test_launch.py::"
SCALING = "integration/test_scaling.py::"
ENVIRONMENTS = "integration/test_environments.py::"
CATEGORIES = "integration/test_categories.py::"

# The test that fails if a field does nothing.
TEST_OF_FIELD = {
    "port": FIELDS + "test_port",
    "address": FIELDS + "test_address",
    "project_name": "integration/test_catalog.py::test_a_worker_finds_the_manager_by_name",
    "project_password_file": "integration/test_failures.py::test_wrong_password_keeps_a_worker_out",
    "env_vars": FIELDS + "test_env_vars_and_init_command",
    "init_command": FIELDS + "test_env_vars_and_init_command",
    "env_pack": ENVIRONMENTS + "test_a_virtual_environment_is_unpacked_once_and_used",
    "app_pack": ENVIRONMENTS + "test_the_current_environment_with_more_packages",
    "extra_pkgs": ENVIRONMENTS + "test_the_current_environment_with_more_packages",
    # TaskVine counts a retry only where a call exceeds its resources, which its resource monitor must have seen.
    "max_retries": "settings/test_config.py::test_fields_reach_the_engine",
    "library_config": FIELDS + "test_library_config",
    "shared_fs": FIELDS + "test_shared_fs",
    "autolabel": "settings/test_config.py::test_autolabel_becomes_what_taskvine_calls_it",
    "autolabel_algorithm": "settings/test_config.py::test_autolabel_becomes_what_taskvine_calls_it",
    "autolabel_window": "settings/test_config.py::test_autolabel_becomes_what_taskvine_calls_it",
    "autocategory": CATEGORIES + "test_without_autocategory_there_is_one",
    "enable_peer_transfers": FIELDS + "test_enable_peer_transfers",
    "wait_for_workers": FIELDS + "test_wait_for_workers",
    "tune_parameters": "integration/test_tuning.py::test_all_at_once",
    "vine_log_dir": "test_executor_unit.py::test_vine_log_dir_is_honoured",
    # It looks twice a minute; that is too long for a test of the real thing.
    "factory_timeout": LAUNCH + "test_factory_fields_become_options",
    "scratch_dir": FIELDS + "test_scratch_dir",
    "min_workers": SCALING + "test_the_factory_scales_out_and_in",
    "max_workers": SCALING + "test_the_factory_scales_out_and_in",
    "workers_per_cycle": SCALING + "test_the_factory_scales_out_by_so_many_at_a_time",
    "worker_options": FIELDS + "test_worker_fields",
    "worker_executable": FIELDS + "test_worker_fields",
    "worker_timeout": SCALING + "test_the_factory_scales_out_and_in",
    "cores": FIELDS + "test_worker_fields",
    "gpus": FIELDS + "test_worker_fields",
    "memory": FIELDS + "test_worker_fields",
    "disk": FIELDS + "test_worker_fields",
    "python_env": ENVIRONMENTS + "test_workers_of_a_factory_run_in_an_environment",
    "batch_type": FIELDS + "test_batch_type_and_options",
    "condor_requirements": FIELDS + "test_condor_requirements",
    "batch_options": FIELDS + "test_batch_type_and_options",
}


def test_each_field_has_a_test():
    known = {f.name for config in (TaskVineManagerConfig, TaskVineFactoryConfig) for f in fields(config)}
    assert {name for name in known if not name.startswith("_")} == set(TEST_OF_FIELD)
    for place in set(TEST_OF_FIELD.values()):
        path, _, test = place.partition("::")
        assert f"def {test}(" in (TESTS / path).read_text(), place


@pytest.fixture
def recorder(tmp_path):
    """A worker program that notes its arguments, and what notes it has made."""
    program = tmp_path / "noting_worker"
    program.write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/arguments-$$\nexec {find_program("vine_worker")} "$@"\n'
    )
    program.chmod(0o755)

    def notes():
        return [path.read_text().splitlines() for path in tmp_path.glob("arguments-*")]

    return str(program), notes


def free_port():
    with socket.create_server(("", 0)) as server:
        return server.getsockname()[1]


def test_port(make_executor):
    port = free_port()
    executor = make_executor(manager_config=TaskVineManagerConfig(port=port))
    assert executor.port == port
    assert executor.submit(abs, {}, -1).result(30) == 1


def test_address(make_executor, recorder):
    program, notes = recorder
    executor = make_executor(
        manager_config=TaskVineManagerConfig(port=0, address="localhost"),
        factory_config=TaskVineFactoryConfig(worker_executable=program),
    )
    assert executor.submit(abs, {}, -1).result(30) == 1
    assert [arguments[-2:] for arguments in notes()] == [["localhost", str(executor.port)]]


@pytest.mark.parametrize("mode", ["serverless", "regular"])
def test_env_vars_and_init_command(make_executor, mode):
    executor = make_executor(
        function_exec_mode=mode,
        manager_config=TaskVineManagerConfig(
            port=0, env_vars={"GREETING": "hello", "COUNT": 3}, init_command="export ADDRESSEE=$GREETING-world"
        ),
    )
    names = ("GREETING", "COUNT", "ADDRESSEE")
    assert [executor.submit(os.getenv, {}, name).result(30) for name in names] == ["hello", "3", "hello-world"]


@pytest.mark.parametrize("mode", ["serverless", "regular"])
@pytest.mark.parametrize(
    ("command", "status", "words"),
    [
        ("cd /; echo no such module: fish >&2; exit 7", 7, "no such module: fish"),
        ("no-such-command --quietly", 127, "no-such-command"),
        ("export PATH=/nowhere", 127, "There is no python3 on PATH after it: /nowhere"),
    ],
)
def test_an_init_command_that_fails_is_named_at_once(make_executor, mode, command, status, words):
    executor = make_executor(
        function_exec_mode=mode, manager_config=TaskVineManagerConfig(port=0, init_command=command)
    )
    for _ in range(2):
        start = time.monotonic()
        with pytest.raises(
            RemoteError, match=f"UnfitWorker: init_command failed on .* with exit status {status}"
        ) as caught:
            executor.submit(abs, {}, -1).result(30)
        assert time.monotonic() - start < 10
        assert command in str(caught.value) and words in str(caught.value).partition("Its last words: ")[2]


def library_of_call(seconds):
    time.sleep(seconds)
    return os.getppid()


@pytest.mark.parametrize(
    ("library_config", "n_libraries", "n_slots"),
    [
        (None, 1, 2),
        ({"num_slots": 3}, 1, 3),
        ({"num_slots": 1, "cores": 1, "memory": 400, "disk": 400}, 2, 2),
        ({"num_slots": 2, "cores": 1, "memory": 400, "disk": 400}, 2, 4),
        ({"num_slots": 1, "cores": 1, "memory": 600, "disk": 400}, 1, 2),
        ({"num_slots": 1, "cores": 1, "memory": 400, "disk": 600}, 1, 2),
    ],
)
def test_library_config(make_executor, library_config, n_libraries, n_slots):
    """On a worker with two cores and 1000 MB."""
    executor = make_executor(
        manager_config=TaskVineManagerConfig(port=0, library_config=library_config),
        factory_config=TaskVineFactoryConfig(cores=2, memory=1000, disk=1000),
    )
    futures = [executor.submit(library_of_call, {}, 0.15) for _ in range(12)]
    assert len({future.result(30) for future in futures}) == n_libraries
    assert executor.stats()["slots"] == n_slots


@pytest.mark.parametrize("shared", [True, False])
def test_shared_fs(make_executor, by_hand, shared):
    executor = make_executor(
        worker_launch_method="manual", manager_config=TaskVineManagerConfig(port=0, shared_fs=shared)
    )
    by_hand(executor)
    assert (executor.submit(os.getcwd, {}).result(30) == os.getcwd()) == shared


def place_of_call(seconds):
    time.sleep(seconds)
    return os.getcwd()


@pytest.mark.parametrize("enabled", [True, False])
def test_enable_peer_transfers(make_executor, by_hand, tmp_path, enabled):
    """The second worker has the files of tasks from the first, or from the manager."""
    executor = make_executor(
        worker_launch_method="manual",
        function_exec_mode="regular",
        manager_config=TaskVineManagerConfig(port=0, enable_peer_transfers=enabled),
    )
    directories = [tmp_path / "first", tmp_path / "second"]
    for n, directory in enumerate(directories, 1):
        directory.mkdir()
        by_hand(executor, "--cores", "1", "-d", "all", "-o", str(directory / "log"), directory=directory)
        assert wait_until(lambda n=n: executor.stats()["slots"] == n)
        futures = [executor.submit(place_of_call, {}, 0.5) for _ in range(n)]
        places = {future.result(30) for future in futures}
        assert {d for d in directories if any(place.startswith(str(d)) for place in places)} == set(directories[:n])
    assert ("workerip://" in (directories[1] / "log").read_text(errors="replace")) == enabled


def test_wait_for_workers(make_executor, by_hand):
    executor = make_executor(
        worker_launch_method="manual", manager_config=TaskVineManagerConfig(port=0, wait_for_workers=2)
    )
    future = executor.submit(abs, {}, -1)
    by_hand(executor)
    assert wait_until(lambda: executor.stats()["workers_connected"] == 1)
    time.sleep(1.0)
    assert not future.done()
    by_hand(executor)
    assert future.result(30) == 1


@pytest.mark.parametrize("max_workers", [1, 2])
def test_scratch_dir(make_executor, recorder, tmp_path, max_workers):
    """Of workers that vinefast starts itself, and of those by vine_factory."""
    program, notes = recorder
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    executor = make_executor(
        factory_config=TaskVineFactoryConfig(
            scratch_dir=str(scratch), max_workers=max_workers, worker_executable=program
        )
    )
    executor.submit(abs, {}, -1).result(30)
    (place,) = scratch.iterdir()
    (arguments,) = notes()
    workspace = arguments[arguments.index("--workspace") + 1]
    assert (place / workspace / "cache").is_dir()
    executor.shutdown()
    assert not list(scratch.iterdir())


@pytest.mark.parametrize("max_workers", [1, 2])
def test_worker_fields(make_executor, recorder, max_workers):
    """Of workers that vinefast starts itself, and of those by vine_factory."""
    program, notes = recorder
    executor = make_executor(
        factory_config=TaskVineFactoryConfig(
            cores=3,
            memory=700,
            disk=800,
            gpus=4,
            max_workers=max_workers,
            worker_executable=program,
            worker_options="--feature 'of course'",
            worker_timeout=123,
        )
    )
    executor.submit(abs, {}, -1).result(30)
    stats = executor.stats()
    assert [stats[f"max_{name}"] for name in ("cores", "memory", "disk", "gpus")] == [3, 700, 800, 4]
    assert stats["slots"] == 3
    (arguments,) = notes()
    assert arguments[arguments.index("--feature") + 1] == "of course"
    assert "--connect-timeout=123" in arguments or arguments[arguments.index("-t") + 1] == "123"


def test_batch_type_and_options(make_executor, slurm):
    submitted, cancelled = slurm
    executor = make_executor(
        manager_config=TaskVineManagerConfig(port=0, address="127.0.0.1", shared_fs=True),
        factory_config=TaskVineFactoryConfig(
            batch_type="slurm", batch_options="--qos=short", cores=1, memory=300, disk=200
        ),
    )
    assert executor.submit(abs, {}, -1).result(30) == 1
    (line,) = submitted.read_text().splitlines()
    for option in ("--qos=short", "--mem=300M", "-c 1"):
        assert option in line
    executor.shutdown()
    assert len(cancelled.read_text().splitlines()) == 1


def test_condor_requirements(make_executor, scheduler, tmp_path):
    scheduler("condor_submit", f"cp condor.submit {tmp_path}\necho 1 job(s) submitted to cluster 17.")
    scheduler("condor_rm", "")
    make_executor(
        manager_config=TaskVineManagerConfig(port=0, address="127.0.0.1"),
        factory_config=TaskVineFactoryConfig(
            batch_type="condor", condor_requirements='(Arch == "X86_64")', batch_options="priority = 5", cores=3
        ),
    )
    description = tmp_path / "condor.submit"
    assert wait_until(description.exists)
    assert wait_until(lambda: "queue" in description.read_text())
    lines = description.read_text().splitlines()
    assert any(line.startswith("requirements = ") and '(Arch == "X86_64")' in line for line in lines)
    assert "priority = 5" in lines
    assert "request_cpus = 3" in lines
