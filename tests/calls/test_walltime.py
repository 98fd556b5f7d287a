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


def test_wrappers_around_the_timer_stay_and_it_goes():
    limited = timeout(add, 2.5)

    @functools.wraps(limited)
    def monitored(*args, plus=0, **kwargs):
        return limited(*args, **kwargs) + plus

    def staged(*args, **kwargs):
        return monitored(*args, plus=10, **kwargs)

    for wrapper, expected in ((monitored, 3), (staged, 13)):
        function, seconds = without_walltime(wrapper)
        assert seconds == 2.5 and function is not wrapper and walltime_of(function) is None
        assert function(1, 2) == wrapper(1, 2) == expected and function.__name__ == wrapper.__name__
    assert without_walltime(monitored)[0].__wrapped__ is add and walltime_of(monitored) == 2.5


def test_one_that_cannot_be_taken_away_stays():
    outer = functools.partial(timeout(add, 2.5))
    assert without_walltime(outer) == (outer, None)

    def itself(n):
        return n and itself(n - 1)

    assert without_walltime(itself) == (itself, None)
    for seconds in (-1, "1", None):
        unlimited = timeout(add, seconds)  # Parsl says what it says to that
        assert without_walltime(unlimited) == (unlimited, None)
