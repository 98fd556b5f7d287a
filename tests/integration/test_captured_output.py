"""What calls print comes back with their results, is kept here, or is shown while they run."""

from __future__ import annotations

import io
import os
import re
import resource
import subprocess
import sys
import threading
import time
from concurrent.futures import CancelledError
from pathlib import Path

import parsl
import pytest
from parsl.executors.taskvine import TaskVineFactoryConfig, TaskVineManagerConfig

import vinefast
from tests.helpers.waiting import wait_for_file, wait_until
from vinefast import Tuning
from vinefast.errors import CallDied, CallTimedOut, InvalidConfiguration, ResultTooLarge

pytestmark = pytest.mark.processes

ONE_CORE = TaskVineFactoryConfig(cores=1)


@pytest.fixture(params=["shared", "elsewhere", "regular"])
def way(request):
    return request.param


@pytest.fixture
def start(make_executor, by_hand, tmp_path):
    """Start an executor with one worker, which sees this machine's files or does not, or has no library."""

    def start(way="shared", tune=None, **options):
        fields = {"tune_parameters": tune} if tune is not None else {}
        if way != "elsewhere":
            mode = "regular" if way == "regular" else "serverless"
            config = TaskVineManagerConfig(port=0, **fields)
            return make_executor(function_exec_mode=mode, factory_config=ONE_CORE, manager_config=config, **options)
        config = TaskVineManagerConfig(port=0, address="127.0.0.1", shared_fs=False, **fields)
        executor = make_executor(worker_launch_method="manual", manager_config=config, **options)
        assert not executor._parts.files_are_shared
        directory = tmp_path / "elsewhere"
        directory.mkdir(exist_ok=True)
        by_hand(executor, "--cores", "1", directory=directory)
        return executor

    return start


def say(text):
    print(text)
    return text


def say_all(text):
    import logging

    print(f"printed {text}")
    os.write(1, f"written {text}\n".encode())
    subprocess.run(["echo", f"child {text}"], check=True)
    thread = threading.Thread(target=print, args=(f"thread {text}",))
    thread.start()
    thread.join()
    logging.getLogger("app").warning("logged %s", text)
    for byte in "Grüße\n".encode():
        sys.stdout.buffer.write(bytes([byte]))


ALL = "printed {0}\nwritten {0}\nchild {0}\nthread {0}\nlogged {0}\nGrüße\n"


def say_and_raise(text):
    print(text)
    raise ValueError(text)


def say_and_crash(text):
    print(text)
    os.kill(os.getpid(), 9)


def say_and_hang(text, path, seconds=60):
    print(text)
    Path(path).touch()
    time.sleep(seconds)


def say_and_compute(text):
    import itertools

    print(text, flush=True)
    return sum(itertools.repeat(1, 10**13))


def say_and_return(text, nbytes):
    print(text)
    return bytes(nbytes)


