"""What must survive: lost workers, calls that take their worker down, an engine that cannot start."""

import contextlib
import os
import signal
import socket
import subprocess
import time

import psutil
import pytest
from parsl.executors.errors import InvalidResourceSpecification
from parsl.executors.taskvine import TaskVineFactoryConfig, TaskVineManagerConfig

from tests.helpers.processes import WORKER_COMMAND, command_by_hand, left_of, processes_marked, start_by_hand
from tests.helpers.waiting import wait_until
from vinefast import Tuning
from vinefast._build_info import TASKVINE_VERSION
from vinefast.errors import EngineStartError, InvalidConfiguration, TaskFailure, TaskSignalled
from vinefast.workers import watchdog

TAKES_BACK = tuple(map(int, TASKVINE_VERSION.split(".")[:2])) >= (7, 15)
QUICK = 10.0  # a start that fails, does so within this many seconds


def workers_of(mark):
    """The vine_worker processes, without the children that serve their transfers."""
    workers = [p for p in processes_marked(mark) if any("vine_worker" in part for part in p.cmdline()[:6])]
    return [p for p in workers if p.ppid() not in {w.pid for w in workers}]


def nap(seconds, value=None):
    time.sleep(seconds)
    return value


def test_calls_of_a_killed_worker_are_run_again(make_executor, mark):
    executor = make_executor()

    def slow(i):
        import time

        time.sleep(0.01)
        return i

    futures = [executor.submit(slow, {}, i) for i in range(400)]
    futures[20].result(30)
    (worker,) = workers_of(mark)
    worker.kill()
    assert [f.result(60) for f in futures] == list(range(400))
    assert executor.stats()["calls_returned"] == 400


def test_a_call_that_kills_its_worker_fails_alone(make_executor, mark):
    executor = make_executor()

    def kill_worker_when(i, culprit):
        import time

        if i == culprit:
            import os

            import psutil

            library = psutil.Process(os.getppid())
            library.parent().kill()
            time.sleep(30)
        return i

    futures = [executor.submit(kill_worker_when, {}, i, 30) for i in range(60)]
    with pytest.raises(TaskFailure) as caught:
        futures[30].result(90)
    assert caught.value.result in ("VINE_RESULT_MAX_RETRIES", "VINE_RESULT_FORSAKEN")
    assert [f.result(60) for i, f in enumerate(futures) if i != 30] == [i for i in range(60) if i != 30]


def overwrite_result_frame(frame_nbytes, record_nbytes):
    """What C code might do that writes into the memory which its process shares with the library."""
    import struct
    import sys

    class Overwrite(struct.Struct):
        def pack_into(self, frame, offset, magic, n_records, nbytes, *rest):
            put(header)
            super().pack_into(frame, offset, magic, n_records, frame_nbytes, *rest)
            struct.pack_into("<II", frame, self.size, 2, record_nbytes)

    def put(struct):
        for memory in memories:
            memory.RESULT_HEADER = struct

    memories = [module for module in sys.modules.values() if "SlotMemory" in vars(module)]
    header = memories[0].RESULT_HEADER
    put(Overwrite(header.format))
    return bytes(5_000)


@pytest.mark.parametrize("mode", ["serverless", "regular"])
@pytest.mark.parametrize("frame_nbytes", [1 << 40, 1 << 29, 100, 0])
def test_an_answer_that_lies_about_its_length_fails_its_call_alone(make_executor, mode, frame_nbytes):
    executor = make_executor(function_exec_mode=mode)
    lying = executor.submit(overwrite_result_frame, {}, frame_nbytes, 1 << 28)
    with pytest.raises(TaskFailure, match=r"answered with 5\d\d\d bytes that are no whole result frame.*C code"):
        lying.result(60)
    assert executor.submit(nap, {}, 0, b"." * 5_000).result(60) == b"." * 5_000


def test_a_connection_that_takes_no_calls_delays_none(make_executor, by_hand):
    executor = make_executor(worker_launch_method="manual", require_password=False)
    by_hand(executor, "--cores", "2")
    for i in range(20):
        executor.submit(abs, {}, -i).result(30)
    ended = []
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(socket.create_connection(("127.0.0.1", executor._parts.engine.port)))
        executor.submit(time.sleep, {}, 0.1).result(30)  # meanwhile they are accepted
        futures = [executor.submit(time.sleep, {}, 0.02) for _ in range(100)]
        for i, future in enumerate(futures):
            future.add_done_callback(lambda _, i=i: ended.append(i))
        assert wait_until(lambda: len(ended) == len(futures), 60)
    # None was left behind by more than what was under way.
    assert max(place - i for place, i in enumerate(ended)) < 40


def note_and_nap(path):
    with open(path, "w"):
        time.sleep(60)


