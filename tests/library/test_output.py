"""What calls print is kept, and each call's first line stands below a mark that names the call."""

from __future__ import annotations

import os
import pickle
import re
import shutil
from pathlib import Path

import calls
import printing
import pytest

from tests.helpers.waiting import wait_until
from vinefast.calls.context import pack
from vinefast.library import log_file
from vinefast.library.context import FILE
from vinefast.library.log_file import LogFile, LogWatch
from vinefast.library.memory import SlotMemory

from .encode import Call

MARK = re.compile(rb"=== \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} (.*) ===\n")


class Kept:
    """A library that keeps output, and the files of its one slot."""

    def __init__(self, start_worker, directory: Path, limit: int = 1 << 20, **options):
        directory.mkdir(exist_ok=True)
        self.directory = directory
        env = {"VINEFAST_OUTPUT": os.fspath(directory), "VINEFAST_OUTPUT_NBYTES": str(2 * limit)}
        self.worker = start_worker(env=env, **options)

    @property
    def path(self) -> Path:
        (path,) = [path for path in self.directory.glob("*-slot-0.log")]
        return path

    @property
    def older(self) -> Path:
        return self.path.with_suffix(".older.log")

    def run(self, *calls_: Call) -> list:
        return self.worker.run([*calls_]).records

    def blocks(self) -> list[tuple[str, bytes]]:
        """What is there by marks: their text, and what stands below it."""
        first, *parts = MARK.split(self.path.read_bytes())
        assert not first, first
        return [(text.decode(), block) for text, block in zip(parts[::2], parts[1::2], strict=True)]


@pytest.fixture
def kept(start_worker, tmp_path):
    return Kept(start_worker, tmp_path / "output")


def test_each_call_that_prints_has_a_mark(kept):
    say, silent = Call(printing.say, ("hello",)), Call(printing.be_silent)
    kept.run(silent, say, silent, Call(printing.say_in_both, ("x",)), Call(printing.log_warning, ("careful",)), silent)
    kept.run(say)
    assert kept.blocks() == [
        ("say", b"hello\n"),
        ("say_in_both", b"x err\nx out\n"),
        ("log_warning", b"careful\n"),
        ("say", b"hello\n"),
    ]


def test_calls_that_print_nothing_leave_nothing(kept):
    kept.run(*[Call(printing.be_silent)] * 100, Call(calls.add, (1,)))
    assert kept.path.stat().st_size == 0


def test_what_is_not_a_whole_line_is_there_when_the_call_has_ended(kept):
    kept.run(Call(printing.say, ("a", "")), Call(printing.say_and_raise, ("b",)), Call(printing.say, ("c", "")))
    assert kept.blocks() == [("say", b"a\n"), ("say_and_raise", b"b\n"), ("say", b"c")]


def test_bytes_are_kept_as_they_are(kept):
    data = bytes(range(256))
    kept.run(Call(printing.say_raw, (data,)))
    assert kept.blocks() == [("say_raw", data)]


@pytest.mark.parametrize("function", [printing.say_in_c, printing.say_by_a_child])
def test_what_does_not_come_through_the_streams_is_told_below(kept, function):
    kept.run(Call(function, ("hello",)), Call(printing.be_silent))
    kept.run(Call(printing.say, ("again",)))
    above, told, last = MARK.split(kept.path.read_bytes())[::2]
    assert (above.strip(), told, last) == (b"hello", b"", b"again\n")
    assert re.search(rb"=== .* [56] bytes above .*: 2 calls of \w+, be_silent ===", kept.path.read_bytes())


@pytest.mark.parametrize(
    ("how", "expected"), [("exit", "with status 3"), ("kill", "by signal 9"), ("crash", "by signal 11")]
)
def test_output_of_a_call_that_dies(kept, how, expected):
    *_, died, after = kept.run(
        Call(printing.say, ("earlier",)), Call(printing.say_and_die, ("last words", how)), Call(printing.say, ("x",))
    )
    assert died.status == 4
    # In the error, and nothing of another call's.
    assert died.value[2].startswith("last words\n") and "earlier" not in died.value[2]
    texts = [text for text, _ in kept.blocks()]
    assert texts == [
        "say",
        "say_and_die",
        f"the process that wrote this has ended {expected}, and another goes on",
        "say",
    ]
    assert kept.blocks()[1][1].startswith(b"last words\n")