def print_much(nbytes):
    line = "l" * 99
    for _ in range(nbytes // 100):
        print(line)


def kept(executor) -> dict[str, str]:
    directory = Path(executor.run_dir, executor.label, "output")
    return {path.name: path.read_text(errors="replace") for path in directory.iterdir()}


def printed(executor) -> list[str]:
    """Lines that are kept, without marks."""
    lines = "\n".join(kept(executor).values()).splitlines()
    return [line for line in lines if line and not line.startswith("=== ")]


# Call by call


def test_what_each_call_has_printed(start, way):
    executor = start(way, capture_output=True)
    futures = [executor.submit(say_all, None, f"call {i}") for i in range(3)]
    silent = executor.submit(abs, None, -1)
    unwanted = executor.submit(say, {"capture_output": False}, "x")
    raised = executor.submit(say_and_raise, None, "raised")
    died = executor.submit(say_and_crash, None, "died")
    after = executor.submit(say, None, "after")
    for i, future in enumerate(futures):
        future.result(60)
        # What C code writes comes before what Python has buffered: here each line goes out at once.
        assert future.stdout == ALL.format(f"call {i}")
    assert silent.result(60) == 1 and silent.stdout == ""
    assert unwanted.result(60) == "x" and unwanted.stdout is None
    assert isinstance(raised.exception(60), ValueError) and raised.stdout == "raised\n"
    assert isinstance(died.exception(60), CallDied) and died.stdout == "died\n"
    assert after.result(60) == "after" and after.stdout == executor.stdout(after) == "after\n"


def test_a_single_call_asks_for_it(start):
    executor = start()
    asked = executor.submit(say, {"capture_output": True}, "asked")
    other = executor.submit(say, None, "other")
    assert (asked.result(60), other.result(60)) == ("asked", "other")
    assert (asked.stdout, other.stdout) == ("asked\n", None)
    futures = [*executor.submit_many(say, [("a",), ("b",)], resource_specification={"capture_output": True})]
    assert [future.result(60) for future in futures] == ["a", "b"]
    assert [future.stdout for future in futures] == ["a\n", "b\n"]
    assert [*executor.map(say, ["a", "b"], resource_specification={"capture_output": True})] == ["a", "b"]
    with pytest.raises(TypeError):
        executor.stdout(parsl.dataflow.futures.Future())


def test_calls_that_are_ended(start, tmp_path):
    executor = start(capture_output=True)
    path = tmp_path / "begun"
    future = executor.submit(say_and_hang, None, "cancelled", str(path))
    assert future.stdout is None
    wait_for_file(path)
    assert executor.cancel(future)
    with pytest.raises(CancelledError):
        future.result(0)
    assert wait_until(lambda: future.stdout == "cancelled\n")
    late = executor.submit(say_and_hang, {"running_time_max": 0.5}, "late", str(path))
    with pytest.raises(CallTimedOut):
        late.result(60)
    assert late.stdout.startswith("late\n")
    assert executor.submit(say, None, "x").result(60) == "x"


def test_nothing_of_vinefasts_own_is_in_it(start):
    executor = start("regular", capture_output=True)
    future = executor.submit(say_and_compute, {"running_time_max": 0.5}, "computes")
    assert isinstance(future.exception(60), CallTimedOut)
    assert future.stdout == "computes\n"


def test_output_never_makes_a_result_too_large(start):
    limit = 1 << 20
    executor = start(capture_output=True, tune=Tuning(max_task_stdout_storage=limit))
    fits = executor.submit(say_and_return, None, "a" * 30_000, limit - 10_000)
    assert len(fits.result(60)) == limit - 10_000
    assert fits.stdout.startswith("... ") and fits.stdout.endswith("a\n")
    nothing_more = executor.submit(say_and_return, None, "a" * 30_000, limit - 300)
    assert len(nothing_more.result(60)) == limit - 300
    assert "there was no room" in nothing_more.stdout
    too_large = executor.submit(say_and_return, None, "why", 2 * limit)
    assert isinstance(too_large.exception(60), ResultTooLarge) and too_large.stdout == "why\n"


def test_the_end_of_very_much(start):
    executor = start(capture_output=True)
    future = executor.submit(print_much, None, 100 << 20)
    future.result(100)
    (gone,) = re.findall(r"\A\.\.\. (\d+) bytes before that are left out \.\.\.\n", future.stdout)
    assert len(future.stdout) < 70_000 and int(gone) == pytest.approx(100 << 20, rel=0.001)
    assert sum(map(len, kept(executor).values())) < 10 << 20


def test_apps_and_their_retries(load, tmp_path):
    executor = load({"retries": 1}, label="retrying", capture_output=True, factory_config=ONE_CORE)
    path = str(tmp_path / "tried")

    @vinefast.python_app
    def try_twice():
        first = not os.path.exists(path)
        print("first" if first else "second")
        if first:
            Path(path).touch()
            raise ValueError("once more")
        return 5

    future = try_twice()
    assert future.result(60) == 5
    assert executor.stdout(future) == "second\n"


def test_an_app_that_ends_before_parsl_has_noted_its_call(load, tmp_path, monkeypatch):
    """Parsl launches another try on a thread of its own, and the app may be done before that thread goes on."""
    executor = load({"retries": 1}, label="racing", capture_output=True, factory_config=ONE_CORE)
    submit, gate, calls = executor.submit, str(tmp_path / "gate"), []

    def submit_and_wait(*args, **kwargs):
        calls.append(submit(*args, **kwargs))
        if len(calls) == 2:
            calls[1].exception(60)
        return calls[-1]

    monkeypatch.setattr(executor, "submit", submit_and_wait)

    @vinefast.python_app
    def try_twice():
        first = not os.path.exists(gate + "-passed")
        print("first" if first else "second")
        while not os.path.exists(gate):
            time.sleep(0.01)
        if first:
            Path(gate + "-passed").touch()
            raise ValueError("once more")

    future, found = try_twice(), []
    future.add_done_callback(lambda app: found.append(executor.stdout(app)))
    Path(gate).touch()
    assert future.result(60) is None
    assert wait_until(lambda: found == ["second\n"])
    # What a thread does that has launched the first try, and goes on only now.
    future.task_record["exec_fu"] = calls[0]
    assert executor.stdout(future) == "second\n"


# Kept here


def test_output_of_each_kind_of_worker_is_kept(start, way):
    executor = start(way)
    futures = [executor.submit(say, None, f"number {i}") for i in range(10)]
    for future in futures:
        future.result(60)
    with pytest.raises(CallDied):
        executor.submit(say_and_crash, None, "last words").result(60)
    executor.submit(abs, None, -1).result(60)
    executor.shutdown()
    # In regular mode TaskVine chooses which task goes first.
    assert sorted(printed(executor)) == ["last words", *(f"number {i}" for i in range(10))]
    text = "".join(kept(executor).values())
    for i, future in enumerate(futures):
        assert re.search(rf"^=== .* say, call {future.parsl_executor_task_id} ===\nnumber {i}$", text, re.M)
    for path in Path(executor.run_dir, executor.label, "output").iterdir():
        assert path.stat().st_mode & 0o777 == 0o600
        kind = "calls" if way == "regular" else r"\d+-slot-0"
        assert re.fullmatch(rf".*-{kind}\.log", path.name)


def test_what_comes_back_is_bounded(start):
    executor = start("elsewhere", tune=Tuning(output_nbytes=100_000))
    for _ in range(5):
        executor.submit(print_much, None, 1 << 20).result(60)
    executor.shutdown()
    files = kept(executor)
    assert 50_000 < sum(map(len, files.values())) < 110_000 and len(files) == 2
    assert any("bytes before that are gone ===" in text for text in files.values())


def test_a_full_disk_loses_output_alone(start, mount_disk):
    disk = mount_disk(400_000)
    executor = start("elsewhere")
    directory = Path(executor.run_dir, executor.label, "output")
    subprocess.run(["mount", "--bind", disk, directory], check=True)
    try:
        for i in range(20):
            assert executor.submit(say_and_return, None, str(i) * 50_000, i).result(60) == bytes(i)
        assert wait_until(lambda: sum(path.stat().st_size for path in directory.iterdir()) > 300_000)
        executor.shutdown()
    finally:
        subprocess.run(["umount", "--lazy", directory], check=True)


def test_processes_that_were_replaced_are_counted(start):
    executor = start()
    assert executor.submit(abs, None, -1).result(60) == 1
    assert executor.stats()["slots_replaced"] == 0
    for _ in range(2):
        assert isinstance(executor.submit(say_and_crash, None, "x").exception(60), CallDied)
    executor.submit(abs, None, -1).result(60)
    assert executor.stats()["slots_replaced"] == 2


# Shown


class Screen(io.StringIO):
    """In the place of standard error, as in a notebook."""

    def lines(self):
        return self.getvalue().splitlines()


@pytest.fixture
def screen(start, monkeypatch):
    """Start an executor, as `start` does, that forwards output, and give both."""

    def start_with_screen(way="shared", **options):
        # Not before the test runs, at the begin of which pytest puts its own there.
        monkeypatch.setattr(sys, "stderr", Screen())
        return start(way, forward_output=True, **options), sys.stderr

    return start_with_screen


def test_lines_are_shown_with_who_they_are_from(screen, way, tmp_path):
    executor, screen = screen(way)
    path = tmp_path / "begun"
    futures = [executor.submit(say, None, f"number {i}") for i in range(5)]
    for future in futures:
        future.result(60)
    if way == "shared":  # before the call has ended
        future = executor.submit(say_and_hang, None, "live", str(path), 20)
        wait_for_file(path)
        assert wait_until(lambda: any(line.endswith(") live") for line in screen.lines()), 15)
        executor.cancel(future)
    last = executor.submit(say_and_raise, None, "last")
    last.exception(60)
    executor.shutdown()
    wanted = [
        *(rf"\(say call={future.parsl_executor_task_id}, .+\) number {i}" for i, future in enumerate(futures)),
        rf"\(say_and_raise call={last.parsl_executor_task_id}, .+\) last",
    ]
    shown = [line for line in screen.lines() if not line.endswith(") live")]
    if way == "regular":  # TaskVine chooses which task goes first
        shown.sort(key=lambda line: int(re.search(r"call=(\d+)", line)[1]))
    assert len(shown) == len(wanted), shown
    assert all(re.fullmatch(pattern, line) for pattern, line in zip(wanted, shown, strict=True)), shown


def test_marks_that_calls_print_end_nothing(screen):
    executor, screen = screen()
    forged = "=== 2026-01-01 00:00:00.000 {} ==="
    for text in ("say, call " + "9" * 5000, "9" * 5000 + " bytes before that are gone", "x"):
        executor.submit(say, None, forged.format(text)).result(60)
    executor.submit(say, None, "still here").result(60)
    executor.shutdown()
    assert screen.lines()[-1].endswith(") still here")


def test_nothing_is_shown_twice_after_a_lack_of_descriptors(screen):
    executor, screen = screen()
    executor.submit(say, None, "one").result(60)
    assert wait_until(lambda: any(line.endswith(") one") for line in screen.lines()))
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, before[1]))
    try:
        time.sleep(1)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    executor.submit(say, None, "two").result(60)
    executor.shutdown()
    assert [line.rpartition(") ")[2] for line in screen.lines()] == ["one", "two"]