def library_and_worker():
    library = psutil.Process(os.getppid())
    return library.pid, library.ppid()


@pytest.mark.parametrize("tuned", [{}, {"watch-library-logfiles": 1}], ids=["", "watched"])
def test_a_killed_library_is_replaced(make_executor, tuned):
    executor = make_executor(manager_config=TaskVineManagerConfig(port=0, tune_parameters=tuned))
    library, worker = executor.submit(library_and_worker, {}).result(30)
    futures = [executor.submit(nap, {}, 0.05, i) for i in range(20)]
    futures[0].result(30)
    os.kill(library, signal.SIGKILL)
    assert [future.result(60) for future in futures] == list(range(20))
    other, its_worker = executor.submit(library_and_worker, {}).result(60)
    assert other != library
    # Nothing that the library wrote is taken for a message of its worker, which would be dropped for that.
    assert its_worker == worker
    assert executor.stats()["workers_joined"] == 1


@pytest.mark.parametrize("mode", ["serverless", "regular"])
def test_a_call_too_large_for_all_workers_is_named_in_a_warning(make_executor, by_hand, monkeypatch, caplog, mode):
    monkeypatch.setattr(watchdog, "_TOO_LARGE_S", 0.3)
    executor = make_executor(
        worker_launch_method="manual",
        function_exec_mode=mode,
        factory_config=TaskVineFactoryConfig(cores=2, memory=500, disk=500),
    )
    by_hand(executor)
    future = executor.submit(abs, {"cores": 3, "memory": 501, "disk": 300}, -1)
    assert executor.submit(abs, {"cores": 2}, -1).result(30) == 1
    assert wait_until(lambda: "ask for cores=3, memory=501, but" in caplog.text)
    assert "a connected worker has is cores=2, memory=500: they wait" in caplog.text
    time.sleep(1.0)
    assert caplog.text.count("ask for") == 1
    assert not future.done()


@pytest.mark.parametrize("mode", ["serverless", "regular"])
def test_where_larger_workers_may_come_a_call_fails_after_a_time(make_executor, by_hand, mode):
    executor = make_executor(
        worker_launch_method="manual",
        function_exec_mode=mode,
        manager_config=TaskVineManagerConfig(port=0, tune_parameters={"larger-worker-timeout": 1}),
        factory_config=TaskVineFactoryConfig(cores=2, memory=500, disk=500),
    )
    futures = [executor.submit(abs, {"cores": 3, "priority": k}, -1) for k in range(5)]
    assert not futures[0].done()
    by_hand(executor)
    assert executor.submit(abs, {"cores": 2}, -1).result(30) == 1
    for future in futures:
        with pytest.raises(InvalidResourceSpecification, match="cores=3.*cores=2.*larger-worker-timeout"):
            future.result(60)
    assert wait_until(lambda: executor.outstanding() == 0)
    assert executor.submit(abs, {"cores": 2}, -1).result(30) == 1


@pytest.mark.parametrize("mode", ["serverless", "regular"])
def test_where_no_larger_worker_can_come_a_call_fails_at_once(make_executor, mode):
    executor = make_executor(
        function_exec_mode=mode,
        factory_config=TaskVineFactoryConfig(cores=2, memory=500, disk=500),
    )
    # More than there is room for in regular mode.
    futures = [executor.submit(abs, {"cores": 3, "memory": 501}, -1) for _ in range(10)]
    for future in futures:
        with pytest.raises(InvalidResourceSpecification, match="cores=3, memory=501.*alike.*cores=2, memory=500"):
            future.result(30)
    assert wait_until(lambda: executor.outstanding() == 0)
    for specification in ({"cores": 3}, {"gpus": 1}, {"memory": 10**9}, {"disk": 501}):
        (key,) = specification
        with pytest.raises(InvalidResourceSpecification, match=key):
            executor.submit(abs, specification, -1)
        with pytest.raises(InvalidResourceSpecification, match=key):
            executor.map(abs, [1], resource_specification=specification)
        with pytest.raises(InvalidResourceSpecification, match=key):
            executor.submit_many(abs, [(1,)], resource_specification=specification)
    assert executor.submit(abs, {"cores": 2, "memory": 500, "disk": 300}, -1).result(30) == 1


def assert_fails_to_start(executor, match, error=EngineStartError):
    start = time.monotonic()
    with pytest.raises(error, match=match):
        executor.start()
    assert time.monotonic() - start < QUICK
    executor.shutdown()


def test_port_taken(make_executor):
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = taken.getsockname()[1]
        executor = make_executor(start=False, manager_config=TaskVineManagerConfig(port=port))
        assert_fails_to_start(executor, f"port {port}.*[Aa]ddress already in use")


