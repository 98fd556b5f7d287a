"""Where is a call that runs? Its worker tells, and the call goes on."""

from __future__ import annotations

import itertools
import os
import re
import signal
import threading
import time
from concurrent.futures import Future

import parsl
import pytest

from tests.helpers.waiting import wait_until
from vinefast.errors import WaitInCallback


def innermost(path, seconds):
    path.write_text(str(os.getpid()))
    time.sleep(seconds)
    return "slept"


def sleep(path, seconds=60):
    return innermost(path, seconds)


def compute(path):
    path.write_text(str(os.getpid()))
    return sum(itertools.repeat(1, 10**13))


def deaf(path):
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    return innermost(path, 60)


def functions_of(stack):
    return re.findall(r"^  File .*, line \d+ in (\w+)$", stack, re.M)


def run(executor, function, path, *args):
    future = executor.submit(function, {}, path, *args)
    assert wait_until(path.exists, 30)
    return future


def test_a_call_that_runs(make_executor, tmp_path):
    executor = make_executor()
    futures = [run(executor, function, tmp_path / function.__name__) for function in (sleep, compute)]
    for _ in range(3):
        assert functions_of(executor.stack(futures[0])) == ["sleep", "innermost"]
        assert functions_of(executor.stack(futures[1])) == ["compute"]
    assert not any(future.done() for future in futures)


def test_it_goes_on(make_executor, tmp_path):
    executor = make_executor()
    future = run(executor, sleep, tmp_path / "a", 1.0)
    while not future.done():
        executor.stack(future)
    assert future.result() == "slept"


def test_the_right_one_of_a_bundle(make_executor, tmp_path):
    executor = make_executor(cancel_running=True)
    executor.submit(abs, {}, -1).result(30)
    futures = [executor.submit(sleep, {}, tmp_path / str(i), 0.0) for i in range(40)]
    futures += [executor.submit(sleep, {}, tmp_path / "long")]
    futures += [executor.submit(sleep, {}, tmp_path / str(i), 0.0) for i in range(40, 80)]
    assert wait_until((tmp_path / "long").exists, 30)
    assert functions_of(executor.stack(futures[40])) == ["sleep", "innermost"]
    assert [executor.stack(future) for future in (futures[0], futures[79])] == [None, None]


def test_one_that_does_not_run(make_executor, tmp_path):
    executor = make_executor()
    done = executor.submit(abs, {}, -1)
    assert done.result(30) == 1 and executor.stack(done) is None
    futures = [executor.submit(time.sleep, {}, 60) for _ in range(50)]
    assert executor.stack(futures[-1]) is None
    with pytest.raises(TypeError, match="is no future of a call or app"):
        executor.stack(Future())


def test_signals_are_blocked(make_executor, tmp_path):
    executor = make_executor()
    future = run(executor, deaf, tmp_path / "a")
    assert executor.stack(future) == ""


def forgetful(path):
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    return innermost(path, 60)


def test_no_handler_is_there(make_executor, tmp_path):
    """Who would end by the signal is not sent it."""
    executor = make_executor()
    future = run(executor, forgetful, tmp_path / "a")
    assert executor.stack(future) == "" and not future.done()


def deaf_beside_a_thread(path):
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
    return deaf(path)


def test_another_thread_is_not_the_call(make_executor, tmp_path):
    executor = make_executor()
    assert executor.stack(run(executor, deaf_beside_a_thread, tmp_path / "a")) == ""


def test_a_process_that_is_suspended(make_executor, tmp_path):
    executor = make_executor()
    future = run(executor, sleep, tmp_path / "a")
    pid = int((tmp_path / "a").read_text())
    os.kill(pid, signal.SIGSTOP)
    try:
        assert executor.stack(future) == ""
    finally:
        os.kill(pid, signal.SIGCONT)
    assert functions_of(executor.stack(future)) == ["sleep", "innermost"]


def test_its_worker_does_not_answer(make_executor, tmp_path):
    executor = make_executor()
    future = run(executor, sleep, tmp_path / "a")
    child = int((tmp_path / "a").read_text())
    library = int(open(f"/proc/{child}/stat").read().rpartition(")")[2].split()[1])
    os.kill(library, signal.SIGSTOP)
    try:
        with pytest.raises(TimeoutError, match=r"has not answered within 0\.3 s"):
            executor.stack(future, timeout=0.3)
    finally:
        os.kill(library, signal.SIGCONT)
    assert functions_of(executor.stack(future)) == ["sleep", "innermost"]


def test_a_shutdown_meanwhile(make_executor, tmp_path):
    executor = make_executor()
    future = run(executor, sleep, tmp_path / "a")
    child = int((tmp_path / "a").read_text())
    library = int(open(f"/proc/{child}/stat").read().rpartition(")")[2].split()[1])
    os.kill(library, signal.SIGSTOP)
    answers = []
    thread = threading.Thread(target=lambda: answers.append(executor.stack(future, timeout=60)))
    thread.start()
    try:
        time.sleep(0.5)
        executor.shutdown()
        thread.join(30)
    finally:
        try:
            os.kill(library, signal.SIGCONT)
        except ProcessLookupError:
            pass
    assert answers == [None] and executor.stack(future) is None


def test_regular_mode(make_executor, tmp_path):
    executor = make_executor(function_exec_mode="regular")
    assert executor.stack(run(executor, sleep, tmp_path / "a")) is None


def test_in_a_callback(make_executor, tmp_path):
    executor = make_executor()
    future = run(executor, sleep, tmp_path / "a")
    caught = []

    def callback(done):
        try:
            executor.stack(future)
        except WaitInCallback as error:
            caught.append(error)

    other = executor.submit(abs, {}, -1)
    other.add_done_callback(callback)
    assert other.result(30) == 1
    assert wait_until(lambda: caught) or other.done()


def test_an_app(load, tmp_path):
    executor = load()

    @parsl.python_app
    def slow(path):
        import time

        path.touch()
        time.sleep(60)

    first = slow(tmp_path / "a")
    assert wait_until((tmp_path / "a").exists, 30)
    assert functions_of(executor.stack(first))[-1] == "slow"
    executor.cancel(first)