PROGRAM = """
import sys
from vinefast import VineFastExecutor

def say(text):
    print(text)
    return text

with VineFastExecutor(forward_output=True) as executor:
    for i in range(20):
        assert executor.submit(say, None, "x" * 10_000).result(60) == "x" * 10_000
print("done", flush=True)
"""


@pytest.mark.parametrize("how", ["closed", "broken", "unread"])
def test_nobody_has_to_read_it(mark, tmp_path, how):
    read_fd, write_fd = os.pipe()
    if how == "broken":
        os.close(read_fd)
    command = [sys.executable, "-c", PROGRAM]
    if how == "closed":
        command = ["sh", "-c", 'exec "$@" 2>&-', "sh", *command]
    done = subprocess.run(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=write_fd, timeout=100)
    os.close(write_fd)
    if how != "broken":
        os.close(read_fd)
    assert (done.returncode, done.stdout) == (0, b"done\n")


def test_a_shutdown_in_the_midst_of_printing(screen, way):
    executor, screen = screen(way, capture_output=True)
    futures = [executor.submit(print_much, None, 50_000) for _ in range(50)]
    futures[0].result(60)
    executor.shutdown()
    assert all(future.done() for future in futures)
    lines = screen.lines()
    assert lines
    assert not [line for line in lines[:-1] if not (line.endswith(") " + "l" * 99) or " ... " in line)], lines[-3:]


def test_what_is_not_kept_cannot_be_forwarded(make_executor):
    with pytest.raises(InvalidConfiguration, match="output-nbytes"):
        make_executor(
            start=False,
            forward_output=True,
            manager_config=TaskVineManagerConfig(port=0, tune_parameters=Tuning(output_nbytes=0)),
        )