def test_password_file_missing(make_executor, tmp_path):
    config = TaskVineManagerConfig(port=0, project_password_file=str(tmp_path / "absent"))
    assert_fails_to_start(
        make_executor(start=False, manager_config=config), "absent", (EngineStartError, InvalidConfiguration)
    )


def test_no_worker_program(make_executor):
    config = TaskVineFactoryConfig(worker_executable="/nowhere/vine_worker")
    assert_fails_to_start(
        make_executor(start=False, factory_config=config),
        "/nowhere/vine_worker",
        (EngineStartError, InvalidConfiguration),
    )


def test_a_failed_start_leaves_no_thread_and_no_descriptor(make_executor, monkeypatch):
    monkeypatch.setattr(Tuning, "for_vine_tune", lambda self: {"no-such-thing": 1.0})
    with pytest.raises(InvalidConfiguration, match="does not know the tune parameter 'no-such-thing'"):
        make_executor()
    this = psutil.Process()
    before = this.num_threads(), this.num_fds()
    for _ in range(5):
        with pytest.raises(InvalidConfiguration):
            make_executor()
    assert wait_until(lambda: this.num_threads() <= before[0])
    assert this.num_fds() <= before[1]


def test_a_worker_with_a_password_where_there_is_none(make_executor, tmp_path, mark, caplog):
    """It would wait for a quarter of an hour, and nobody would say why."""
    secret = tmp_path / "secret"
    secret.write_text("one\n")
    executor = make_executor(worker_launch_method="manual", require_password=False)
    lost = start_by_hand(command_by_hand(executor, "--password", str(secret)), tmp_path)
    assert wait_until(lambda: any("A worker with a password has come" in said for said in caplog.messages), 30)
    assert executor.stats()["joins_with_password"]
    lost.terminate()
    lost.wait(10)


def test_wrong_password_keeps_a_worker_out(make_executor, tmp_path, mark, caplog):
    secret = tmp_path / "secret"
    secret.write_text("right\n")
    wrong = tmp_path / "wrong"
    wrong.write_text("wrong\n")
    executor = make_executor(
        worker_launch_method="manual", manager_config=TaskVineManagerConfig(port=0, project_password_file=str(secret))
    )
    future = executor.submit(abs, {}, -1)

    assert str(secret) in executor.worker_command
    bad = start_by_hand(command_by_hand(executor, "--password", str(wrong)), tmp_path)
    assert wait_until(lambda: any("with another password, or none, has come" in said for said in caplog.messages), 30)
    assert executor.stats()["joins_wrong_password"] and not future.done()
    good = start_by_hand(command_by_hand(executor), tmp_path)
    assert future.result(30) == 1
    executor.shutdown()
    for process in (bad, good):
        process.terminate()
        process.wait(10)


@pytest.mark.parametrize("has_library", [True, False])
def test_a_killed_worker_leaves_no_orphan_that_holds_its_connection(make_executor, mark, tmp_path, has_library):
    """Nobody watches a worker that was started by hand: the library must end what the worker leaves."""
    executor = make_executor(worker_launch_method="manual", manager_config=TaskVineManagerConfig(port=0))
    worker = start_by_hand(command_by_hand(executor), tmp_path)
    library, _ = executor.submit(library_and_worker, {}).result(30)
    if not has_library:
        os.kill(library, signal.SIGKILL)
        assert wait_until(lambda: not psutil.pid_exists(library))
    worker.kill()
    worker.wait()
    assert wait_until(lambda: executor.stats()["workers_connected"] == 0)
    assert not left_of(mark)


@pytest.mark.parametrize("has_call", [True, False], ids=["calls", "idle"])
def test_a_killed_worker_of_the_regular_mode_leaves_nothing(make_executor, mark, tmp_path, has_call):
    """There is no library: its call ends what it leaves, or the program that has started it."""
    config = TaskVineManagerConfig(port=0)
    executor = make_executor(worker_launch_method="manual", function_exec_mode="regular", manager_config=config)
    command = command_by_hand(executor) if has_call else [*WORKER_COMMAND, executor.run_dir]
    starter = start_by_hand(command, tmp_path)
    assert wait_until(lambda: executor.stats()["workers_connected"] == 1, 30)
    gate = tmp_path / "gate"
    future = executor.submit(note_and_nap, {}, str(gate)) if has_call else None
    assert future is None or wait_until(gate.exists, 30)
    (worker,) = (process for process in processes_marked(mark) if "--workspace" in process.cmdline())
    # Somebody who looks into its directory, say.
    bystander = subprocess.Popen(["sleep", "100"], cwd=worker.cwd(), env={})
    try:
        worker.kill()
        starter.wait(10)
        assert wait_until(lambda: executor.stats()["workers_connected"] == 0)
        assert not left_of(mark)
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def kill_own_group():
    os.killpg(0, signal.SIGKILL)


