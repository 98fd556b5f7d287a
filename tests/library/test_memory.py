"""Whatever moment a child dies at, the records before it are kept."""

from __future__ import annotations

import pytest

from vinefast.library import memory as layout
from vinefast.library.frame import Origin
from vinefast.library.memory import ResultFile, SlotMemory

from .encode import decode_result


class Killed(BaseException):
    pass


class DeadlyFile(ResultFile):
    """Dies in the write of number `last`, half way."""

    def __init__(self, path, last):
        super().__init__(path)
        self.left = last

    def write_at(self, offset, *parts):
        self.left -= 1
        if self.left < 0:
            data = b"".join(bytes(part) for part in parts)
            super().write_at(offset, data[: len(data) // 2])
            raise Killed
        super().write_at(offset, *parts)


class DeadlyCounters:
    """Dies before the store of number `last`."""

    def __init__(self, counters, last):
        self.counters = counters
        self.left = last

    def __getitem__(self, index):
        return self.counters[index]

    def __setitem__(self, index, value):
        self.left -= 1
        if self.left < 0:
            raise Killed
        self.counters[index] = value


PAYLOADS = [
    bytes([i]) * size for i, size in enumerate([10, 100_000, 0, 200_000, 50, 300_000, 600_000, 7, 262_016, 261_000])
]


def fill(memory, file, first=0):
    for payload in PAYLOADS[first:]:
        memory.append(file, 1, 5, payload)
    memory.finish(file, len(PAYLOADS), 1, 2, Origin(3, 4, 5))


def go_on(memory, path):
    file = ResultFile(path, keep=True)
    fill(memory, file, memory.recover(file))
    assert [record.payload for record in decode_result(open(path, "rb").read()).records] == PAYLOADS


@pytest.mark.parametrize("last", range(12))
def test_death_in_a_write(tmp_path, last):
    path = bytes(tmp_path / "out")
    memory = SlotMemory()
    try:
        fill(memory, DeadlyFile(path, last))
        assert last >= 8
    except Killed:
        go_on(memory, path)


@pytest.mark.parametrize("last", range(22))
def test_death_before_a_store(tmp_path, last):
    path = bytes(tmp_path / "out")
    memory = SlotMemory()
    counters = memory.counters
    memory.counters = DeadlyCounters(counters, last)
    try:
        fill(memory, ResultFile(path))
        assert counters[layout.FINISHED]
    except Killed:
        memory.counters = counters
        go_on(memory, path)


def test_record_too_big(tmp_path):
    class Huge(bytes):
        def __len__(self):
            return 2**32

    with pytest.raises(OverflowError, match="4294967296 bytes does not fit"):
        SlotMemory().append(ResultFile(bytes(tmp_path / "out")), 1, 5, Huge())
