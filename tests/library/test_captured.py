"""What calls print comes back with their results: call by call, or, from workers elsewhere, all of it."""

from __future__ import annotations

import os
import subprocess
import threading
from contextlib import contextmanager
from pathlib import Path

import calls
import printing
import pytest

from tests.helpers.waiting import wait_until
from vinefast.library import captured, output
from vinefast.library import memory as layout
from vinefast.library.captured import Captured, packed
from vinefast.library.frame import decode_frame
from vinefast.library.log_file import LogFile, mark
from vinefast.library.memory import SlotMemory
from vinefast.library.output import Output

from .encode import Call, ResultFrame, decode_result, encode_command, encode_frame
from .worker import USER_MODULES, Worker, install_library, library_command

OF_CALL, FILE, OF_SLOT = 1, 2, 3
WANTED = {"VINEFAST_OUTPUT": "", "VINEFAST_OUTPUT_NBYTES": str(1 << 20)}


def run(worker: Worker, *calls_: Call, first: int = 100) -> ResultFrame:
    task_id = worker.send_raw(encode_command(encode_frame([*calls_], first_number=first)))
    done_id, result = worker.collect(30)
    assert done_id == task_id
    return result


def texts(result: ResultFrame) -> dict[int, bytes]:
    """What calls have printed, by their numbers."""
    found = [(number, text) for kind, number, _, text in result.pieces() if kind == OF_CALL]
    assert len({number for number, _ in found}) == len(found)
    return dict(found)


@pytest.fixture
def capturing(start_worker):
    return start_worker(env={"VINEFAST_OUTPUT_NBYTES": "0"})


def test_each_call_has_what_it_printed(capturing):
    silent = Call(printing.be_silent)
    result = run(
        capturing,
        Call(printing.say, ("hello",)),
        silent,
        Call(printing.say_in_c, ("from C",)),
        Call(printing.say, ("no end", "")),
        Call(printing.say_by_a_child, ("from a child",)),
        Call(printing.log_warning, ("careful",)),
        silent,
        Call(printing.say_and_raise, ("raised",)),
        Call(printing.fork_and_say, ("word",)),
    )
    assert [record.status for record in result.records] == [1, 0, 0, 1, 0, 0, 0, 3, 0]
    assert texts(result) == {
        100: b"hello\n",
        102: b"from C",
        103: b"no end",
        104: b"from a child\n",
        105: b"careful\n",
        107: b"raised",
        108: b"word of the child\nword of the parent\n",
    }
    assert not run(capturing, silent, silent).output


def test_bytes_are_as_they_were_written(capturing):
    data = bytes(range(256)) * 10
    assert texts(run(capturing, Call(printing.say_raw, (data,)))) == {100: data}


@pytest.mark.parametrize("how", ["exit", "kill", "crash"])
def test_calls_of_a_bundle_of_which_one_dies(capturing, how):
    result = run(
        capturing,
        Call(printing.say, ("before",)),
        Call(printing.say_and_die, ("last words", how)),
        Call(printing.say, ("after",)),
    )
    assert [record.status for record in result.records] == [1, 4, 1]
    found = texts(result)
    assert (found[100], found[102]) == (b"before\n", b"after\n")
    assert found[101].startswith(b"last words\n") and b"===" not in found[101]
    assert result.replaced == 1
    assert run(capturing, Call(printing.be_silent)).replaced == 0


def test_arguments_may_have_any_name():
    begun = []
    assert Captured(dict, lambda: begun.append(1))(self=1, function=2) == {"self": 1, "function": 2}
    assert begun == [1]


def test_the_end_of_much(capturing):
    result = run(capturing, Call(printing.print_lines, (10 << 20,)), Call(printing.say, ("x",)))
    (first, second) = result.pieces()
    _, _, gone, text = first
    assert len(text) <= 64 << 10 and set(text) == set(b"l\n") and text.endswith(b"l\n")
    # Marks of what was cut off the file count as well.
    assert abs(gone + len(text) - (10 << 20)) < 2000
    assert second == (OF_CALL, 101, 0, b"x\n")


@pytest.mark.parametrize("nbytes", [2_000_000, 50_000_000])
def test_what_never_came_to_the_file_is_counted(start_worker, nbytes):
    result = run(start_worker(env=WANTED), Call(printing.say, ("x" * nbytes,)), Call(printing.say, ("y",)))
    gone = {(kind, number): gone + len(text) for kind, number, gone, text in result.pieces()}
    # The mark that says so in the file counts as well.
    assert gone[OF_CALL, 100] == pytest.approx(nbytes, abs=1000) and gone[OF_CALL, 101] == 2
    assert gone[OF_SLOT, 0] == pytest.approx(nbytes, abs=1000)


