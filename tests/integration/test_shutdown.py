"""Shutdown in every state: it ends in seconds, may be repeated, and leaves nothing behind."""

import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import traceback
from contextlib import suppress
from multiprocessing import shared_memory

import psutil
import pytest
from parsl.executors.errors import BadStateException
from parsl.executors.taskvine import TaskVineFactoryConfig

from tests.helpers.processes import command_by_hand, left_of, processes_marked, start_by_hand
from tests.helpers.waiting import HeldCall, wait_until
from vinefast import TempFile, VineFastExecutor, _teardown
from vinefast.errors import EngineStartError, EngineStopped

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


def test_before_the_start_it_says_what_starts_it():
    with pytest.raises(EngineStopped, match="has not been started: parsl.load does that"):
        VineFastExecutor().submit(pow, None, 2, 3)


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

    call = HeldCall(executor)
    call.future.add_done_callback(shut_down)
    call.release()
    assert done.wait(30)
    assert nothing_left(mark)


@pytest.mark.parametrize("end", ["refused", "no worker can start"])
def test_from_a_callback_on_a_thread_that_the_shutdown_ends(make_executor, tmp_path, end):
    """Calls fail on other threads than the one that finishes them."""
    program = tmp_path / "worker"
    program.write_text("#!/bin/sh\nexit 3\n")
    program.chmod(0o755)
    refused = end == "refused"
    workers = TaskVineFactoryConfig() if refused else TaskVineFactoryConfig(worker_executable=str(program))
    executor = make_executor(factory_config=workers)
    done = threading.Event()

    def shut_down(future):
        executor.shutdown()
        done.set()

    future = executor.submit(abs, {"cores": 1000} if refused else {}, -1)
    future.add_done_callback(shut_down)
    assert future.exception(60) is not None
    assert done.wait(BOUND)
    timed_shutdown(executor)


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


def test_a_future_outlives_its_executor(tmp_path):
    executor = VineFastExecutor()
    executor.run_dir = str(tmp_path)
    executor.start()
    futures = [executor.submit(abs, {}, -1), executor.submit(time.sleep, {}, 60)]
    assert futures[0].result(30) == 1
    executor.shutdown()
    del executor
    gc.collect()
    assert [future.cancel() for future in futures] == [False, False]
    assert isinstance(futures[1].exception(), EngineStopped)


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
@pytest.mark.parametrize("mode", ["serverless", "regular"])
def test_workers_by_hand_end_with_the_executor(make_executor, tmp_path, mode, busy):
    executor = make_executor(worker_launch_method="manual", function_exec_mode=mode)
    workers = [start_by_hand(command_by_hand(executor), tmp_path) for _ in range(2)]
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


@pytest.mark.parametrize("end", ["shutdown", "bad state"])
def test_each_of_many_calls_fails_with_an_exception_of_its_own(make_executor, end):
    """A shared one grows with each raise, and whoever logs it writes all of that for each call."""
    executor = make_executor(worker_launch_method="manual")
    kinds = {EngineStopped} if end == "shutdown" else {BadStateException}
    depths = []

    def look(future):
        try:
            future.result()
        except Exception as error:
            depths.append(sum(1 for _ in traceback.walk_tb(error.__traceback__)))

    futures = [executor.submit(abs, {}, -1) for _ in range(100_000)]
    for future in futures:
        future.add_done_callback(look)
    start = time.monotonic()
    if end == "bad state":
        executor.set_bad_state_and_fail_all(ValueError("blocks keep failing"))
    executor.shutdown()
    seconds = time.monotonic() - start
    # On a busy machine the callback of one may still run, on a thread that the shutdown has not waited for any longer.
    assert wait_until(lambda: len(depths) == len(futures))
    assert {type(future.exception()) for future in futures} == kinds
    assert len({id(future.exception()) for future in futures}) == len(futures)
    assert max(depths) < 10
    assert seconds < 60.0  # some 3, on a machine of its own


