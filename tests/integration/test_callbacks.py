"""Bringing values and files back in done callbacks, which run on the thread that finishes futures."""

import pickle
import threading
from concurrent.futures import TimeoutError as FutureTimeoutError
from pathlib import Path

import parsl
import pytest
from parsl.dataflow.memoization import BasicMemoizer
from parsl.utils import get_all_checkpoints

import vinefast
from tests.integration.processes import wait_for_file, wait_until
from vinefast import EngineStopped, Kept, TempFile


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


def after(future, function):
    callback = Callback(function)
    future.add_done_callback(callback)
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
    assert executor.outstanding() == 0


def test_what_other_threads_bring_back_comes_meanwhile(executor, tmp_path):
    """A callback that waits for a file does not keep another thread from another file."""
    flag, late, there = tmp_path / "flag", TempFile("late"), TempFile("there")
    executor.submit(write, {}, "there", outputs=[there]).result(30)
    executor.submit(write, {}, "late", str(flag), outputs=[late])
    begun = threading.Event()

    def look(future):
        begun.set()
        return Path(late.fetch()).read_text()

    callback = after(executor.submit(pow, {}, 2, 3), look)
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

    busy = returned_after(lambda: after(executor.submit(abs, {}, -1), lambda future: go.wait(30)))
    callback = returned_after(lambda: after(executor.submit(abs, {}, -2), lambda future: file.fetch(timeout=30)))
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
        after(executor.submit(abs, {}, -1), lambda future, other=1 - i: look(other))
        for i, executor in enumerate(executors)
    ]
    assert [callback.outcome() for callback in callbacks] == [[1] * 20, [0] * 20]


def test_a_timeout_holds(executor, tmp_path):
    flag, file = tmp_path / "flag", TempFile("late")
    making = executor.submit(write, {}, "late", str(flag), outputs=[file])
    callback = after(executor.submit(abs, {}, -1), lambda future: file.fetch(timeout=0.2))
    assert isinstance(callback.outcome(), FutureTimeoutError)
    flag.touch()
    assert making.result(30) is None
    assert Path(file.fetch(timeout=30)).read_text() == "late"


def test_what_fails_there_says_why(executor):
    def look(future):
        return TempFile("none").fetch()

    assert isinstance(after(executor.submit(abs, {}, -1), look).outcome(), vinefast.errors.InputMissing)


def test_shutdown_ends_the_wait(make_executor, tmp_path):
    executor = make_executor()
    flag, file, begun = tmp_path / "flag", TempFile("late"), threading.Event()
    executor.submit(write, {}, "late", str(flag), outputs=[file])

    def look(future):
        begun.set()
        return file.fetch()

    callback = after(executor.submit(abs, {}, -1), look)
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