def test_a_silent_call_that_dies_has_no_words_of_others(kept):
    records = kept.run(Call(printing.say, ("first",)), Call(calls.die_by, (9,)))
    assert records[1].value == (None, 9, "", None)


def test_a_silent_call_that_dies_after_another_has_no_words_of_that(kept):
    say_and_die = Call(printing.say_and_die, ("last words", "kill"))
    records = kept.run(say_and_die, Call(calls.die_by, (9,)), Call(calls.die_by, (9,)), say_and_die)
    assert [record.value[1:3] for record in records[1:3]] == [(9, "")] * 2
    assert [record.value[2] for record in (records[0], records[3])] == ["last words\n"] * 2


def test_a_fork_within_a_call(kept):
    assert [record.status for record in kept.run(Call(printing.fork_and_say, ("word",)))] == [0]
    found = MARK.sub(b"", kept.path.read_bytes())
    assert found == b"word of the child\nword of the parent\n"
    assert kept.blocks()[0][0] == "fork_and_say"


def test_descriptors_that_a_call_closes_or_sends_elsewhere(kept, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    say = Call(printing.say, ("here",))
    for each in (Call(printing.close_both), Call(printing.send_elsewhere, (str(elsewhere), "there"))):
        assert [record.status for record in kept.run(say, each, say)] == [1, 0, 1]
        kept.run(say)
    assert elsewhere.read_text() == "there\n"
    assert [block for text, block in kept.blocks() if text == "say"].count(b"here\n") >= 5


def test_a_daemon_that_a_call_has_left_goes_on_to_write(kept):
    kept.run(Call(printing.leave_a_daemon, (0.2, "late")))
    assert wait_until(lambda: b"late\n" in kept.path.read_bytes())
    kept.run(Call(printing.say, ("hello",)))
    assert kept.path.read_bytes().startswith(b"late\n=== ")


def test_a_slot_that_is_killed_keeps_its_file(kept):
    kept.run(Call(printing.say, ("before",)))
    (pid,) = [record.value for record in kept.run(Call(os.getpid))]
    os.kill(pid, 9)
    assert wait_until(lambda: "idle child of slot 0 ended" in kept.worker.log())
    kept.run(Call(printing.say, ("after",)))
    assert kept.blocks() == [("say", b"before\n"), ("say", b"after\n")]


def test_files_of_slots_that_printed_nothing_go(start_worker, tmp_path):
    kept = Kept(start_worker, tmp_path / "output", slots=2)
    kept.run(Call(printing.say, ("hello",)))
    assert wait_until(lambda: len([*kept.directory.iterdir()]) == 2)
    os.kill(kept.worker.process.pid, 9)
    assert wait_until(lambda: len([*kept.directory.iterdir()]) == 1)
    (path,) = kept.directory.iterdir()
    assert path.read_text().endswith("hello\n")


def size_of(kept) -> int:
    return sum(path.stat().st_size for path in kept.directory.iterdir())


def test_what_python_prints_is_bounded(start_worker, tmp_path):
    limit = 1 << 16
    kept = Kept(start_worker, tmp_path / "output", limit)
    kept.run(Call(printing.print_lines, (limit // 2,)), Call(printing.print_lines, (10 * limit,)))
    assert limit < size_of(kept) < 2.2 * limit
    assert {*kept.directory.iterdir()} == {kept.path, kept.older}
    text = kept.path.read_bytes()
    gone = int(re.match(rb"=== .*; (\d+) bytes before that are gone ===\n", text)[1])
    assert 8 * limit < gone < 11 * limit
    # All that was printed is there or is counted, but for what marks have taken.
    assert abs(gone + size_of(kept) - 10.5 * limit) < 2000


def test_one_huge_line_is_bounded(start_worker, tmp_path):
    limit = 1 << 16
    kept = Kept(start_worker, tmp_path / "output", limit)
    kept.run(Call(calls.print_much, (100 * limit,)))
    assert size_of(kept) < 2.2 * limit
    assert b"are left out here" in b"".join(path.read_bytes() for path in kept.directory.iterdir())


def test_what_c_code_writes_is_bounded_while_it_goes_on(start_worker, tmp_path):
    limit = 1 << 20
    kept = Kept(start_worker, tmp_path / "output", limit)
    kept.worker.send([Call(printing.write_much_in_c, (20 * limit, 30))])
    assert wait_until(lambda: kept.directory.exists() and any(kept.directory.glob("*.older.log")))
    assert wait_until(lambda: size_of(kept) < 2.2 * limit)
    assert wait_until(lambda: b"are gone ===" in kept.path.read_bytes())


def test_a_directory_that_is_removed(start_worker, tmp_path):
    limit = 1 << 16
    kept = Kept(start_worker, tmp_path / "output", limit)
    say = Call(printing.say, ("hello",))
    kept.run(say)
    shutil.rmtree(kept.directory)
    statuses = [record.status for record in kept.run(say, Call(printing.print_lines, (4 * limit,)), say)]
    assert statuses == [1, 0, 1]
    # A new process finds another place.
    records = kept.run(Call(printing.say_and_die, ("last words", "exit")), say)
    assert [record.status for record in records] == [4, 1]
    assert "hello" in (kept.worker.library_directory / "slot-0.log").read_text()
    assert not kept.directory.exists()


def test_a_directory_that_cannot_be_written_to(start_worker, tmp_path):
    worker = start_worker(env={"VINEFAST_OUTPUT": os.fspath(tmp_path / "nowhere"), "VINEFAST_OUTPUT_NBYTES": "1000000"})
    worker.run([Call(printing.say, ("hello",))])
    assert "hello" in (worker.library_directory / "slot-0.log").read_text()


def test_a_file_that_has_no_room(kept):
    say = Call(printing.say, ("hello",))
    records = kept.run(say, Call(printing.print_beyond_a_limit, (4096, 100)), say)
    assert [record.status for record in records] == [1, 0, 1]
    assert re.search(rb"there was no room for \d+ bytes", kept.path.read_bytes())


def test_two_libraries_in_one_directory(start_worker, tmp_path):
    workers = [Kept(start_worker, tmp_path / "output").worker for _ in range(2)]
    for worker in workers:
        worker.run([Call(printing.say, (f"from {worker.process.pid}",))])
    texts = [path.read_text() for path in (tmp_path / "output").iterdir()]
    assert sorted(text.splitlines()[1] for text in texts) == sorted(f"from {worker.process.pid}" for worker in workers)


def test_what_a_context_and_its_loggers_say(start_worker, tmp_path):
    context = pack(printing.set_up_logging)
    kept = Kept(start_worker, tmp_path / "output", files={FILE: pickle.dumps(context)})
    kept.run(Call(printing.log_warning, ("careful",)))
    (log,) = kept.directory.glob("*-fork-server.log")
    assert "set up" in log.read_text()
    assert kept.blocks() == [("log_warning", b"careful\n")]


# Without a library


def test_the_end_of_a_file_that_was_cut_meanwhile(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    log = LogFile("slot-0.log")
    log.limit = 1000
    fd = log.open()
    os.write(fd, b"a" * 500 + b"b" * 800)
    assert log.cut(fd) and not log.cut(fd)
    os.write(fd, b"end")
    assert log.tail(0).startswith("a" * 200 + "b" * 800 + "=== ") and log.tail(0).endswith(
        "300 bytes before that are gone ===\nend"
    )
    assert log.tail(os.fstat(fd).st_size - 2) == "nd"
    n_above = os.fstat(fd).st_size
    os.write(fd, b"c" * 1001)
    assert log.cut(fd)
    (gone,) = re.findall(r"(\d+) bytes before that are gone", Path("slot-0.log").read_text())
    assert int(gone) + os.path.getsize("slot-0.older.log") == 500 + 800 + n_above + 1001
    os.close(fd)


def test_who_cuts_first_is_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    log = LogFile("slot-0.log")
    log.limit = 1000
    fd, other = log.open(), log.open()
    os.write(fd, b"a" * 1001)
    log_file.fcntl.flock(other, log_file.fcntl.LOCK_EX)
    assert not log.cut(fd)
    os.close(other)
    assert log.cut(fd)
    os.close(fd)


def test_the_supervisor_looks_more_often_while_a_file_grows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    log = LogFile("slot-0.log")
    watch = LogWatch([(log, SlotMemory())], clock=lambda: 0.0)
    pauses = []
    fd = log.open()
    for nbytes in (0, log.limit // 2, 0, log.limit, 0):
        os.write(fd, bytes(nbytes))
        watch.look(10.0)
        pauses.append(watch.look_at - 10.0)
    assert pauses == [pytest.approx(pause) for pause in (1.0, 0.1, 1.0, 0.1, 1.0)]
    os.close(fd)
