"""Bringing values and files back in done callbacks, which run on the thread that finishes futures."""

import pickle
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import TimeoutError as FutureTimeoutError
from concurrent.futures import as_completed, wait
from pathlib import Path

import parsl
import pytest
from parsl.dataflow.memoization import BasicMemoizer
from parsl.utils import get_all_checkpoints

import vinefast
from tests.helpers.processes import processes_marked
from tests.helpers.waiting import HeldCall, wait_for_file, wait_until
from vinefast import EngineStopped, Kept, TempFile
from vinefast.errors import WaitInCallback
from vinefast.workers import watchdog


@vinefast.mark(keep=True)
def keep(value):
    return value


def write(text, flag=None, outputs=()):
    if flag is not None:
        wait_for_file(flag)
    with open(outputs[0], "w") as file:
        file.write(text)


class Callback:
    """A done callback, and what became of it."""

    def __init__(self, function):
        self._function = function
        self._done = threading.Event()
        self._outcome = None

    def __call__(self, future):
        try:
            self._outcome = self._function(future)
        except BaseException as error:
            self._outcome = error
        self._done.set()

    def outcome(self, seconds=30):
        assert self._done.wait(seconds)
        return self._outcome


def after(call, function):
    callback = Callback(function)
    if isinstance(call, HeldCall):
        call.future.add_done_callback(callback)
        call.release()
    else:
        call.add_done_callback(callback)
    return callback


@pytest.fixture
def executor(make_executor):
    return make_executor()


def test_a_kept_value(executor):
    callback = after(executor.submit(keep, {}, "value"), lambda future: future.result().result())
    assert callback.outcome() == "value"
    pickled = after(executor.submit(keep, {}, [1]), lambda future: pickle.dumps(future.result()))
    assert pickle.loads(pickled.outcome()) == [1]


def test_a_file(executor, tmp_path):
    file = TempFile("a")

    def look(future):
        return Path(file.fetch()).read_text(), Path(file.fetch(str(tmp_path / "b"))).read_text(), open(file).read()

    callback = after(executor.submit(write, {}, "text", outputs=[file]), look)
    assert callback.outcome() == ("text", "text", "text")


def test_of_many_each_is_called_in_its_turn_and_not_within_another(executor):
    inside, order, callbacks = [], [], []

    def look(future, i):
        assert not inside
        inside.append(i)
        order.append(i)
        value = future.result().result()
        inside.pop()
        return value

    for i in range(300):
        callbacks.append(after(executor.submit(keep, {}, i), lambda future, i=i: look(future, i)))
    assert [callback.outcome(60) for callback in callbacks] == list(range(300))
    assert len(set(order)) == 300
    assert executor.submit(pow, {}, 2, 3).result(30) == 8
    assert wait_until(lambda: executor.outstanding() == 0, 60)


def test_what_other_threads_bring_back_comes_meanwhile(executor, tmp_path):
    """A callback that waits for a file does not keep another thread from another file."""
    flag, late, there = tmp_path / "flag", TempFile("late"), TempFile("there")
    executor.submit(write, {}, "there", outputs=[there]).result(30)
    executor.submit(write, {}, "late", str(flag), outputs=[late])
    begun = threading.Event()

    def look(future):
        begun.set()
        return Path(late.fetch()).read_text()

    callback = after(HeldCall(executor), look)
    assert begun.wait(30)
    assert Path(there.fetch(timeout=30)).read_text() == "there"
    flag.touch()
    assert callback.outcome() == "late"


def test_what_has_come_together_with_the_call_that_is_finished(executor):
    """Another thread has asked for the file, which is there before the callback's turn comes."""
    file, go = TempFile("a"), threading.Event()
    executor.submit(write, {}, "text", outputs=[file]).result(30)

    def returned_after(function):
        before = executor.stats()["calls_returned"]
        outcome = function()
        assert wait_until(lambda: executor.stats()["calls_returned"] == before + 1)
        return outcome

    busy = returned_after(lambda: after(HeldCall(executor), lambda future: go.wait(30)))
    callback = returned_after(lambda: after(HeldCall(executor), lambda future: file.fetch(timeout=30)))
    found = []
    other = threading.Thread(target=lambda: found.append(file.fetch(timeout=30)))
    returned_after(other.start)
    go.set()
    assert busy.outcome()
    assert Path(callback.outcome(10)).read_text() == "text"
    other.join(30)
    assert found == [callback.outcome()]


