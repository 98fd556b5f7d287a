"""The commands that read event logs, of runs that are strange: what is in a log may be anybody's work, or damaged."""

import builtins
import json
import os
import pty
import random
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from click.testing import CliRunner

from tests.events.logs import LogWriter
from vinefast.cli import main
from vinefast.events import layout
from vinefast.events.failures import Reason
from vinefast.events.run import Run
from vinefast.events.story import Stories
from vinefast.library import process, protocol

SECOND = 10**9
NASTY = "x[/b][red]\x1b]0;owned\x07\x1b[2J</script>"


def invoke(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def log(tmp_path):
    """The log of a program whose calls end in each way, under names that would command a terminal."""
    log = LogWriter(tmp_path / "executor")
    log.run(SECOND, label=NASTY, host=socket.gethostname(), pid=os.getpid(), program=["python", NASTY, "\udcff"])
    log.function(1, NASTY)
    log.worker(1, SECOND)
    log.name(layout.NODE, 1, json.dumps({"hostname": NASTY}), SECOND, 2)
    failed = protocol.STATUS_EXCEPTION
    log.ended(1, range(5), [0, 1, failed, failed, 4], sent_ns=2 * SECOND, returned_ns=3 * SECOND, run_ns=SECOND)
    log.failure(2, failed, (NASTY, f"no {NASTY} \udcff \u4e2d", f"Traceback {NASTY}\r\n  \udcff", None))
    log.failure(3, failed, (5, [NASTY], {}, None, NASTY))
    log.failure(4, protocol.STATUS_DIED, (None, 9, NASTY, None))
    return log


COMMANDS = (["status"], ["status", "--json"], ["why"], ["why", "--json"], ["why", "--call"], ["report", "-o", "r.html"])


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_names_command_no_terminal_and_are_no_markup(log, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    number = ["2"] if "--call" in command else []
    ended = invoke(command[0], log.directory, *number, *command[1:])
    assert ended.exit_code == 0, ended.output
    assert "\x1b" not in ended.output and "\x07" not in ended.output
    if "--json" in command:
        assert json.loads(ended.output)
    elif command[0] != "report":
        assert r"x[/b][red]\x1b]0;owned\x07\x1b[2J</script>" in ended.output.replace("\n", "")


@pytest.mark.processes
@pytest.mark.parametrize("encoding", ["ascii", "utf-8", "latin-1"])
def test_any_name_in_any_encoding(log, tmp_path, encoding):
    """Also that of a file which is no UTF-8, in the message of an exception."""
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": f"{encoding}:strict"}
    for command in (["status"], ["why"], ["report", "-o", "r.html"]):
        program = [sys.executable, "-c", "from vinefast.cli import main; main()"]
        arguments = [command[0], log.directory, *command[1:]]
        ended = subprocess.run([*program, *arguments], env=environment, cwd=tmp_path, capture_output=True, timeout=60)
        assert ended.returncode == 0 and not ended.stderr


@pytest.mark.processes  # it takes seconds
def test_a_log_that_is_damaged_somewhere_ends_no_command_in_an_error_of_its_own(log, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    chance = random.Random(1)
    whole = log.path.read_bytes()
    for _ in range(50):
        data = bytearray(whole)
        for _ in range(chance.choice((1, 1, 3))):
            at = chance.randrange(len(data)) & ~3
            match chance.randrange(4):
                case 0:
                    data[at : at + 4] = chance.choice((b"\xff" * 4, bytes(4), b"\0\0\0\x7f"))
                case 1:
                    data[at] = chance.randrange(256)
                case 2:
                    del data[at : at + 8 * chance.randrange(1, 4)]
                case 3:
                    del data[max(at, 1) :]
        log.path.write_bytes(data)
        for command in (["status"], ["why"], ["why", "--call", "2"]):
            began_s = time.monotonic()
            ended = invoke(command[0], log.directory, *command[1:])
            assert ended.exception is None or isinstance(ended.exception, SystemExit), bytes(data)
            assert ended.exit_code in (0, 1) and time.monotonic() - began_s < 100


def test_what_comes_before_the_damage_is_shown(log):
    with open(log.path, "ab") as file:
        file.write(bytes(64))  # as a file system leaves them when the machine has stopped
    assert "3 of 5 calls that ended failed" in invoke("why", log.directory).output
    assert (
        f"{log.path} is damaged: a record of 0 bytes: there may be more calls than these\n"
        in invoke("why", log.directory).output
    )
    assert "is damaged" in invoke("status", log.directory).output


def test_calls_that_have_not_ended_are_said_beside_those_that_failed(log):
    log.put(layout.SENT, layout.SENT_BODY.pack(2 * SECOND, 70, 100, 3, 1, 1, 0))
    output = invoke("why", log.directory).output
    assert f"3 calls have not ended: see vinefast status {log.directory}\n" in output, output


@pytest.mark.parametrize("command", ["status", "why", "report"])
def test_a_log_that_nobody_else_may_read(log, monkeypatch, command):
    def refuse(path, *arguments, **options):
        if str(path).endswith("events"):
            raise PermissionError(13, "Permission denied", path)
        return opened(path, *arguments, **options)

    opened = builtins.open
    monkeypatch.setattr(builtins, "open", refuse)
    ended = invoke(command, log.directory)
    assert ended.exit_code == 1 and ended.output == f"Error: {log.path} cannot be read: Permission denied\n"


def test_a_number_that_is_another_process_by_now(log):
    def state(**about):
        log.run(SECOND, host=socket.gethostname(), **about)
        (found,) = json.loads(invoke("status", "--json", log.directory).output)
        return found["state"]

    pid = os.getpid()
    started = process.started_at(pid)[pid].decode()
    assert state(pid=pid, started=started) == "running"
    assert state(pid=pid, started=str(int(started) - 1)) == "lost"
    assert state(pid=0) == "lost"


def test_the_newest_run_is_that_of_the_largest_number(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("998", "999", "1000", "1000-copy"):
        (tmp_path / "runinfo" / name).mkdir(parents=True)
        LogWriter(tmp_path / "runinfo" / name / "executor").run(SECOND, label=f"the {name}th")
    assert "the 1000th: 0 of 0 calls that ended failed" in invoke("why").output


def test_a_task_whose_number_is_a_directory_as_well(log, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "2").mkdir()
    assert "call 2: failed" in invoke("why", log.directory, "2").output


def test_an_executor_whose_label_has_spaces(tmp_path):
    log = LogWriter(tmp_path / "my executor")
    log.run(SECOND, label="my executor")
    log.function(1, "relax")
    log.ended(1, [7], [0], sent_ns=2 * SECOND, returned_ns=3 * SECOND, run_ns=SECOND)
    line = "Parsl task 3 try 1 launched on executor my executor with executor id 7"
    (tmp_path / "parsl.log").write_text(f"2026-01-01 parsl.dataflow.dflow [INFO]  {line}\n")
    assert "task 3, try 1 (call 7): done" in invoke("why", tmp_path, "3").output


def test_a_task_is_found_in_parsls_log_as_json(tmp_path):
    """Else its number would be taken for the executor's, which is another call's."""
    label = "vines 'of' mine"
    log = LogWriter(tmp_path / "vines")
    log.run(SECOND, label=label)
    log.function(1, "relax")
    log.ended(1, [7, 3], [0, 0], sent_ns=2 * SECOND, returned_ns=3 * SECOND, run_ns=SECOND)
    others = [dict(executor="another", task="3", executor_task="3"), dict(executor=label, task="x", executor_task="3")]
    own = dict(executor=label, task="3", executor_task="7")
    with open(tmp_path / "parsl.jsonlog", "w") as file:
        for known in (*others, own):
            record = {
                "name": "parsl.dataflow.dflow",
                "msg": "Parsl task 9 try 9 launched on executor a with executor id 9",
            }
            record |= {f"parsl.{name}": value for name, value in ({"try": "1"} | known).items()}
            print(json.dumps(record), file=file)
        file.write(json.dumps(record)[:-20])  # it is being written
    assert "task 3, try 1 (call 7): done" in invoke("why", tmp_path, "3").output


def test_a_log_whose_beginning_is_gone_says_so(log, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    log.path.write_bytes(log.path.read_bytes().replace(log.head, log.head_of(3), 1))
    for command in ("status", "why"):
        assert "has made room for later records" in " ".join(invoke(command, log.directory).output.split())
    assert invoke("report", log.directory).exit_code == 0
    assert "has made room for later records" in (tmp_path / "report.html").read_text("utf-8")


def test_many_reasons_are_told_without_taskvines_logs(log, monkeypatch):
    """Which may have millions of lines, and would be read once for each reason."""
    logs = log.path.parent / "taskvine" / "vine-logs"
    logs.mkdir(parents=True)
    (logs / "transactions.old").write_text("0 17 TASK 1 WAITING\n")
    (logs / "transactions").write_text("1 17 TASK 1 RUNNING\n1 17 TASK 11 RUNNING\n")
    read = []
    opened = builtins.open
    monkeypatch.setattr(builtins, "open", lambda path, *a, **o: (read.append(str(path)), opened(path, *a, **o))[1])
    assert invoke("why", log.directory).exit_code == 0 and not [path for path in read if "transactions" in path]
    (story,) = json.loads(invoke("why", log.directory, "--call", "2", "--json").output)
    assert story["log"] == ["0 17 TASK 1 WAITING", "1 17 TASK 1 RUNNING"]


def test_each_failure_with_a_reason_of_its_own(tmp_path):
    """As where messages name files: each reason takes a time that does not grow with the run."""
    n_failed, n, n_bundles = 4_000, 50_000, 16
    log = LogWriter(tmp_path / "executor")
    log.run(SECOND)
    log.function(1, "f")
    lost = np.arange(n_failed, dtype="u8")
    log.put(layout.LOST, layout.LOST_BODY.pack(SECOND, 1, 1, 0, n_failed, 0) + lost.tobytes())
    statuses = [protocol.STATUS_EXCEPTION] * n_failed + [protocol.STATUS_PICKLE] * (n - n_failed)
    for first in range(0, n * n_bundles, n):
        numbers = range(first, first + n)
        log.ended(2, numbers, statuses, sent_ns=2 * SECOND, returned_ns=3 * SECOND, run_ns=SECOND)
        statuses = [protocol.STATUS_PICKLE] * n
    for number in range(n_failed):
        name = "".join(chr(97 + int(digit)) for digit in str(number))
        log.failure(number, protocol.STATUS_EXCEPTION, ("OSError", f"no {name}", "", None))
    run = Run(log.directory)
    run.update()
    began_s = time.process_time()
    groups = Stories(run).failed()
    assert len(groups) == n_failed and all(len(group.example.tries) == 1 for group in groups)
    assert time.process_time() - began_s < 2.0


@pytest.mark.parametrize(
    ("message", "group"),
    [
        ("no 3f2b8c1e-9d4a-4e5f-8a7b-abcdefabcdef", "no N"),
        ("no /tmp/dcc2f1ae, 17 tries", "no /tmp/N, N tries"),
        ("digest 0a1b2c3d4e5f60718293a4b5c6d7e8f9", "digest N"),
        ("a decade of defaced facades at 0xfe", "a decade of defaced facades at N"),
        ("file12345678.txt", "fileN.txt"),
    ],
)
def test_what_differs_in_numbers_alone_is_one_reason(message, group):
    assert Reason("OSError", message).group == f"OSError: {group}"


@pytest.mark.processes
@pytest.mark.parametrize("width", [1, 20, 500])
def test_a_view_of_any_width_ends_with_its_terminal(log, tmp_path, width):
    """Also where nobody sends it SIGHUP, or it ignores that."""
    log.run(
        SECOND,
        host=socket.gethostname(),
        pid=os.getpid(),
        started=process.started_at(os.getpid())[os.getpid()].decode(),
    )
    ours, theirs = pty.openpty()
    program = [
        sys.executable,
        "-c",
        "from vinefast.cli import main; main()",
        "status",
        "--interval",
        "0.1",
        log.directory,
    ]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": str(width), "LINES": "100"}
    with open(tmp_path / "said", "w") as said:
        view = subprocess.Popen(program, stdin=theirs, stdout=theirs, stderr=said, env=environment)
    os.close(theirs)
    try:
        shown = b""
        while shown.count(b"\x1b[2K") < 20:  # it is drawn once more
            shown += os.read(ours, 65536)
        os.close(ours)
        assert view.wait(60) in (0, 1) and not (tmp_path / "said").read_text()
    finally:
        view.kill()
        view.wait()


def test_calls_with_one_limit_are_one_group_whoever_was_the_first_to_end_them(log):
    """Parsl does, or vinefast, which knows the limit."""
    log.function(2, "relax")
    statuses = [protocol.STATUS_EXCEPTION, protocol.STATUS_TIMED_OUT, protocol.STATUS_TIMED_OUT]
    log.ended(2, [7, 8, 9], statuses, sent_ns=2 * SECOND, returned_ns=3 * SECOND, run_ns=SECOND, function=2)
    log.failure(7, statuses[0], ("parsl.app.errors.AppTimeout", "", "Traceback", None))
    log.failure(8, statuses[1], (2.5, "stack"))
    log.failure(9, statuses[2], (3.0, "stack"))
    groups = json.loads(invoke("why", "--json", log.directory).output)[NASTY]
    (group,) = (group for group in groups if "CallTimedOut" in group["name"])
    assert group["name"] == "CallTimedOut: relax ran for longer than its limit and was ended"
    assert group["numbers"] == [7, 8, 9]
    text = invoke("why", "--call", log.directory, "8").output
    assert "its limit of 2.5 s" in text and "0 of the library with process 99" in text


def test_what_was_not_done_when_the_executor_was_shut_down(log):
    log.put(layout.SENT, layout.SENT_BODY.pack(3 * SECOND, 3, 11, 2, 1, 1, 400))
    log.name(layout.COUNTER_NAMES, 0, "calls_waiting others")
    log.put(layout.COUNTERS, np.array([4 * SECOND, 5, 6], "u8").tobytes())
    assert (
        "5 waiting at the end" in invoke("status", log.directory).output
    )  # lost: no process has that number and start
    log.run(SECOND, host="another")
    assert "5 waiting, 2 with workers, 2 done" in invoke("status", log.directory).output
    assert "call 11: with a worker\n" in invoke("why", "--call", log.directory, "11").output
    log.stopped(5 * SECOND)
    assert "5 waiting at the end, 2 with workers at the end, 2" in invoke("status", log.directory).output
    assert (
        "call 11: with a worker when the executor was shut down\n"
        in invoke("why", "--call", log.directory, "11").output
    )
    assert "or the run ended before a worker had it" in invoke("why", "--call", log.directory, "99").output


def test_a_call_whose_worker_has_left_waits(log):
    """TaskVine keeps its bundle, and gives it to the next worker."""
    log.run(SECOND, host="another")
    log.worker(2, SECOND)
    log.put(layout.SENT, layout.SENT_BODY.pack(3 * SECOND, 3, 11, 2, 1, 1, 400))
    log.name(layout.WORKER_LEFT, 1, "", 4 * SECOND)
    assert "2 waiting, 2 done" in invoke("status", log.directory).output
    (story,) = json.loads(invoke("why", "--json", "--call", log.directory, "11").output)
    assert (story["outcome"], story["worker"]) == ("waiting", "")
    log.put(layout.SENT, layout.SENT_BODY.pack(5 * SECOND, 3, 11, 2, 1, 2, 400))
    assert "0 waiting, 2 with workers, 2 done" in invoke("status", log.directory).output
    (again,) = json.loads(invoke("why", "--json", "--call", log.directory, "11").output)
    assert (again["outcome"], again["worker"]) == ("with a worker", "2 (10.0.0.2:9)")
    tries = [{"at_s": 4.0, "worker": "1 (10.0.0.1:9)", "reason": "its worker left"}]
    assert story["tries"] == again["tries"] == tries


def test_an_audit_of_no_log_has_found_no_breach(tmp_path):
    ended = invoke("audit", tmp_path)
    assert ended.exit_code == 3 and "no event log" in ended.output