def test_no_character_is_cut(capturing):
    result = run(capturing, Call(printing.say_in_pieces, (60_000, "\N{SNOWMAN}")))
    ((_, _, gone, text),) = result.pieces()
    assert set(text.decode()) == {"\N{SNOWMAN}"} and gone + len(text) == 180_000


def test_a_bundle_ends_where_much_was_printed(capturing):
    result = run(capturing, *[Call(printing.print_lines, (100_000,))] * 200)
    assert 10 < len(result.records) < 60 and len(texts(result)) == len(result.records)


def test_what_c_code_writes_while_the_file_is_cut(capturing):
    capturing.send_raw(encode_command(encode_frame([Call(printing.write_much_in_c, (20 << 20, 2))], first_number=100)))
    _, result = capturing.collect(60)
    ((_, _, gone, text),) = result.pieces()
    assert set(text) == set(b"c\n") and 60_000 < len(text) <= 64 << 10
    assert 10 << 20 < gone < 21 << 20


def test_output_gives_way_to_results(start_worker):
    limit = 1 << 20
    worker = start_worker(env={**WANTED, "VINEFAST_RESULT_NBYTES": str(limit)})
    head = 72 + 16
    overhead = len(calls.make_bytes(0)) + 100
    # As large as may be: there is room for nothing else.
    for size, dropped in ((limit - head - overhead, True), (limit - 20_000, False)):
        result = run(worker, Call(printing.say_and_return, (50_000, size)))
        assert [record.status for record in result.records] == [1]
        if dropped:
            assert result.output is None
        else:
            kinds = {kind: (gone, text) for kind, _, gone, text in result.pieces()}
            gone, text = kinds[OF_CALL]
            assert text.endswith(b"l\n") and gone + len(text) == 50_000 and gone > 30_000
    # It does not fit, and what it has printed does.
    result = run(worker, Call(printing.say_and_return, (5_000, 2 * limit)))
    assert [record.status for record in result.records] == [8] and len(texts(result)[100]) == 5_000


def test_all_of_a_slot_is_sent_once(start_worker):
    worker = start_worker(env=WANTED)
    first = worker.run([Call(printing.say, ("one",)), Call(printing.be_silent), Call(printing.say, ("two",))])
    (_, _, _, name), (kind, _, gone, text) = first.pieces()
    assert name == f"{os.uname().nodename}-{worker.process.pid}-slot-0.log".encode()
    assert (kind, gone) == (OF_SLOT, 0)
    assert [line for line in text.splitlines() if not line.startswith(b"===")] == [b"one", b"two"]
    assert worker.run([Call(printing.be_silent)]).output == b""
    died = worker.run([Call(printing.say_and_die, ("three", "kill"))])
    assert b"three\n=== " in died.pieces()[1][3] and b"by signal 9, and another goes on ===" in died.pieces()[1][3]
    # What a daemon writes later comes with the next bundle that comes.
    worker.run([Call(printing.leave_a_daemon, (0.1, "late"))])
    path = worker.library_directory / "slot-0.log"
    assert wait_until(lambda: b"late\n" in path.read_bytes())
    assert worker.run([Call(printing.be_silent)]).pieces()[1][3] == b"late\n"
    assert path.stat().st_mode & 0o777 == 0o600


def test_output_that_nobody_wants_is_not_sent(start_worker):
    worker = start_worker(env={**WANTED, "VINEFAST_OUTPUT_NBYTES": "0"})
    assert worker.run([Call(printing.say, ("one",))]).output == b""


def test_a_directory_that_this_worker_does_not_see(start_worker, tmp_path):
    worker = start_worker(env={**WANTED, "VINEFAST_OUTPUT": os.fspath(tmp_path / "nowhere")})
    assert b"one\n" in worker.run([Call(printing.say, ("one",))]).pieces()[1][3]


def test_so_much_is_sent_with_one_bundle(start_worker):
    worker = start_worker(env={**WANTED, "VINEFAST_OUTPUT_NBYTES": str(16 << 20)})
    _, (_, _, gone, text) = worker.run([Call(printing.print_lines, (3 << 20,))]).pieces()
    assert len(text) == 256 << 10 and gone + len(text) == pytest.approx(3 << 20, abs=1000)


