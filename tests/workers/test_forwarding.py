"""What slots write becomes lines that say who they are from."""

from __future__ import annotations

import io
import os
import sys
import threading
import time

import pytest

from vinefast.library.log_file import LogFile, mark
from vinefast.workers import forwarding
from vinefast.workers.forwarding import Followed, Forwarder, Lines
from vinefast.workers.run_output import RunOutput


def test_lines_have_the_call_of_the_last_mark():
    lines = Lines("h-1-slot-0")
    assert lines.feed(b"before\n") == "(h-1-slot-0) before\n"
    assert lines.feed(mark("f, call 3, lost 1 times before")[:10]) == ""
    assert lines.feed(mark("f, call 3, lost 1 times before")[10:] + b"a\nb") == "(f call=3, h-1-slot-0) a\n"
    assert lines.feed(b"") == ""
    assert lines.end() == "(f call=3, h-1-slot-0) b\n"
    assert lines.feed(mark("between calls") + b"c\n") == "(h-1-slot-0) c\n"
    assert lines.feed(mark("5 bytes above are not from Python's streams, while there ran: f")) == ""
    assert lines.feed(mark("77 bytes of one write are left out here")) == (
        "(h-1-slot-0) ... 77 bytes of one write are left out here ...\n"
    )
    assert lines.feed(b"\xff\n").endswith(") \N{REPLACEMENT CHARACTER}\n")


def test_what_looks_like_a_mark_harms_nobody():
    lines = Lines("s")
    for text in ("9" * 5000, "f, call " + "9" * 400, "f, call " + "9" * 5000, "", "=" * 100):
        lines.feed(mark(text))
    assert "x" in lines.feed(b"x\n")


def test_a_line_without_end_is_shown_in_the_end(monkeypatch):
    lines = Lines("s")
    assert lines.feed(b"12 %") == "" and lines.overdue() == ""
    monkeypatch.setattr(forwarding, "_PATIENCE_S", -1.0)
    assert lines.overdue() == "(s) 12 %\n" and lines.overdue() == ""
    assert len(lines.feed(b"x" * 100_000)) > 100_000