def test_a_call_of_the_regular_mode_that_kills_its_process_group(make_executor):
    executor = make_executor(function_exec_mode="regular")
    killed = executor.submit(kill_own_group, {})
    assert executor.submit(pow, {}, 2, 3).result(60) == 8
    with pytest.raises(TaskSignalled, match="signal 9"):
        killed.result(60)


@pytest.mark.parametrize("mode", ["serverless", "regular"])
def test_a_worker_that_is_killed_before_its_call_has_started_leaves_nothing(make_executor, mark, tmp_path, mode):
    """Python takes its time to start, and finds somebody else in its parent's place then."""
    gate = tmp_path / "gate"
    config = TaskVineManagerConfig(port=0, init_command=f"touch {gate}; sleep 2")
    executor = make_executor(worker_launch_method="manual", function_exec_mode=mode, manager_config=config)
    starter = start_by_hand(command_by_hand(executor), tmp_path)
    executor.submit(pow, {}, 2, 3)
    assert wait_until(gate.exists, 30)
    (worker,) = (process for process in processes_marked(mark) if "--workspace" in process.cmdline())
    worker.kill()
    starter.wait(10)
    assert wait_until(lambda: executor.stats()["workers_connected"] == 0)
    assert not left_of(mark)


@pytest.mark.parametrize("ssl", [False, True], ids=["", "TLS"])
def test_a_worker_whose_library_was_killed_leaves_with_the_manager(make_executor, by_hand, mark, ssl):
    manager_config = TaskVineManagerConfig(port=0)
    executor = make_executor(worker_launch_method="manual", manager_config=manager_config, ssl=ssl)
    worker = by_hand(executor)
    library, _ = executor.submit(library_and_worker, {}).result(30)
    futures = [executor.submit(nap, {}, 0.05) for _ in range(20)]
    futures[0].result(30)
    os.kill(library, signal.SIGKILL)
    executor.shutdown()
    # TaskVine's worker lets each process live for three seconds before it kills it, one after the other.
    assert wait_until(lambda: worker.poll() is not None, 40)
    assert wait_until(lambda: not processes_marked(mark))


def kill_library_once(flag):
    if not os.path.exists(flag):
        open(flag, "w").close()
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(30)


def test_a_worker_that_comes_after_a_library_has_died_takes_calls(make_executor, by_hand, tmp_path):
    # TaskVine sends no library to anybody for a while, and 7.14.5 loses a task for which it would have to.
    config = TaskVineManagerConfig(port=0, tune_parameters=Tuning(transient_error_interval=8))
    executor = make_executor(worker_launch_method="manual", manager_config=config)
    by_hand(executor, "--cores", "1")
    flag = tmp_path / "flag"
    culprit = executor.submit(kill_library_once, {}, str(flag))

    def manager_has_heard():
        stats = executor.stats()
        if not stats["workers_connected"] or stats["calls_lost"]:  # the worker is thrown out, or its call is given up
            return True
        # From 7.15 on TaskVine takes the call back without a word.
        return TAKES_BACK and flag.exists() and time.time() - flag.stat().st_mtime > 2

    assert wait_until(manager_has_heard, 30)
    by_hand(executor, "--cores", "1")
    futures = [executor.submit(abs, {}, -i) for i in range(20)]
    assert [f.result(25) for f in futures] == list(range(20))
    culprit.result(30)


def test_libraries_that_die_now_and_then_are_replaced_for_ever(make_executor):
    config = TaskVineManagerConfig(port=0, tune_parameters={"max-library-retries": 1})
    executor = make_executor(manager_config=config)
    libraries = set()
    for _ in range(4):
        library, _ = executor.submit(library_and_worker, {}).result(30)
        libraries.add(library)
        os.kill(library, signal.SIGKILL)
        assert wait_until(lambda library=library: not psutil.pid_exists(library))
    assert executor.submit(abs, {}, -1).result(30) == 1
    assert len(libraries) == 4


def test_where_every_library_dies_calls_fail_with_the_reason(make_executor):
    config = TaskVineManagerConfig(port=0, tune_parameters={"max-library-retries": 1}, init_command="kill -9 $$")
    executor = make_executor(manager_config=config)
    for _ in range(2):
        futures = [executor.submit(abs, {}, -i) for i in range(50)]
        for future in futures:
            with pytest.raises(TaskFailure, match="max-library-retries|was lost") as caught:
                future.result(60)
            assert caught.value.result in ("VINE_RESULT_LIBRARY_EXIT", "VINE_RESULT_MAX_RETRIES")
    assert wait_until(lambda: executor.outstanding() == 0)
