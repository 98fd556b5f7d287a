"""Shutdown in every state: it ends in seconds, may be repeated, and leaves nothing behind."""

import os
import shlex
import signal
import subprocess
import sys
import textwrap
import threading
import time
from multiprocessing import shared_memory

import psutil
import pytest

from tests.integration.processes import processes_marked, start_by_hand, wait_until
from vinefast.errors import EngineStopped

BOUND = 8.0  # seconds; the aim is one


def touch_and_sleep(path):
    with open(path, "w"):
        pass
    time.sleep(60)


def timed_shutdown(executor):
    start = time.monotonic()
    executor.shutdown()
    assert time.monotonic() - start < BOUND


def nothing_left(mark):
    return wait_until(lambda: not processes_marked(mark))


def test_before_start(make_executor):
    executor = make_executor(start=False)
    timed_shutdown(executor)
    with pytest.raises(EngineStopped):
        executor.submit(abs, {}, -1)


def test_right_after_start(make_executor, mark):
    timed_shutdown(make_executor())
    assert nothing_left(mark)


def test_idle_after_work(make_executor, mark):
    executor = make_executor()
    assert executor.submit(abs, {}, -1).result(30) == 1
    timed_shutdown(executor)
    timed_shutdown(executor)
    with pytest.raises(EngineStopped):
        executor.submit(abs, {}, -1)
    assert nothing_left(mark)


def test_with_calls_running_and_waiting(make_executor, mark):
    executor = make_executor()
    executor.submit(abs, {}, -1).result(30)
    futures = [executor.submit(time.sleep, {}, 60) for _ in range(100)]
    time.sleep(0.3)
    timed_shutdown(executor)
    for future in futures:
        with pytest.raises(EngineStopped):
            future.result(0)
    assert nothing_left(mark)


def test_while_other_threads_submit(make_executor, mark):
    executor = make_executor()
    futures = []

    def submit_for_ever():
        try:
            while True:
                futures.append(executor.submit(abs, {}, -1))
        except EngineStopped:
            pass

    threads = [threading.Thread(target=submit_for_ever) for _ in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    timed_shutdown(executor)
    for thread in threads:
        thread.join(5)
        assert not thread.is_alive()
    for future in futures:
        try:
            assert future.result(0) == 1
        except EngineStopped:
            pass
    assert nothing_left(mark)


def test_from_a_callback(make_executor, mark):
    executor = make_executor()
    done = threading.Event()

    def shut_down(future):
        executor.shutdown()
        done.set()

    executor.submit(abs, {}, -1).add_done_callback(shut_down)
    assert done.wait(30)
    assert nothing_left(mark)


def leave_much_behind():
    """A process in a session of its own, and shared memory of which Python's resource tracker knows."""
    memory = shared_memory.SharedMemory(create=True, size=1)
    leave_much_behind.memory = memory
    return subprocess.Popen(["sleep", "60"], start_new_session=True).pid, f"/dev/shm/{memory.name}"


def test_what_calls_have_started_ends_with_the_executor(make_executor, mark):
    executor = make_executor()
    pid, memory = executor.submit(leave_much_behind, {}).result(30)
    assert psutil.pid_exists(pid) and os.path.exists(memory)
    timed_shutdown(executor)
    assert nothing_left(mark)
    assert not os.path.exists(memory)


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
@pytest.mark.parametrize("mode", ["serverless", "regular"])
def test_workers_by_hand_end_with_the_executor(make_executor, tmp_path, mode, busy):
    executor = make_executor(worker_launch_method="manual", function_exec_mode=mode)
    workers = [start_by_hand(shlex.split(executor.worker_command), tmp_path) for _ in range(2)]
    try:
        assert wait_until(lambda: executor.stats()["workers_joined"] == 2, 30)
        executor.submit(abs, {}, -1).result(30)
        running = tmp_path / "running"
        if busy:
            executor.submit(touch_and_sleep, {}, str(running))
            assert wait_until(running.exists, 30)
        timed_shutdown(executor)
        assert wait_until(lambda: all([worker.poll() == 0 for worker in workers]), 20)
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()


def test_nothing_grows_over_many_lives(make_executor, mark, tmp_path):
    this = psutil.Process()

    def live():
        executor = make_executor()
        assert executor.submit(abs, {}, -1).result(30) == 1
        executor.shutdown()

    live()
    before = this.num_threads(), this.num_fds()
    for _ in range(3):
        live()
    assert wait_until(lambda: this.num_threads() <= before[0])
    assert this.num_fds() <= before[1]


PROGRAM = """
    import sys, time
    import parsl
    from vinefast import VineFastExecutor

    parsl.load(parsl.Config(executors=[VineFastExecutor()], run_dir=sys.argv[1]))

    @parsl.python_app
    def nap(seconds):
        import time
        time.sleep(seconds)
        return seconds

    assert nap(0).result() == 0
    futures = [nap(30) for _ in range(10)]
    time.sleep(0.3)
    print("running", flush=True)
    {end}
"""


def run_program(tmp_path, end):
    """A user's script, without a __main__ guard; returns once its calls run."""
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(PROGRAM).format(end=end))
    program = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path / "runinfo")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert program.stdout.readline() == "running\n", program.stderr.read()
    return program


def test_program_killed_outright(mark, tmp_path):
    program = run_program(tmp_path, "time.sleep(60)")
    assert len(processes_marked(mark)) > 2
    program.kill()
    program.wait()
    assert wait_until(lambda: not processes_marked(mark), 20)


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL], ids=["term", "kill"])
@pytest.mark.parametrize("worker", ["alive", "killed"])
def test_no_temporary_file_is_left_by_a_killed_program(mark, tmp_path, monkeypatch, worker, end):
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    script = tmp_path / "script.py"
    kill_worker = "os.kill(parsl.dfk().executors['VineFastExecutor']._launcher._processes[0].pid, 9)"
    ending = f"import os\n{kill_worker if worker == 'killed' else ''}\nos.kill(os.getpid(), {end:d})\n"
    script.write_text(textwrap.dedent(PROGRAM.partition("futures =")[0]) + ending)
    subprocess.run([sys.executable, str(script), str(tmp_path / "runinfo")], timeout=60)
    assert wait_until(lambda: not processes_marked(mark), 20)
    assert list(scratch.iterdir()) == []


def test_ctrl_c(mark, tmp_path):
    program = run_program(tmp_path, "time.sleep(60)")
    start = time.monotonic()
    os.kill(program.pid, signal.SIGINT)
    _, errors = program.communicate(timeout=30)
    assert time.monotonic() - start < BOUND
    assert "KeyboardInterrupt" in errors
    assert nothing_left(mark)


def test_end_of_a_program_that_never_cleans_up(mark, tmp_path):
    program = run_program(tmp_path, "")
    out, errors = program.communicate(timeout=60)
    assert nothing_left(mark)


def test_no_temporary_file_is_left(mark, tmp_path, monkeypatch):
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    environment = {**os.environ, "TMPDIR": str(scratch)}
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            """
            import sys
            import parsl
            from vinefast import VineFastExecutor

            with parsl.load(parsl.Config(executors=[VineFastExecutor()], run_dir=sys.argv[1])):
                assert parsl.python_app(abs)(-1).result() == 1
            """
        )
    )
    subprocess.run([sys.executable, str(script), str(tmp_path / "runinfo")], check=True, env=environment, timeout=60)
    assert list(scratch.iterdir()) == []
    assert nothing_left(mark)
