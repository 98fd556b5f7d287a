"""Whatever moment a child dies at, the records before it are kept; and so they are if the disk is full."""

from __future__ import annotations

import errno
import os

import pytest

from vinefast.library import memory as layout
from vinefast.library.frame import Origin
from vinefast.library.memory import NoRoom, ResultFile, SlotMemory
from vinefast.library.protocol import STATUS_TOO_LARGE

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
    fill(memory, file, memory.count(file))
    assert [record.payload for record in decode_result(open(path, "rb").read()).records] == PAYLOADS


@pytest.mark.parametrize("last", range(12))
def test_death_in_a_write(tmp_path, last):
    path = bytes(tmp_path / "out")
    memory = SlotMemory()
    try:
        fill(memory, DeadlyFile(path, last))
        assert last >= 6
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


class FullFile(ResultFile):
    """Lies on a disk with room for so many bytes."""

    def __init__(self, path, room):
        super().__init__(path)
        self.room = room

    def write_at(self, offset, *parts):
        data = b"".join(bytes(part) for part in parts)
        if offset + len(data) > self.room:
            super().write_at(offset, data[: max(0, self.room - offset)])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().write_at(offset, data)


def end(memory, file, n_records):
    memory.append_last(STATUS_TOO_LARGE, 1, b"why")
    memory.finish(file, n_records, 1, 2, Origin(3, 4, 5))


@pytest.mark.parametrize("sizes", [[], [10], [10, 20], [100_000, 0, 200_000], [300_000], [10, 300_000, 10]])
def test_a_record_that_does_not_fit_the_disk(tmp_path, sizes):
    path = bytes(tmp_path / "out")
    memory, file = SlotMemory(), FullFile(path, 400_000)
    for size in sizes:
        memory.append(file, 1, 5, bytes(size))
    with pytest.raises(NoRoom, match="No space left") as caught:
        memory.append(file, 1, 5, bytes(100), bytes(400_000))
    assert caught.value.nbytes == 400_100
    end(memory, file, len(sizes) + 1)
    data = open(path, "rb").read()
    assert b"\0" not in data or len(data) > 1024  # or TaskVine would take it for shorter than it is
    assert [record.payload for record in decode_result(data).records] == [*map(bytes, sizes), b"why"]


def test_a_full_area_that_does_not_fit_the_disk(tmp_path):
    path = bytes(tmp_path / "out")
    memory, file = SlotMemory(), FullFile(path, 0)
    room = len(memory.area) - 2 * 16
    memory.append(file, 1, 5, bytes(room))
    with pytest.raises(NoRoom):
        memory.append(file, 1, 5, b"more than the rest")
    with pytest.raises(NoRoom, match="No space left") as caught:
        end(memory, file, 2)
    assert caught.value.nbytes > room
    file.room = 1000
    memory.forget(file)
    end(memory, file, 1)
    assert [record.payload for record in decode_result(open(path, "rb").read()).records] == [b"why"]


def test_other_errors_of_the_disk_are_passed_on(tmp_path):
    with pytest.raises(FileNotFoundError):
        SlotMemory().append(ResultFile(bytes(tmp_path / "absent" / "out")), 1, 5, bytes(300_000))


def test_the_limit_of_a_frame(tmp_path, monkeypatch):
    monkeypatch.setenv("VINEFAST_RESULT_NBYTES", "100000")
    path = bytes(tmp_path / "out")
    memory, file = SlotMemory(), ResultFile(path)
    assert memory.append(file, 1, 5, bytes(30_000))
    with pytest.raises(NoRoom, match="100000 is the limit .tune parameter max-task-stdout-storage"):
        memory.append(file, 1, 5, bytes(70_000))
    assert not memory.append(file, 1, 5, bytes(69_000))
    end(memory, file, 3)
    assert [len(record.payload) for record in decode_result(open(path, "rb").read()).records] == [30_000, 69_000, 3]


def test_record_too_big(tmp_path):
    class Huge(bytes):
        def __len__(self):
            return 2**32

    with pytest.raises(NoRoom, match="limit"):
        SlotMemory().append(ResultFile(bytes(tmp_path / "out")), 1, 5, Huge())