def test_two_executors_that_wait_for_each_other(make_executor):
    executors = [make_executor(), make_executor()]
    values = [executor.submit(keep, {}, i).result(30) for i, executor in enumerate(executors)]
    both = threading.Barrier(2)

    def look(other):
        both.wait(30)
        return [values[other].result() for _ in range(20)]

    callbacks = [
        after(HeldCall(executor), lambda future, other=1 - i: look(other)) for i, executor in enumerate(executors)
    ]
    assert [callback.outcome() for callback in callbacks] == [[1] * 20, [0] * 20]


def test_a_timeout_holds(executor, tmp_path):
    flag, file = tmp_path / "flag", TempFile("late")
    making = executor.submit(write, {}, "late", str(flag), outputs=[file])
    callback = after(HeldCall(executor), lambda future: file.fetch(timeout=0.2))
    assert isinstance(callback.outcome(), FutureTimeoutError)
    flag.touch()
    assert making.result(30) is None
    assert Path(file.fetch(timeout=30)).read_text() == "late"


def test_what_fails_there_says_why(executor):
    def look(future):
        return TempFile("none").fetch()

    assert isinstance(after(HeldCall(executor), look).outcome(), vinefast.errors.InputMissing)


def test_shutdown_ends_the_wait(make_executor, tmp_path):
    executor = make_executor()
    flag, file, begun = tmp_path / "flag", TempFile("late"), threading.Event()
    executor.submit(write, {}, "late", str(flag), outputs=[file])

    def look(future):
        begun.set()
        return file.fetch()

    callback = after(HeldCall(executor), look)
    assert begun.wait(30)
    executor.shutdown()
    assert isinstance(callback.outcome(), EngineStopped)
    flag.touch()


def test_parsl_checkpoints_kept_values(load):
    load({"memoizer": BasicMemoizer(checkpoint_mode="task_exit")})

    @vinefast.python_app(keep=True, cache=True)
    def make(n):
        return list(range(n))

    @parsl.python_app
    def count(values):
        return len(values)

    made = [make(n) for n in range(1, 30)]
    assert [count(each).result() for each in made] == list(range(1, 30))
    assert all(isinstance(each.result(), Kept) for each in made)
    run_dir = Path(parsl.dfk().run_dir)
    parsl.dfk().cleanup()
    found = []
    for checkpoint in get_all_checkpoints(str(run_dir.parent)):
        with open(Path(checkpoint) / "tasks.pkl", "rb") as file:
            while True:
                try:
                    found.append(pickle.load(file)["result"])
                except EOFError:
                    break
    assert sorted(map(len, found)) == list(range(1, 30))


def nap(value=None):
    time.sleep(0.05)
    return value


WAITS = {
    "result": lambda executor: executor.submit(nap, {}).result(),
    "result with a time-out": lambda executor: executor.submit(nap, {}).result(60),
    "exception": lambda executor: executor.submit(nap, {}).exception(),
    "wait": lambda executor: wait([executor.submit(nap, {}) for _ in range(3)]),
    "as_completed": lambda executor: list(as_completed([executor.submit(nap, {})])),
    "map": lambda executor: list(executor.map(nap, range(1000))),
    "submit_many": lambda executor: [future.result() for future in executor.submit_many(nap, [(1,)] * 10)],
}


@pytest.mark.parametrize("how", WAITS)
def test_who_waits_for_an_ordinary_call_is_told_at_once(executor, how):
    callback = after(HeldCall(executor), lambda future: WAITS[how](executor))
    assert isinstance(callback.outcome(), WaitInCallback)
    assert executor.submit(abs, {}, -2).result(30) == 2
    assert wait_until(lambda: executor.outstanding() == 0, 60)


def test_who_only_asks_gets_an_answer(executor):
    def ask(future):
        other = executor.submit(nap, {})
        with pytest.raises(FutureTimeoutError):
            other.result(0)
        return other.done(), other

    done, other = after(HeldCall(executor), ask).outcome()
    assert not done and other.result(30) is None


