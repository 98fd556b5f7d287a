"""Programs of dependent apps, as Hypothesis makes them up."""

import os

from hypothesis import strategies as st

from tests.differential.apps import MADE
from tests.differential.differences import TABLE
from tests.differential.program import Program, Ref, Step, Value
from tests.differential.values import EXCEPTIONS, RESULTS, VALUES

# What apps raise within a join_app, for that has no row in the table.
_EVERYWHERE = [name for name in sorted(EXCEPTIONS) if ("fail", name) not in TABLE]


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=2**62, max_value=2**70)
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=8)
    | st.sampled_from([b"x" * 70_000, "\0", "a\n\0b", 1j, range(2), frozenset((1, 2)), Ellipsis])
    | st.sampled_from(sorted(VALUES)).map(Value)
)


def _trees(leaves):
    """Give leaves, and nested containers of them."""
    return st.recursive(
        leaves,
        lambda parts: (
            st.lists(parts, max_size=3)
            | st.tuples(parts, parts)
            | st.dictionaries(st.text(max_size=3) | st.integers(), parts, max_size=3)
        ),
        max_leaves=5,
    )


# Resource specifications that are not to matter.
_ASKS = st.sampled_from(
    [
        *4 * [{}],
        {"priority": 1},
        {"category": "other"},
        {"cores": 1},
        {"cores": min(2, os.cpu_count() or 1)},
        {"memory": 1000, "enforce_memory": True},
        {"disk": 10},
        {"running_time_max": 60},
        {"capture_output": True},
    ]
)

# Which steps these are is said once it is known how many there are before.
_FUTURES = st.integers(0, 7).map(Ref)
_FILES = st.integers(0, 7).map(lambda number: Ref(number, file=True))
_ANYTHING = _trees(SCALARS | _FUTURES | _FILES)
_KWARGS = st.dictionaries(st.sampled_from(["a", "b", "label"]), _ANYTHING, max_size=2)
_INPUTS = st.lists(_FILES, max_size=2)
_OUTPUTS = st.integers(0, 2)
_STREAMS = {
    "stdout": st.sampled_from([None, "out", "AUTO", ("out", "a"), "sub/out"]),
    "stderr": st.sampled_from([None, "err", "AUTO", ("err", "w")]),
}


def _step(app, args, kwargs, kind):
    return st.builds(
        Step, app=st.just(app), args=args, kwargs=kwargs, kind=st.just(kind), wait=st.booleans(), asks=_ASKS
    )


def _call(app, *args, kind="python", **kwargs):
    return _step(app, st.tuples(*args), st.fixed_dictionaries(kwargs), kind)


def _call_with_any(app, *first, kind="python"):
    args = st.builds(lambda first, rest: (*first, *rest), st.tuples(*first), st.lists(_ANYTHING, max_size=3))
    return _step(app, args, _KWARGS, kind)


_STEPS = st.one_of(
    _call_with_any("echo"),
    _call_with_any("tell_arguments"),
    _call_with_any("echo", kind="join"),
    _call_with_any("made", st.sampled_from(sorted(MADE))),
    _call("give", st.sampled_from(sorted(RESULTS))),
    _call("tell_objects", _FUTURES),
    _call("fail", st.sampled_from(sorted(EXCEPTIONS))),
    _call("fail", st.sampled_from(_EVERYWHERE), kind="join"),
    _call("fail_far_down", st.integers(0, 60)),
    _call("fail_far_down", st.none()),
    _call("echo", st.just(Value("generator"))),
    _call("flaky", st.integers(0, 4)),
    _call("change", st.lists(SCALARS, max_size=2)),
    _call("slow", st.just(0.0), walltime=st.sampled_from([5, 20.5])),
    _call("slow", st.just(20), walltime=st.just(0.2)),
    _call("remembered", st.lists(st.integers(0, 1), max_size=3), ignored=_ANYTHING),
    _call("write", _ANYTHING, inputs=_INPUTS, outputs=_OUTPUTS),
    _call("forget", outputs=_OUTPUTS),
    _call(
        "lines",
        st.sampled_from(["a", "b c"]),
        kind="bash",
        status=st.sampled_from([0, 0, 0, 1, 255]),
        inputs=_INPUTS,
        outputs=_OUTPUTS,
        **_STREAMS,
    ),
    _call("lines", st.just("bad"), kind="bash", stdout=st.sampled_from(["/dev/null/no", ("out", "bad mode")])),
    _call("wait", st.just(5), kind="bash", walltime=st.just(0.2), **_STREAMS),
    _call("no_command", st.sampled_from(["none", "number", "empty", "nul", "missing", "raise"]), kind="bash"),
    _call("crash"),
    # No future: Parsl compares what a join_app gives with [], and never ends it if that is an array.
    _call("join_nothing", _trees(st.none() | st.integers() | st.text(max_size=3)), kind="join"),
    _call("join_failing", kind="join"),
    _call_with_any("join_list", kind="join"),
    _call_with_any("join_again", kind="join"),
    _call("join_many", st.integers(10, 60), SCALARS, kind="join"),
    _call("join_some", st.integers(1, 20), SCALARS, kind="join"),
)


def _program(steps):
    made = []
    for i, step in enumerate(steps):
        with_files = [j for j in range(i) if made[j].kwargs.get("outputs")]
        given = [j for j in range(i) if made[j].app == "give"]

        def place(value, i=i, with_files=with_files):
            if isinstance(value, Ref):
                before = with_files if value.file else range(i)
                return Ref(before[value.step % len(before)], value.file) if before else None
            if isinstance(value, list | tuple):
                return type(value)(map(place, value))
            return {key: place(part) for key, part in value.items()} if isinstance(value, dict) else value

        args, kwargs = place(step.args), place(step.kwargs)
        if step.app == "tell_objects":
            args = 2 * (Ref(given[step.args[0].step % len(given)]) if given else Value("shared"),)
        if "inputs" in kwargs:
            kwargs["inputs"] = [file for file in kwargs["inputs"] if file]
        # What has not ended yet is not remembered, and that is a matter of time.
        wait = i > 0 and (step.wait or step.app == "remembered")
        made.append(Step(step.app, args, kwargs, step.kind, wait, step.asks))
    return Program(tuple(made))


PROGRAMS = st.lists(_STEPS, min_size=1, max_size=8).map(_program)
"""Those that shrink best are short and use echo alone."""
