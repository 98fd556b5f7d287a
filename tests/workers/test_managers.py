"""What answers in the place of a manager, or of TaskVine's catalog, may say whatever it likes."""

from __future__ import annotations

import dataclasses
import json
from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.made_up import damaged, examples
from vinefast.errors import EngineStartError
from vinefast.workers import managers

MANAGER = {
    "type": "vine_master", "project": "p", "owner": "me", "name": "host", "port": 9123, "version": "7.14",
    "protocol": 14, "ssl": False, "starttime": 1e9, "tasks_waiting": 1, "tasks_running": 2,
    "tasks_complete": 3, "workers": 4,
}  # fmt: skip
WORKER = {
    "hostname": "node-1", "addrport": "10.0.0.1:99", "cores_total": 4, "cores_inuse": 1, "memory_total": 5,
    "disk_total": 6, "gpus_total": 0, "total_tasks_running": 1, "total_tasks_complete": 7,
}  # fmt: skip
WHOLE = json.dumps([MANAGER]).encode()
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.just(10**400), st.floats(), st.text(max_size=9))
VALUES = SCALARS | st.lists(SCALARS, max_size=3) | st.dictionaries(st.text(max_size=3), SCALARS, max_size=3)


def check_types(found):
    for field in dataclasses.fields(found):
        value = getattr(found, field.name)
        kinds = {"str": str, "int": int, "int | None": (int, type(None)), "bool": bool, "float": float}
        assert isinstance(value, kinds[field.type]), field.name


@examples(60)
@given(st.dictionaries(st.sampled_from([*MANAGER, *WORKER]), VALUES))
def test_whatever_it_says_of_itself_has_the_right_types(said):
    for (found,) in [managers._objects(json.dumps([{**whole, **said}]).encode()) for whole in (MANAGER, WORKER)]:
        check_types(managers._manager(found))
        check_types(managers._worker(found))


@examples(100)
@given(st.one_of(st.binary(max_size=60), VALUES.map(json.dumps).map(str.encode), damaged(WHOLE)))
def test_what_is_no_list_of_objects_is_refused(data):
    with suppress(EngineStartError):
        for found in managers._objects(data):
            check_types(managers._manager(found))


def test_lists_without_end_in_one_another_are_refused():
    for data in (b"[" * 100_000, b'[{"a":' * 50_000, b"[" + b"9" * 10_000 + b"]", b"[1e999999]", b""):
        with suppress(EngineStartError):
            assert managers._objects(data) == []