def test_the_next_call_may_have_a_callback_of_its_own(executor):
    last = Callback(lambda future: future.result())
    executor.submit(abs, {}, -1).add_done_callback(
        lambda future: executor.submit(pow, {}, 2, 3).add_done_callback(
            lambda future: executor.submit(pow, {}, future.result(), 2).add_done_callback(last)
        )
    )
    assert last.outcome() == 64


def test_another_executors_call_may_be_waited_for(make_executor):
    one, other = make_executor(), make_executor()
    assert after(HeldCall(one), lambda future: other.submit(abs, {}, -2).result(30)).outcome() == 2


@pytest.mark.parametrize("end", ["refused", "bad state", "shutdown"])
def test_of_calls_that_fail_together_none_waits_for_another(make_executor, end):
    executor = make_executor(**({} if end == "refused" else {"worker_launch_method": "manual"}))
    futures = [executor.submit(abs, {"cores": 1000} if end == "refused" else {}, -1) for _ in range(3)]
    callbacks = [after(futures[i], lambda future, i=i: futures[i - 1].exception()) for i in range(3)]
    if end == "bad state":
        executor.set_bad_state_and_fail_all(ValueError("blocks keep failing"))
    elif end == "shutdown":
        executor.shutdown()
    outcomes = [callback.outcome() for callback in callbacks]
    assert isinstance(outcomes[0], WaitInCallback)  # the last one had not failed when the first did
    assert all(future.exception(30) is not None for future in futures)


def test_who_holds_up_all_calls_is_shown_once(load, monkeypatch, caplog):
    monkeypatch.setattr(watchdog, "_CALLBACK_S", 0.5)
    load()
    go_on = threading.Event()

    @parsl.python_app
    def app():
        return 1

    def wait_for_another(future):
        other = app()
        while not other.done() and not go_on.wait(0.1):
            pass

    app().add_done_callback(wait_for_another)
    try:
        assert wait_until(lambda: "wait_for_another" in caplog.text, 30)
        time.sleep(4 * watchdog._LOOK_S)
    finally:
        go_on.set()
    (said,) = [record for record in caplog.records if record.name == "vinefast.workers.watchdog"]
    assert "done callbacks run one after the other" in said.getMessage()
    assert app().result(30) == 1


FORKING = """
    import os, sys, time
    from vinefast import VineFastExecutor
    from vinefast._core import finishes_futures

    executor = VineFastExecutor()
    executor.run_dir = sys.argv[1]
    executor.start()
    called, children = [], []

    def fork(future):
        assert finishes_futures()
        pid = os.fork()
        if pid:
            children.append(pid)
            return
        assert not finishes_futures()
        other = VineFastExecutor(label="other")
        other.run_dir = sys.argv[1]
        with other:
            assert other.submit(abs, {}, -2).result(30) == 2
        with open(os.path.join(sys.argv[1], "child"), "w") as file:
            file.write("worked")

    def note(future):
        with open(os.path.join(sys.argv[1], f"noted-{os.getpid()}"), "a") as file:
            file.write("x")

    def wait_for_file(path):
        for _ in range(3000):
            if os.path.exists(path):
                return
            time.sleep(0.01)

    gate = os.path.join(sys.argv[1], "gate")
    futures = [executor.submit(wait_for_file, {}, gate) for _ in range(100)]
    futures[0].add_done_callback(fork)
    for future in futures:
        future.add_done_callback(note)
    open(gate, "w").close()
    for future in futures:
        future.result(30)
    assert os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1]) == 0
    executor.shutdown()
    names = os.listdir(sys.argv[1])
    assert [name for name in names if name.startswith("noted-")] == [f"noted-{os.getpid()}"], names
    assert "child" in names
    print("all is well")
"""


def test_a_callback_may_fork(mark, tmp_path):
    """In the child nothing is finished, and nobody's callback is called: it ends when the callback returns."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(FORKING), str(tmp_path)], capture_output=True, text=True, timeout=120
    )
    assert done.stdout == "all is well\n", done.stderr
    assert wait_until(lambda: not processes_marked(mark))
