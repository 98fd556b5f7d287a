"""The functions of apps that generated programs call. Workers import this module.

Parsl hands an app's resource specification to its function, too.
"""

import functools
import os
import time
from pathlib import Path

from tests.differential.telling import tell
from tests.differential.values import EXCEPTIONS, RESULTS, Detailed, Own, Point

CRASH_STATUS = 7


def note(home, name):
    """Write down that a call has run; tells how often it has by now."""
    path = Path(home, name)
    with path.open("a") as file:
        file.write("ran\n")
    return len(path.read_text().splitlines())


def echo(home, *args, parsl_resource_specification=None, **kwargs):
    """Give what has come."""
    return args, kwargs


def tell_arguments(home, *args, parsl_resource_specification=None, **kwargs):
    """Tell what has come, as this process sees it."""
    return tell(args), tell(dict(sorted(kwargs.items())))


def tell_objects(home, *args, parsl_resource_specification=None):
    """Tell in which places the same object has come."""
    return tell(args, objects=True)


def give(home, name, parsl_resource_specification=None):
    """Return something."""
    return RESULTS[name]()


def fail(home, name, parsl_resource_specification=None):
    """Raise something."""
    raise EXCEPTIONS[name]()


def fail_far_down(home, depth, parsl_resource_specification=None):
    """Raise an exception in calls of calls, of another one; without a depth, all that there may be."""
    if depth == 0:
        try:
            fail(home, "KeyError")
        except KeyError as error:
            raise Own("far down") from error
    return fail_far_down(home, depth and depth - 1)


def fail_some(home, number, *args):
    """Of a join_app with many: some raise, the others give what has come."""
    if number % 7 == 3:
        raise Detailed(number)
    return number, args


def crash(home, parsl_resource_specification=None):
    """End the process."""
    os._exit(CRASH_STATUS)


def flaky(home, n_failures, step, parsl_resource_specification=None):
    """Fail the first times."""
    n_tries = note(home, f"flaky-{step}")
    if n_tries <= n_failures:
        raise Detailed(n_tries)
    return n_tries


def change(home, values, step, parsl_resource_specification=None):
    """Change the argument, and fail the first time."""
    values.append("changed")
    if note(home, f"change-{step}") == 1:
        raise Own("try again")
    return values


def slow(home, seconds, walltime=None, parsl_resource_specification=None):
    """Take time, in steps so short that Parsl can interrupt them."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.01)
    return "slept"


def remembered(home, key, ignored=None, parsl_resource_specification=None):
    """Have an effect that shows how often this has run."""
    note(home, f"remembered-{len(key)}-{sum(key)}")
    if len(key) > 2:
        raise Own(key)
    return [key, "x"]


def write(home, *texts, inputs=(), outputs=(), parsl_resource_specification=None):
    """Write each output, of what is in the inputs."""
    read = [Path(path).read_text() for path in inputs]
    for i, output in enumerate(outputs):
        Path(output).write_text(f"{i}{texts}{read}")
    return len(outputs), read


def forget(home, outputs=(), parsl_resource_specification=None):
    """Write nothing of what was promised."""
    return "forgot"


def lines(
    home,
    text,
    status=0,
    inputs=(),
    outputs=(),
    stdout=None,
    stderr=None,
    walltime=None,
    parsl_resource_specification=None,
):
    """Of a bash_app: print, write and end with a status."""
    files = " ".join(f'"{path}"' for path in inputs)
    copies = "".join(f' cat {files} /dev/null > "{path}";' for path in outputs)
    return f"echo 'out {text}'; echo 'err {text}' >&2;{copies} exit {status}"


def wait(home, seconds, stdout=None, stderr=None, walltime=None, parsl_resource_specification=None):
    """Of a bash_app: take time."""
    return f"exec sleep {seconds}"


def no_command(home, result, parsl_resource_specification=None):
    """Of a bash_app: return what is no command, or raise."""
    if result == "raise":
        raise Own("no command")
    return {"none": None, "number": 3, "empty": "", "nul": "echo a\0b", "missing": "no-such-command-here"}[result]


# Functions that have to travel by value, made of one.


def _closure(value):
    def inner(home, *args, **kwargs):
        return value, args, kwargs

    return inner


def _recursive(value):
    def inner(home, *args, depth=3, **kwargs):
        return inner(home, *args, depth=depth - 1, **kwargs) if depth else (value, args, kwargs)

    return inner


def _decorated(value):
    def twice(function):
        @functools.wraps(function)
        def both(*args, **kwargs):
            return function(*args, **kwargs), function(*args, **kwargs)

        return both

    return twice(_closure(value))


def _defaults(value):
    def inner(home, *args, default=value, **kwargs):
        return default, args, kwargs

    return inner


def _failing(value):
    def inner(home, *args, **kwargs):
        class Inner(Own):
            pass

        raise Inner(value, len(args))

    return inner


def _method(value):
    class Inner(Point):
        def method(self, home, *args, **kwargs):
            return self.x, self.y, args, kwargs

    return Inner(value, 1).method


MADE = {
    "closure": _closure,
    "lambda": lambda value: lambda home, *args, **kwargs: (value, len(args), kwargs),
    "recursive": _recursive,
    "decorated": _decorated,
    "defaults": _defaults,
    "failing": _failing,
    "method": _method,
}