def test_no_call_is_taken_once_the_executor_cannot_go_on(make_executor):
    executor = make_executor(worker_launch_method="manual")
    submit = executor._submit  # as a thread has it that is just in the midst of submitting
    executor.set_bad_state_and_fail_all(ValueError("blocks keep failing"))
    with pytest.raises(BadStateException, match="keep failing"):
        submit(abs, (-1,), {})


def make_file(outputs=()):
    with open(outputs[0], "w"):
        pass


def test_no_call_is_taken_while_a_shutdown_comes_between(make_executor, monkeypatch):
    """A call that makes a temporary file has a copy, to be made again by: making that may run any code."""
    executor = make_executor(worker_launch_method="manual")
    made = []
    fsencode = os.fsencode

    def shut_down_at_the_copy(path):
        if str(path).endswith("data") and threading.current_thread() is threading.main_thread():
            made.append(path)
            if len(made) == 2:
                executor.shutdown()
        return fsencode(path)

    monkeypatch.setattr(os, "fsencode", shut_down_at_the_copy)
    with pytest.raises(EngineStopped):
        executor.submit(make_file, {}, outputs=[TempFile("data")])
    assert len(made) == 2
    assert executor.outstanding() == 0


def press_ctrl_c():
    raise KeyboardInterrupt


def interrupt_at(n, function, strike=press_ctrl_c):
    """Throw KeyboardInterrupt into this thread at the n-th line of vinefast's, or do something else there; tells
    whether there are so many.

    Not within the standard library: where a `with` ends, a trace function can throw where a signal cannot.
    """
    lines = iter(range(n))
    ours = os.path.dirname(_teardown.__file__)

    def trace(frame, event, arg):
        if not frame.f_code.co_filename.startswith(ours):
            return None
        if event == "line" and next(lines, None) is None:
            sys.settrace(None)
            struck.append(n)
            strike()
        return trace

    struck = []
    sys.settrace(trace)
    try:
        function()
    except (KeyboardInterrupt, EngineStopped):
        pass
    finally:
        sys.settrace(None)
    return bool(struck)


def test_interrupted_at_any_line(make_executor, monkeypatch):
    """Once it has begun, it goes on; the next call waits for it, and begins if it has not."""
    begun = set()
    run = _teardown.Teardown.run

    def note_and_run(self):
        begun.add(self)  # also of another test's executor, which the collector has found
        run(self)

    monkeypatch.setattr(_teardown.Teardown, "run", note_and_run)
    n = n_begun = 0
    interrupted = True
    while interrupted:
        n += 1
        executor = make_executor(worker_launch_method="manual")
        futures = [executor.submit(abs, {}, -1) for _ in range(10)]
        interrupted = interrupt_at(n, executor.shutdown)
        if executor._teardown in begun:
            n_begun += 1
            for future in futures:
                assert isinstance(future.exception(10), EngineStopped)
        timed_shutdown(executor)
        for future in futures:
            assert isinstance(future.exception(0), EngineStopped)
    assert n > 20 and n_begun > 5


def test_start_is_interrupted(make_executor, mark):
    """Here and there, among some 17 000 lines: it leaves nothing running, and the executor is shut down."""
    n = 1
    executor = make_executor(start=False)
    while interrupt_at(n, executor.start):
        assert nothing_left(mark)
        assert wait_until(lambda: not [t for t in threading.enumerate() if t.name.startswith("vinefast-")])
        with pytest.raises(EngineStopped):
            executor.submit(abs, {}, -1)
        executor = make_executor(start=False)
        n += 499
    assert n > 5000
    assert executor.submit(abs, {}, -1).result(30) == 1


def test_a_signal_handler_shuts_down_what_is_starting(make_executor, mark):
    """Here and there as well: the start ends, with nothing left."""

    def start():
        with suppress(EngineStartError):  # it was shut down before it began
            executor.start()

    n = 1
    executor = make_executor(start=False)
    while interrupt_at(n, start, executor.shutdown):
        assert nothing_left(mark)
        with pytest.raises(EngineStopped):
            executor.submit(abs, {}, -1)
        executor = make_executor(start=False)
        n += 499
    assert n > 5000


