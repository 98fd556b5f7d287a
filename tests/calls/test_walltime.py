"""The walltime of an app is found in the wrappers of Parsl's."""

import functools

from parsl.app.python import timeout

from vinefast.calls.walltime import walltime_of, without_walltime


def add(a, b):
    return a + b


class Proxy:
    """Has whatever one asks it for, as that of an object in another process."""

    def __getattr__(self, name):
        return Proxy()


def test_it_is_found_below_other_wrappers():
    limited = timeout(add, 2.5)
    assert walltime_of(add) is None
    assert walltime_of(limited) == 2.5
    assert walltime_of(functools.wraps(limited)(lambda *args: limited(*args))) == 2.5


def test_wrappers_without_an_end_have_none():
    def wrapper():
        pass

    wrapper.__wrapped__ = wrapper
    for function in (wrapper, Proxy()):
        assert walltime_of(function) is None


def test_the_function_is_given_without_parsls_timer():
    assert without_walltime(timeout(add, 2.5)) == (add, 2.5)
    assert without_walltime(add) == (add, None)


def test_one_that_cannot_be_taken_away_stays():
    limited = timeout(add, 2.5)
    outer = functools.wraps(limited)(lambda *args: limited(*args))
    assert without_walltime(outer) == (outer, 2.5)
    for seconds in (-1, "1", None):
        unlimited = timeout(add, seconds)  # Parsl says what it says to that
        assert without_walltime(unlimited) == (unlimited, None)
