"""A temporary file is made once: what happens to calls that would make it again."""

import os
import threading

import parsl
import pytest
from parsl.executors.errors import InvalidResourceSpecification
from parsl.serialize.errors import SerializationError

from tests.helpers.waiting import wait_for_file
from vinefast import TempFile
from vinefast.errors import InputMissing, InvalidConfiguration


@pytest.fixture
def executor(make_executor):
    return make_executor()


def write(text, flag=None, outputs=()):
    if flag is not None:
        wait_for_file(flag)
    with open(outputs[0], "w") as file:
        file.write(text)


def fail(outputs=()):
    with open(outputs[0], "w") as file:
        file.write("half")
    raise LookupError("on purpose")


def read(file):
    with open(file) as opened:
        return opened.read()


def update(file, outputs=()):
    raise AssertionError("it is not to run")


def test_a_second_call_does_not_make_it(executor):
    file = TempFile("a")
    executor.submit(write, {}, "first", outputs=[file]).result(30)
    for second, args in ((write, ("second",)), (fail, ()), (update, (file,))):
        with pytest.raises(InvalidConfiguration, match="'a' is made by another call.*a new TempFile"):
            executor.submit(second, {}, *args, outputs=[file])
    assert executor.submit(read, {}, file).result(30) == "first"


def test_nor_while_the_first_is_at_work(executor, tmp_path):
    file, flag = TempFile("a"), tmp_path / "flag"
    first = executor.submit(write, {}, "first", str(flag), outputs=[file])
    with pytest.raises(InvalidConfiguration, match="'a' is made by another call"):
        executor.submit(write, {}, "second", outputs=[file])
    reading = executor.submit(read, {}, file)
    flag.touch()
    assert first.result(30) is None
    assert reading.result(30) == "first"


def test_with_parsl_the_second_app_fails(load):
    load({"retries": 1})
    file = TempFile("a")
    first = parsl.python_app(write)("first", outputs=[file])
    second = parsl.python_app(write)("second", outputs=[file])
    assert isinstance(second.exception(), InvalidConfiguration)
    assert parsl.python_app(read)(first.outputs[0]).result() == "first"


def test_what_could_not_be_submitted_makes_nothing(executor):
    file = TempFile("a")
    with pytest.raises(SerializationError):
        executor.submit(write, {}, (i for i in range(3)), outputs=[file])
    with pytest.raises(InputMissing, match="'a': no app makes this temporary file"):
        executor.submit(read, {}, file)
    executor.submit(write, {}, "text", outputs=[file]).result(30)
    assert executor.submit(read, {}, file).result(30) == "text"


def test_it_is_made_after_a_call_that_failed_to(executor):
    file = TempFile("a")
    failed = executor.submit(fail, {}, outputs=[file])
    with pytest.raises(LookupError):
        failed.result(30)
    with pytest.raises(InputMissing, match="a: the call that makes this temporary file has failed"):
        executor.submit(read, {}, file).result(30)
    executor.submit(write, {}, "text", outputs=[file]).result(30)
    assert executor.submit(read, {}, file).result(30) == "text"


def test_it_is_made_after_a_call_that_was_cancelled(make_executor, tmp_path):
    """The former call is still in the engine when the next one comes."""
    executor = make_executor()
    flag = tmp_path / "flag"
    busy = [executor.submit(wait_for_file, {}, str(flag)) for _ in range(4 * os.cpu_count())]
    file = TempFile("a")
    cancelled = executor.submit(write, {}, "cancelled", outputs=[file])
    of_the_cancelled = executor.submit(read, {}, file)
    assert cancelled.cancel()
    making = executor.submit(write, {}, "made", outputs=[file])
    reading = executor.submit(read, {}, file)
    flag.touch()
    assert making.result(30) is None
    assert reading.result(30) == "made"
    with pytest.raises(InputMissing, match="a: the call that makes this temporary file has failed"):
        of_the_cancelled.result(30)
    assert executor.submit(read, {}, file).result(30) == "made"
    assert [future.result(30) for future in busy] == [None] * len(busy)


def test_it_is_made_after_a_call_that_was_refused(executor):
    """The former call is still in the engine when the next one comes."""
    file = TempFile("a")
    refused = executor.submit(write, {"cores": 1000}, "refused", outputs=[file])
    assert isinstance(refused.exception(30), InvalidResourceSpecification)
    executor.submit(write, {}, "made", outputs=[file]).result(30)
    assert executor.submit(read, {}, file).result(30) == "made"


def test_of_threads_that_would_make_it_at_once_one_does(executor):
    for i in range(20):
        file, made, refused = TempFile("a"), [], []
        start = threading.Barrier(4)

        def make(name, file=file, made=made, refused=refused, start=start):
            start.wait(30)
            try:
                executor.submit(write, {}, name, outputs=[file]).result(30)
                made.append(name)
            except InvalidConfiguration:
                refused.append(name)

        threads = [threading.Thread(target=make, args=(f"{i} {k}",)) for k in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (len(made), len(refused)) == (1, 3)
        assert executor.submit(read, {}, file).result(30) == made[0]
