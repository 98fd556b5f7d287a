"""The walltime of an app is found in the wrappers of Parsl's."""

import functools

from parsl.app.python import timeout

from vinefast.calls.walltime import walltime_of


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
