"""What calls are to do, and what each of them ends as if nothing is done to it."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any, NamedTuple

import calls
import numbered
from hypothesis import strategies as st

from tests.library.encode import Call, Record
from vinefast.library import buffers
from vinefast.library.protocol import (
    STATUS_BUFFERS,
    STATUS_DIED,
    STATUS_EXCEPTION,
    STATUS_NONE,
    STATUS_PARSL,
    STATUS_PICKLE,
)

VALUES = (STATUS_NONE, STATUS_PICKLE, STATUS_PARSL, STATUS_BUFFERS)


class Plan(NamedTuple):
    """What a call is to do."""

    kind: str
    args: tuple = ()

    def call(self, trace: str, number: int) -> Call:
        """Give the call of that number."""
        return Call(KINDS[self.kind].function, (trace, number, *self.args))

    def is_right(self, record: Record, number: int) -> bool:
        """Whether a record is what the call of that number ends as by itself."""
        return KINDS[self.kind].is_right(record, number, *self.args)

    @property
    def is_endless(self) -> bool:
        """Whether it ends only if it is made to."""
        return self.kind in ENDLESS


class BundlePlan(NamedTuple):
    """What a bundle is to be."""

    plans: list[Plan]
    slice_ms: int = 0
    limit_ms: int = 0
    memory_mb: int = 0
    captures: bool = False


class _Kind(NamedTuple):
    function: Callable[..., Any]
    is_right: Callable[..., bool]
    args: st.SearchStrategy[Any] = st.just(())


def value_of(record: Record) -> Any:
    """Give what a call has returned; calls that have not return an object that is equal to nothing."""
    if record.status not in VALUES:
        return object()
    if record.status == STATUS_BUFFERS:
        return buffers.unpack(memoryview(record.payload))
    return record.value


def raised(record: Record, name: str, message: str | None = None) -> bool:
    """Whether a call has raised an exception of that name."""
    if record.status != STATUS_EXCEPTION:
        return False
    said = pickle.loads(record.payload)
    return said[0].rpartition(".")[2] == name and message in (None, said[1])


def died(record: Record, code: int | None, signal_number: int | None) -> bool:
    """Whether a call's process has ended so."""
    return record.status == STATUS_DIED and tuple(record.value[:2]) == (code, signal_number)


def _number(record: Record, number: int, *_: object) -> bool:
    return value_of(record) == number


def _number_first(record: Record, number: int, *_: object) -> bool:
    value = value_of(record)
    return isinstance(value, tuple) and value[0] == number


def _never(record: Record, number: int, *_: object) -> bool:
    return False


# What leaves a process in which others can run: each of the calls that spoil something does so each time.
_SPOILS = [poison.__name__ for poison in calls.POISONS]
_SPOILS += ["close_everything", "take_descriptors", "take_all_descriptors", "write_to_sockets", "read_from_sockets"]
_MS = st.integers(0, 80)

KINDS: dict[str, _Kind] = {
    "give": _Kind(numbered.give, _number),
    "nothing": _Kind(numbered.nothing, lambda record, number: record.status == STATUS_NONE),
    "nap": _Kind(numbered.nap, _number, st.tuples(_MS)),
    "fail": _Kind(numbered.fail, lambda record, number: raised(record, "ValueError", str(number))),
    "leave": _Kind(
        numbered.leave, lambda record, _, code: raised(record, "SystemExit", str(code)), st.tuples(st.integers(0, 9))
    ),
    "end": _Kind(numbered.end, lambda record, _, code: died(record, code, None), st.tuples(st.integers(0, 2))),
    "fall": _Kind(
        numbered.fall,
        lambda record, _, number: died(record, None, number),
        st.tuples(st.sampled_from([int(number) for number in numbered.SIGNALS])),
    ),
    "speak": _Kind(numbered.speak, _number, st.tuples(st.sampled_from([0, 5_000, 300_000]))),
    "fill": _Kind(
        numbered.fill,
        lambda record, number, nbytes: value_of(record) == numbered.pattern(number, nbytes),
        st.tuples(st.sampled_from([0, 900, 100_000, 300_000, 2_000_000])),
    ),
    "give_block": _Kind(
        numbered.give_block,
        lambda record, number, nbytes: (
            getattr(value_of(record), "data", None) == bytearray(numbered.pattern(number, nbytes))
        ),
        st.tuples(st.sampled_from([2_000, 400_000])),
    ),
    "give_closure": _Kind(
        numbered.give_closure, lambda record, number: record.status == STATUS_PARSL and record.value() == number
    ),
    "fork_back": _Kind(numbered.fork_back, _number),
    "leave_process": _Kind(numbered.leave_process, _number_first, st.tuples(st.booleans())),
    "leave_fork": _Kind(numbered.leave_fork, _number_first),
    "share_memory": _Kind(numbered.share_memory, _number_first),
    "spoil": _Kind(numbered.spoil, _number, st.tuples(st.sampled_from(_SPOILS))),
    "go_elsewhere": _Kind(numbered.go_elsewhere, _number),
    "throw_later": _Kind(numbered.throw_later, _number, st.tuples(_MS)),
    "end_later": _Kind(numbered.end_later, _number, st.tuples(_MS)),
    "speak_later": _Kind(numbered.speak_later, _number, st.tuples(_MS)),
}
ENDLESS: dict[str, _Kind] = {
    "sleep": _Kind(numbered.sleep, _never),
    "be_deaf": _Kind(numbered.be_deaf, _never),
    "compute": _Kind(numbered.compute, _never),
    "block": _Kind(numbered.block, _never),
    "default_signals": _Kind(numbered.default_signals, _never),
    "take_memory": _Kind(numbered.take_memory, _never, st.just((600,))),
}
KINDS |= ENDLESS


def _plans(kinds: list[str]) -> st.SearchStrategy[Plan]:
    return st.sampled_from(kinds).flatmap(lambda name: st.builds(Plan, st.just(name), KINDS[name].args))


_ENDING = _plans([name for name in KINDS if name not in ENDLESS])
_PLAIN = _plans(["give", "nothing", "nap", "fill", "fail"])
_ENDLESS = _plans([*ENDLESS])
# Few are endless: each holds up its slot until something is done about it.
_ANY = st.integers(0, 11).flatmap(lambda chance: _ENDLESS if chance == 11 else _PLAIN if chance < 5 else _ENDING)


def _bundle(plans: list[Plan], slice_ms: int, limit_ms: int, captures: bool) -> BundlePlan:
    memory_mb = 300 if any(plan.kind == "take_memory" for plan in plans) else 0
    return BundlePlan(plans, slice_ms, limit_ms, memory_mb, captures)


BUNDLES = st.builds(
    _bundle,
    st.lists(_ANY, min_size=1, max_size=10),
    st.sampled_from([0, 0, 0, 30, 200]),
    st.sampled_from([0, 0, 0, 400]),
    st.booleans(),
)
