"""What ends a program where it is raised ends no thread of the engine, and no call but its own."""

import asyncio
import logging
import sys
import threading

import parsl
import pytest

from tests.helpers.waiting import HeldCall, wait_until
from vinefast import RemoteError


class Ending(BaseException):
    """No Exception, as GeneratorExit and asyncio.CancelledError."""


class Silent(Exception):
    """Its repr raises, and with that what Parsl's log does with it."""

    def __repr__(self):
        raise LookupError("no repr")


class Refusing(Exception):
    """Cannot be rebuilt, and what it then raises has no repr either."""

    def __reduce__(self):
        return refuse, ()


def refuse():
    raise Silent("from unpickling")


ENDINGS = [SystemExit(3), KeyboardInterrupt("3"), GeneratorExit(3), asyncio.CancelledError(3), Ending(3)]


def throw(exception):
    raise exception


def throw_new(kind, text):
    raise kind(text)


def answers(executor):
    return executor.submit(abs, {}, -1).result(30) == 1


@pytest.mark.parametrize("exception", ENDINGS, ids=repr)
def test_what_is_no_exception_comes_back_as_an_error_that_names_it(executor, exception):
    with pytest.raises(RemoteError, match=f"{type(exception).__name__}: 3") as caught:
        executor.submit(throw, {}, exception).result(30)
    assert type(caught.value.__cause__) is type(exception)
    with pytest.raises(RemoteError, match=f"{type(exception).__name__}: 3"):
        list(executor.map(throw, [exception]))
    assert answers(executor)


@pytest.mark.parametrize("kind", [Silent, Refusing])
def test_an_exception_with_no_repr_comes_back_by_name(executor, kind):
    with pytest.raises(RemoteError, match=f"{kind.__name__}: my text"):
        executor.submit(throw_new, {}, kind, "my text").result(30)
    assert answers(executor)


def returns_refusing():
    return Refusing()


def test_a_result_whose_rebuilding_has_no_repr(executor):
    with pytest.raises(parsl.serialize.errors.DeserializationError, match="Silent, whose repr raises LookupError"):
        executor.submit(returns_refusing, {}).result(30)
    assert answers(executor)


@pytest.mark.parametrize("exception", ENDINGS, ids=repr)
@pytest.mark.parametrize("waited_for", [False, True])
def test_a_callback_may_raise_anything(executor, caplog, exception, waited_for):
    seen = []
    call = HeldCall(executor)
    future = call.future
    future.add_done_callback(lambda _: throw(exception))
    future.add_done_callback(seen.append)
    waiter = threading.Thread(target=future.result, args=(30,))
    if waited_for:  # the future has a lock then
        waiter.start()
        assert wait_until(lambda: future._condition._waiters)
    call.release()
    assert future.result(30) is None
    assert answers(executor)
    assert seen == [future]
    assert f"{type(exception).__name__}: 3" in caplog.text
    if waited_for:
        waiter.join()


class Sick(logging.Handler):
    def emit(self, record):
        raise Ending("the log")


def test_not_even_the_log_of_what_a_callback_raised(executor, monkeypatch):
    written = []
    monkeypatch.setattr(sys, "unraisablehook", written.append)
    handler = Sick()
    log = logging.getLogger("concurrent.futures")
    log.addHandler(handler)
    try:
        call = HeldCall(executor)
        call.future.add_done_callback(lambda _: throw(Ending("a callback")))
        call.release()
        assert call.future.result(30) is None
        assert answers(executor)
    finally:
        log.removeHandler(handler)
    assert all(unraisable.exc_type is Ending for unraisable in written)