def test_ctrl_c_while_a_worker_takes_its_time(make_executor, mark, monkeypatch):
    executor = make_executor()
    futures = [executor.submit(time.sleep, {}, 60) for _ in range(10)]
    stopping, go_on = threading.Event(), threading.Event()
    stop = executor._parts.launcher.stop

    def stop_late():
        stopping.set()
        assert go_on.wait(30)
        stop()

    executor._teardown.callback(stop_late)
    threading.Thread(target=lambda: stopping.wait(30) and os.kill(os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        executor.shutdown()
    go_on.set()
    for future in futures:
        assert isinstance(future.exception(10), EngineStopped)
    assert nothing_left(mark)
    timed_shutdown(executor)


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


def test_the_end_of_a_block_waits_for_calls(make_executor, mark):
    """Those that callbacks submit meanwhile included, as long as they are submitted before theirs return."""
    futures, chained = [], []
    with make_executor(start=False) as executor:
        futures.extend(executor.submit(time.sleep, {}, 0.01) for _ in range(100))
        futures.append(executor.submit(time.sleep, {}, 1))
        futures.append(executor.submit(divmod, {}, 1, 0))
        futures[0].add_done_callback(lambda future: chained.append(executor.submit(time.sleep, {}, 1.5)))
        cancelled = executor.submit(abs, {}, -1)
        cancelled.cancel()
    assert all(future.done() for future in futures)
    assert all(future.exception(0) is None for future in futures[:-1])
    assert isinstance(futures[-1].exception(0), ZeroDivisionError)
    assert chained[0].exception(0) is None
    with pytest.raises(EngineStopped):
        executor.submit(abs, {}, -1)
    assert nothing_left(mark)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_the_end_of_a_block_that_raises_does_not(make_executor, mark, error):
    start = time.monotonic()
    with pytest.raises(error), make_executor(start=False) as executor:
        future = executor.submit(time.sleep, {}, 60)
        raise error
    assert time.monotonic() - start < BOUND
    assert isinstance(future.exception(0), EngineStopped)
    assert nothing_left(mark)


def test_ctrl_c_while_the_end_of_a_block_waits(make_executor, mark):
    executor = make_executor()

    def interrupt():
        assert wait_until(lambda: executor.stats()["calls_submitted"] == 1)
        os.kill(os.getpid(), signal.SIGINT)

    interrupter = threading.Thread(target=interrupt)
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt), executor:
        interrupter.start()
        future = executor.submit(time.sleep, {}, 60)
    assert time.monotonic() - start < BOUND
    assert isinstance(future.exception(0), EngineStopped)
    assert nothing_left(mark)


def test_the_end_of_a_block_after_the_executor_could_not_go_on(make_executor):
    with make_executor(worker_launch_method="manual") as executor:
        future = executor.submit(abs, {}, -1)
        executor.set_bad_state_and_fail_all(ValueError("blocks keep failing"))
    assert isinstance(future.exception(0), BadStateException)


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
    assert not left_of(mark, 20)


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL], ids=["term", "kill"])
@pytest.mark.parametrize("worker", ["alive", "killed"])
def test_no_temporary_file_is_left_by_a_killed_program(mark, tmp_path, monkeypatch, worker, end):
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    script = tmp_path / "script.py"
    kill_worker = "os.kill(parsl.dfk().executors['VineFastExecutor']._parts.launcher._processes[0].pid, 9)"
    ending = f"import os\n{kill_worker if worker == 'killed' else ''}\nos.kill(os.getpid(), {end:d})\n"
    script.write_text(textwrap.dedent(PROGRAM.partition("futures =")[0]) + ending)
    subprocess.run([sys.executable, str(script), str(tmp_path / "runinfo")], timeout=60)
    assert not left_of(mark, 20)
    assert list(scratch.iterdir()) == []


def test_ctrl_c(mark, tmp_path):
    program = run_program(tmp_path, "time.sleep(60)")
    start = time.monotonic()
    os.kill(program.pid, signal.SIGINT)
    _, errors = program.communicate(timeout=30)
    assert time.monotonic() - start < BOUND
    assert "KeyboardInterrupt" in errors
    assert nothing_left(mark)


