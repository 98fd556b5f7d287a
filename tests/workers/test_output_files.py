"""Files of what calls print, that this program writes and bounds."""

from __future__ import annotations

import os
import re

import pytest

from vinefast.workers.output_files import OutputFiles
from vinefast.workers.sent_output import Pieces


@pytest.fixture
def files(tmp_path):
    return OutputFiles(str(tmp_path), 2000, 100_000, "x")


def run(files, *pieces):
    for piece in pieces:
        files.take(*piece)
    files.start()
    files.stop()


def test_pieces_are_appended_below_what_is_missing(files, tmp_path):
    run(files, ("a-1-slot-0.log", 0, b"one\n"), ("a-1-slot-0.log", 0, b"two"), ("a-1-slot-0.log", 7, b"three\n"))
    text = (tmp_path / "a-1-slot-0.log").read_text()
    assert re.fullmatch(r"one\ntwo\n=== .* 7 bytes before that are left out ===\nthree\n", text)
    assert (tmp_path / "a-1-slot-0.log").stat().st_mode & 0o777 == 0o600


def test_files_are_cut(files, tmp_path):
    run(files, *[("a-1-slot-0.log", 0, b"x" * 300)] * 50)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a-1-slot-0.log", "a-1-slot-0.older.log"]
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 2500


@pytest.mark.parametrize(
    "name", ["../x.log", "/x.log", "x.older.log", ".x.log", "x", "", "x\n.log", "x" * 300 + ".log"]
)
def test_names_of_workers_that_lie(tmp_path, name):
    directory = tmp_path / "output"
    directory.mkdir()
    run(OutputFiles(str(directory), 2000, 100_000, "x"), (name, 0, b"text"))
    assert [path.name for path in directory.iterdir()] == ["other.log"]
    assert [path.name for path in tmp_path.iterdir()] == ["output"]


def test_no_link_is_followed(files, tmp_path):
    (tmp_path / "a-1-slot-0.log").symlink_to(tmp_path / "elsewhere")
    run(files, ("a-1-slot-0.log", 0, b"text"))
    assert not (tmp_path / "elsewhere").exists()


def test_a_pipe_is_not_written_to(files, tmp_path):
    os.mkfifo(tmp_path / "a-1-slot-0.log")
    run(files, ("a-1-slot-0.log", 0, bytes(100_000)), ("a-1-slot-1.log", 0, b"text"))
    assert not files._thread.is_alive()
    assert (tmp_path / "a-1-slot-1.log").read_bytes() == b"text"


def test_the_oldest_files_of_ended_libraries_go(files, tmp_path):
    host = os.uname().nodename
    ended = 2**22 + 1  # above all numbers of processes
    for i in range(40):
        path = tmp_path / f"{host}-{ended}-slot-{i}.log"
        path.write_bytes(b"x" * (i % 2) * 5000)  # the smallest costs a block
        os.utime(path, (1000 + i, 1000 + i))
    others = ["other.txt", f"{host}-{os.getpid()}-slot-0.log", f"not-{host}-5-slot-0.log"]
    for name in others:
        (tmp_path / name).write_bytes(b"x" * 60_000)
    for name in others[:2]:  # long silent, but alive, or none of ours
        os.utime(tmp_path / name, (1, 1))
    files.prune()
    left = {path.name for path in tmp_path.iterdir()}
    assert left.issuperset(others)
    kept = sorted(int(name.split("-slot-")[1][:-4]) for name in left if f"-{ended}-" in name)
    assert kept == [*range(40 - len(kept), 40)] and 20 <= len(kept) <= 24


def test_a_directory_that_is_gone_loses_output_alone(tmp_path):
    files = OutputFiles(str(tmp_path / "gone"), 2000, 1000, "x")
    run(files, ("a-1-slot-0.log", 0, b"text"), ("a-1-slot-0.log", 0, b"text"))


def test_a_warning_says_whose_output_it_is_about(files, tmp_path, monkeypatch, caplog):
    def fail(piece):
        raise ValueError("on purpose")

    monkeypatch.setattr(files, "write", fail)
    files._pieces.dropped_nbytes = 7
    run(files, ("a-1-slot-0.log", 0, b"text"))
    kept, dropped = caplog.records
    assert kept.getMessage() == f"Output of calls of executor x cannot be kept in {tmp_path}"
    assert dropped.getMessage().startswith("7 bytes that calls of executor x have printed")
    assert {getattr(record, "parsl.executor") for record in caplog.records} == {"x"}


def test_what_comes_too_fast_is_dropped_and_counted():
    pieces = Pieces()
    for _ in range(40):
        pieces.put("a", 0, bytes(1 << 20))
    n_empty = 0
    for _ in range(100_000):
        pieces.put("b", 0, b"")
        n_empty += 1
    pieces.end()
    taken = []
    while (piece := pieces.take(0)) is not None:
        taken.append(piece)
    n = sum(1 for piece in taken if piece.name == "a")
    assert n == 15 and pieces.dropped_nbytes == 25 << 20
    assert sum(1 for piece in taken if piece.name == "b") < 3000 < n_empty
    pieces.put("a", 3, b"x")
    assert pieces.take(0) == ("a", (25 << 20) + 3, b"x")