@pytest.mark.parametrize("how", [None, "kill", "exit"])
def test_the_regular_mode(tmp_path, how):
    install_library(tmp_path)
    call = Call(printing.say, ("words",)) if how is None else Call(printing.say_and_die, ("words", how))
    (tmp_path / "frame").write_bytes(encode_frame([call], first_number=7))
    with open(tmp_path / "output", "wb") as file:
        subprocess.run(
            library_command(tmp_path, "vinefast_library.once"),
            cwd=tmp_path,
            env={**os.environ, **WANTED, "PYTHONPATH": str(USER_MODULES)},
            stdout=file,
            stderr=file,
            check=True,
        )
    result = decode_result((tmp_path / "output").read_bytes())
    assert [record.status for record in result.records] == [1 if how is None else 4]
    assert texts(result) == {7: b"words\n"}
    (name, text) = [text for kind, _, _, text in result.pieces() if kind != OF_CALL]
    assert name == f"{os.uname().nodename}-calls.log".encode()
    assert text.endswith(b"call 7 ===\nwords\n")


# Without a library


def test_a_forged_number_of_lost_bytes_harms_nobody(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    log = LogFile("slot-0.log")
    log.limit = 1000
    fd = log.open()
    os.write(fd, mark(f"continued from the older file; {'9' * 5000} bytes before that are gone"))
    assert log.cut(fd)
    os.close(fd)


def test_files_are_their_owners_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = os.umask(0o777)
    try:
        log = LogFile("slot-0.log")
        log.limit = 1000
        fd = log.open()
        os.write(fd, bytes(1001))
        assert log.cut(fd)
    finally:
        os.umask(before)
    os.close(fd)
    assert {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {
        "slot-0.log": 0o600,
        "slot-0.older.log": 0o600,
    }


@contextmanager
def own_output():
    """Have the output of this process captured as that of the calls of a bundle."""
    saved = os.dup(1)
    log = LogFile("slot-0.log")
    fd = log.open()
    os.dup2(fd, 1)
    memory = SlotMemory()
    own = Output(log, memory)
    frame = decode_frame(encode_frame([Call(printing.say)] * 2, first_number=100))
    rest = iter(frame.payload_kinds)
    own.follow(frame, [printing.say], rest)
    memory.counters[layout.STAGE] = layout.RUNNING
    stream = own.open_stream(1)

    def capture(*texts):
        next(rest)
        own.begin_capture()
        for text in texts:
            stream.write(text)
        output.attend(own.attention)
        return [
            bytes(text) for _, _, _, text in captured._pieces_of(memory.captured[: memory.counters[layout.CAPTURED]])
        ]

    try:
        yield capture
    finally:
        stream.detach()
        os.dup2(saved, 1)
        os.close(saved)
        os.close(fd)


@pytest.mark.parametrize("foreign", [b"child\n", b"no end"])
def test_what_is_written_at_the_moment_of_a_mark(tmp_path, monkeypatch, foreign):
    def append_late(fd, nbytes, line, append_line=output.append_line):
        os.write(fd, foreign)
        return append_line(fd, nbytes, line)

    monkeypatch.chdir(tmp_path)
    with own_output() as capture:
        one = capture("one\n")
        monkeypatch.setattr(output, "append_line", append_late)
        two = capture("two\n")
    assert one == [b"one\n"]
    assert [text.replace(b"\n", b"") for text in two] == [b"one", foreign.strip() + b"two"]


def test_no_pattern_is_compiled_for_a_call_that_prints(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(captured, "re", None)
    with own_output() as capture:
        one, two = capture("one\n"), capture("two\n", "three\n")
    assert one == [b"one\n"]
    assert two == [b"one\n", b"two\nthree\n"]


def test_threads_that_cut_at_once_count_each_byte_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    saved = os.dup(1)
    log = LogFile("slot-0.log")
    log.limit = 5000
    fd = log.open()
    os.dup2(fd, 1)
    try:
        memory = SlotMemory()
        output = Output(log, memory)
        stream = output.open_stream(1)
        data = b"x" * 99 + b"\n"

        def write():
            for _ in range(200):
                stream.buffer.raw.write(data)

        threads = [threading.Thread(target=write) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        marks = Path("slot-0.log").read_bytes()[:200].splitlines()[0]
        # Each cut leaves a mark, and may lose what was written meanwhile. One that is counted twice is 5000 more.
        assert 60_000 < output.captures.position() < 80_000 + 40 * (len(marks) + 1)
        detach = stream.detach()
        assert detach is not None
    finally:
        os.dup2(saved, 1)
        os.close(saved)
        os.close(fd)


def test_pieces_that_have_to_share_the_room():
    pieces = [(OF_CALL, number, 0, bytes([65 + number]) * 1000) for number in range(4)]
    data, dropped = packed(pieces, 2000)
    assert len(data) <= 2000 and not dropped
    result = ResultFrame([], 0, 0, 0, 0, 0, 0, data)
    assert all(gone + len(text) == 1000 and len(text) > 400 for _, _, gone, text in result.pieces())
    assert packed(pieces, 500) == (b"", True)
    assert packed(pieces, -5) == (b"", True)