@pytest.fixture
def log(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    log = LogFile("slot-0.log")
    log.limit = 1000
    return log


def test_a_file_that_is_cut_while_it_is_followed(log, tmp_path):
    followed = Followed(str(tmp_path / "slot-0.log"))
    fd = log.open()

    def read():
        return followed.read(os.stat(log.path)).replace("(slot-0) ", "").split()

    def write(*numbers):
        for number in numbers:
            os.write(fd, b"%099d\n" % number)
        assert log.cut(fd) or os.fstat(fd).st_size <= 1000

    shown = []
    for first in range(0, 200, 5):
        write(*range(first, first + 5))
        shown += read()
    assert [int(line) for line in shown] == [*range(200)]
    # It was faster than we are, twice.
    write(*range(200, 212))
    write(*range(212, 224))
    write(*range(224, 228))
    shown = read()
    assert shown[0] == "..." and int(shown[1]) > 0 and shown[2:6] == ["bytes", "came", "too", "fast"]
    assert [int(line) for line in shown[-14:]] == [*range(214, 228)]
    # In the midst of a cut.
    os.ftruncate(fd, 0)
    assert read() == []
    os.close(fd)


def test_what_was_there_before_is_not_shown(log, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    fd = log.open()
    os.write(fd, b"before\n")
    first, second = Forwarder(str(tmp_path), "x"), Forwarder(str(tmp_path), "x")
    first.start()
    second.start()
    os.write(fd, b"once\n")
    time.sleep(0.5)
    first.stop()
    time.sleep(0.5)
    os.write(fd, b"then by the other\n")
    second.stop()
    second.stop()
    os.close(fd)
    assert sys.stderr.getvalue() == "(slot-0) once\n(slot-0) then by the other\n"
    assert not forwarding._followers


def test_the_last_lines_are_shown_however_many_there_are(log, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.setattr(forwarding, "_LOOK_S", 600.0)
    forwarder = Forwarder(str(tmp_path), "x")
    forwarder.start()
    time.sleep(0.2)
    line = "\N{EURO SIGN}" * 330
    with open(log.open(), "wb") as file:
        file.write(f"{line}\n".encode() * 3500)
    forwarder.stop()
    assert sys.stderr.getvalue().split("(slot-0) ")[1:] == [f"{line}\n"] * 3500


def test_what_is_sent_and_kept_in_the_same_directory_is_shown_once(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    output = RunOutput(str(tmp_path), 1 << 20, 1 << 20, True, True, "x")
    output.start()
    for name in ("h-1-slot-0.log", "/odd.log"):
        output.take(name, 0, b"once\n")
    time.sleep(0.6)
    output.stop()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["h-1-slot-0.log", "other.log"]
    assert sys.stderr.getvalue().count("once") == 2


def test_only_files_are_followed(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    os.mkfifo(tmp_path / "pipe.log")
    (tmp_path / "elsewhere").write_text("")
    (tmp_path / "link.log").symlink_to(tmp_path / "elsewhere")
    forwarder = Forwarder(str(tmp_path), "x")
    starter = threading.Thread(target=forwarder.start, daemon=True)
    starter.start()
    starter.join(10)
    assert not starter.is_alive()
    (tmp_path / "elsewhere").write_text("of somebody else\n")
    (tmp_path / "slot-0.log").write_text("shown\n")
    forwarder.stop()
    assert not forwarder._thread.is_alive()
    assert sys.stderr.getvalue() == "(slot-0) shown\n"


def test_a_stream_that_raises_once_is_asked_again(monkeypatch):
    class Leaving(io.StringIO):
        def write(self, text):
            if text.endswith("first\n"):
                raise SystemExit
            return super().write(text)

    monkeypatch.setattr(sys, "stderr", Leaving())
    forwarder = Forwarder(None, "x")
    forwarder.start()
    for text in (b"first\n", b"second\n"):
        forwarder.take("x.log", 0, text)
    forwarder.stop()
    assert sys.stderr.getvalue() == "(x) second\n"


def test_what_is_sent_says_what_is_missing(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    forwarder = Forwarder(None, "x")
    forwarder.start()
    forwarder.take("h-1-slot-0.log", 0, mark("f, call 3") + b"a\nb")
    forwarder.take("h-1-slot-0.log", 9, b"c\nd")
    forwarder.stop()
    assert sys.stderr.getvalue().splitlines() == [
        "(f call=3, h-1-slot-0) a",
        "(f call=3, h-1-slot-0) b",
        "(h-1-slot-0) ... 9 bytes before that are left out ...",
        "(f call=3, h-1-slot-0) c",
        "(f call=3, h-1-slot-0) d",
    ]


@pytest.mark.parametrize("stream", [None, object(), io.TextIOWrapper(io.BytesIO())])
def test_whatever_stands_for_standard_error(monkeypatch, stream):
    if isinstance(stream, io.TextIOWrapper):
        stream.close()
    monkeypatch.setattr(sys, "stderr", stream)
    forwarder = Forwarder(None, "x")
    forwarder.start()
    forwarder.take("x.log", 0, b"a\n" * 10_000)
    forwarder.stop()
    assert not forwarder._thread.is_alive()


def test_a_warning_says_whose_output_it_is_about(tmp_path, monkeypatch, caplog):
    forwarder = Forwarder(str(tmp_path), "x")
    forwarder.start()

    def fail():
        raise ValueError("on purpose")

    monkeypatch.setattr(forwarder, "_look", fail)
    forwarder.stop()
    (record,) = {record.getMessage(): record for record in caplog.records}.values()
    assert record.getMessage() == "Output of calls of executor x cannot be forwarded"
    assert getattr(record, "parsl.executor") == "x"