LONG_END = """
    import sys, time
    from vinefast import VineFastExecutor

    def take_time():
        print("ending", flush=True)
        time.sleep(1)
        print("ended", flush=True)

    executor = VineFastExecutor()
    executor.run_dir = sys.argv[1]
    executor.start()
    futures = [executor.submit(time.sleep, {}, 60) for _ in range(10)]
    executor._teardown.callback(take_time)
"""


def test_ctrl_c_at_the_end_of_a_program(mark, tmp_path):
    program = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(LONG_END), str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert program.stdout.readline() == "ending\n"
    for _ in range(3):
        program.send_signal(signal.SIGINT)
        time.sleep(0.1)
    out, errors = program.communicate(timeout=30)
    assert out == "ended\n"
    assert "KeyboardInterrupt" not in errors
    assert nothing_left(mark)


def test_ctrl_c_while_an_executor_is_collected(make_executor, mark):
    executor = make_executor()
    steps = []
    executor._teardown.callback(lambda: (os.kill(os.getpid(), signal.SIGINT), time.sleep(0.1), steps.append("after")))
    with pytest.raises(KeyboardInterrupt):
        executor._teardown.run_at_end()
        time.sleep(1)
    assert steps == ["after"]
    assert nothing_left(mark)


def test_end_of_a_program_that_never_cleans_up(mark, tmp_path):
    program = run_program(tmp_path, "")
    _, errors = program.communicate(timeout=60)
    assert program.returncode == 0, errors
    assert nothing_left(mark)


FORKING = """
    import os, sys, time
    from concurrent.futures import wait
    from vinefast import EngineStopped, VineFastExecutor

    executor = VineFastExecutor()
    executor.run_dir = sys.argv[1]
    executor.start()
    assert executor.submit(abs, {}, -1).result(30) == 1
    pending = executor.submit(time.sleep, {}, 2)
    pid = os.fork()
    if not pid:
        for ask in (
            lambda: executor.submit(abs, {}, -1),
            pending.result,
            pending.exception,
            lambda: pending.result(60),
            lambda: wait([pending]),
        ):
            try:
                ask()
            except EngineStopped as error:
                assert str(os.getpid()) in str(error) and str(os.getppid()) in str(error), error
            else:
                sys.exit("taken")
        assert not pending.cancel()
        executor.__exit__(None, None, None)
        for call in (lambda: list(executor.map(abs, [-1])), lambda: list(executor.submit_many(abs, [(-1,)]))):
            try:
                call()
            except EngineStopped:
                pass
            else:
                sys.exit("taken")
        executor.shutdown()
        other = VineFastExecutor(label="other")
        other.run_dir = sys.argv[1]
        with other:
            assert other.submit(abs, {}, -2).result(30) == 2
        sys.exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert executor.submit(abs, {}, -3).result(30) == 3
    assert pending.result(30) is None
    assert executor.stats()["workers_joined"] == 1
    executor.shutdown()
    print("all is well")
"""


def test_a_process_that_the_program_forks_is_told(mark, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(FORKING), str(tmp_path)], capture_output=True, text=True, timeout=120
    )
    assert done.stdout == "all is well\n", done.stderr
    assert nothing_left(mark)


CTRL_C = """
    import sys, time
    import parsl
    from vinefast import VineFastExecutor

    @parsl.python_app
    def nap(seconds):
        import time
        time.sleep(seconds)

    parsl.load(parsl.Config(executors=[VineFastExecutor()], run_dir=sys.argv[1]))
    with parsl.dfk():
        futures = [nap(60) for _ in range(1000)]
        print("running", flush=True)
        time.sleep(60)
"""


def test_ctrl_c_with_a_thousand_apps(mark, tmp_path):
    program = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(CTRL_C), str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert program.stdout.readline() == b"running\n"
    time.sleep(0.5)
    program.send_signal(signal.SIGINT)
    program.communicate(timeout=60)
    (log,) = tmp_path.glob("*/parsl.log")
    assert log.stat().st_size < 20_000_000
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
