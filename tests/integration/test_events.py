"""The event log of real runs, and the commands that read it."""

import json
import os
import pty
import re
import select
import signal
import stat
import subprocess
import sys
import time

import psutil
import pytest
from parsl.executors.taskvine import TaskVineManagerConfig

from tests.helpers.processes import left_of, processes_marked
from tests.helpers.waiting import wait_until
from vinefast import CallTimedOut, Tuning, VineFastExecutor
from vinefast.errors import EngineStartError
from vinefast.events.run import Run
from vinefast.events.running import find_running
from vinefast.events.state import state_of
from vinefast.events.story import Stories
from vinefast.library import protocol

COMMAND = [sys.executable, "-c", "from vinefast.cli import main; main()"]


def half(n):
    return n / 2


def refuse(n):
    raise ValueError(f"{n} is none")


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def nap(seconds, path=None):
    if path is not None:
        with open(path, "w"):
            pass
    time.sleep(seconds)
    return seconds


def dawdle(walltime=1):
    for _ in range(600):
        time.sleep(0.1)


def read(executor):
    run = Run(f"{executor.run_dir}/{executor.label}")
    run.update()
    return run


def command(*arguments):
    return subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=60)


def tuned(**values):
    return TaskVineManagerConfig(port=0, tune_parameters=Tuning(**values))


def test_each_call_is_there_once(make_executor):
    executor = make_executor()
    futures = [executor.submit(half, {}, i) for i in range(5000)]
    failing = [executor.submit(refuse, {}, i) for i in range(7)]
    dying = executor.submit(die, {})
    assert [future.result(60) for future in futures] == [i / 2 for i in range(5000)]
    assert all(isinstance(future.exception(60), ValueError) for future in failing) and dying.exception(60) is not None
    executor.shutdown()
    run = read(executor)
    calls, bundles = run.calls, run.bundles
    numbers = [future.parsl_executor_task_id for future in (*futures, *failing, dying)]
    assert sorted(calls["number"].tolist()) == sorted(numbers)
    assert sorted(run.functions.values()) == ["die", "half", "refuse"] and not run.away and not run.n_left_out
    assert len(bundles) < 2500 and bundles["n_calls"].sum() == len(calls)
    assert (bundles["sent_ns"] <= bundles["returned_ns"]).all() and (bundles["worker"] == 1).all()
    assert run.about["pid"] == os.getpid() and run.about["label"] == executor.label
    assert abs(run.wall_s(run.first_ns) - time.time()) < 120
    assert run.counters[-1]["calls_returned"] == 5008
    state = state_of(run, "")
    assert (state.state, state.done, state.failed, state.running) == ("ended", 5000, 8, 0)
    groups = Stories(run).failed()
    assert [len(group.numbers) for group in groups] == [7, 1]
    assert groups[0].name == "ValueError: N is none" and groups[1].name.startswith("CallDied: ")
    assert groups[0].numbers == [future.parsl_executor_task_id for future in failing]
    story = groups[0].example
    assert "in refuse" in story.reason.detail and story.function == "refuse" and story.slot is not None
    assert os.stat(run.path).st_size < 60 * 5008 + 20000
    assert stat.S_IMODE(os.stat(run.path).st_mode) == 0o600


def test_a_program_that_runs(make_executor, tmp_path):
    executor = make_executor()
    gate = tmp_path / "gate"
    running = executor.submit(nap, {}, 60, str(gate))
    assert executor.submit(half, {}, 3).result(60) == 1.5 and wait_until(gate.exists)
    path = f"{executor.run_dir}/{executor.label}/events"
    assert wait_until(lambda: path in find_running())

    def look():
        (found,) = json.loads(command("status", "--json", f"{executor.run_dir}/{executor.label}").stdout)
        return found["running"] == 1 and found["done"] == 1 and found

    assert wait_until(look)
    found = look()
    (worker,) = found["workers"]
    assert found["state"] == "running" and worker["functions"] == {"nap": 1} and worker["slots"] == 2
    (story,) = json.loads(command("why", executor.run_dir, running.parsl_executor_task_id, "--json").stdout)
    assert story["outcome"] == "with a worker" and story["function"] == "nap"
    executor.cancel(running)
    assert wait_until(lambda: state_of(read(executor), "").cancelled == 1)
    assert "2 slots" in command("status", executor.run_dir).stdout


def test_a_worker_that_is_killed(make_executor, mark, tmp_path):
    executor = make_executor()
    gate = tmp_path / "gate"
    future = executor.submit(nap, {}, 3, str(gate))
    assert wait_until(gate.exists, 30)
    (worker,) = (process for process in processes_marked(mark) if "--workspace" in process.cmdline())
    psutil.Process(worker.pid).kill()
    assert future.result(60) == 3
    executor.shutdown()
    run = read(executor)
    assert len(run.workers) == 2 and run.workers[1].left_ns is not None
    story = Stories(run).of(future.parsl_executor_task_id)
    assert story.outcome == "done" and story.worker.startswith("2 (")
    (tried,) = story.tries
    assert tried.worker.startswith("1 (") and tried.reason == "its worker left"


def test_it_is_bounded(make_executor):
    executor = make_executor(manager_config=tuned(events_nbytes=200_000))
    for _ in range(10):
        assert [f.result(60) for f in [executor.submit(half, {}, i) for i in range(4000)]]
        time.sleep(0.1)
    executor.shutdown()
    run = read(executor)
    old = f"{run.path}.old"
    # What one turn has handed over is written whole.
    assert os.stat(run.path).st_size + os.stat(old).st_size < 600_000
    assert run.functions == {1: "half"} and run.workers[1].node and 0 < len(run.calls) < 40_000
    assert run.calls["number"].max() == 39_999 and (run.calls["status"] == protocol.STATUS_PICKLE).all()


def test_a_worker_that_has_left_is_not_there_in_later_files(make_executor, mark, tmp_path):
    executor = make_executor(manager_config=tuned(events_nbytes=100_000))
    gate = tmp_path / "gate"
    future = executor.submit(nap, {}, 1, str(gate))
    assert wait_until(gate.exists, 30)
    (worker,) = (process for process in processes_marked(mark) if "--workspace" in process.cmdline())
    psutil.Process(worker.pid).kill()
    assert future.result(60) == 1
    for _ in range(6):
        assert [f.result(60) for f in [executor.submit(half, {}, i) for i in range(4000)]]
        time.sleep(0.1)
    run = read(executor)
    assert run.is_cut and list(run.workers) == [2]
    (found,) = state_of(run, "").workers
    assert found.number == 2 and found.slots == 2 and found.done > 0


def test_a_start_that_fails_leaves_no_thread(tmp_path):
    executor = VineFastExecutor(manager_config=TaskVineManagerConfig(port=0, enable_peer_transfers=False))
    executor.run_dir = str(tmp_path)
    (tmp_path / executor.label / "taskvine").mkdir(parents=True)
    (tmp_path / executor.label / "taskvine" / "temporary-files").touch()
    before = len(os.listdir("/proc/self/task"))
    with pytest.raises(EngineStartError, match="temporary-files"):
        executor.start()
    assert wait_until(lambda: len(os.listdir("/proc/self/task")) <= before)


def test_there_is_none_if_it_may_have_no_bytes(make_executor):
    executor = make_executor(manager_config=tuned(events_nbytes=0))
    assert executor.submit(half, {}, 3).result(60) == 1.5
    assert not os.path.exists(f"{executor.run_dir}/{executor.label}/events")
    ended = command("why", executor.run_dir)
    assert ended.returncode == 1 and "no event log" in ended.stderr and "Traceback" not in ended.stderr


PROGRAM = """
import os, sys, time
from vinefast import VineFastExecutor
def half(n):
    return n / 2
executor = VineFastExecutor(label="killed")
executor.run_dir = sys.argv[1]
executor.start()
assert executor.submit(half, {}, 3).result(60) == 1.5
time.sleep(1.2)
if sys.argv[2] == "fork" and not os.fork():
    executor.shutdown()
    os._exit(0)
os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("way", ["killed", "fork"])
def test_a_program_that_is_killed(tmp_path, mark, way):
    ended = subprocess.run([sys.executable, "-c", PROGRAM, str(tmp_path), way], timeout=100)
    assert ended.returncode == -signal.SIGKILL and not left_of(mark, 30)
    (found,) = json.loads(command("status", "--json", tmp_path).stdout)
    assert found["state"] == "lost" and found["done"] == 1 and found["counters"]["calls_returned"] == 1
    assert "killed: lost" in command("status", tmp_path).stdout


@pytest.mark.parametrize("arguments", [["why", "nowhere"], ["why", "1", "2"], ["status", "nowhere"]])
def test_what_is_not_there(tmp_path, arguments):
    ended = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert ended.returncode == 2 and "Traceback" not in ended.stderr and ended.stderr


def test_why_in_the_newest_run(load, tmp_path):
    import parsl

    executor = load({"retries": 1}, label="vf")
    app = parsl.python_app(refuse)
    good, bad = parsl.python_app(half)(4), app(7)
    assert good.result(60) == 2 and isinstance(bad.exception(60), ValueError)
    run_dir = parsl.dfk().run_dir
    assert wait_until(lambda: [len(group.numbers) for group in Stories(read(executor)).failed()] == [2])
    stories = json.loads(command("why", run_dir, bad.tid, "--json").stdout)
    assert [story["reason"]["message"] for story in stories] == ["7 is none"] * 2
    text = command("why", run_dir).stdout
    assert "ValueError: N is none" in text and "2 of 3 calls failed" in text
    # However long the name of this file is, its line in the traceback is whole.
    assert re.search(r'^ *File ".*test_events\.py", line \d+, in refuse$', text, re.MULTILINE)
    assert "which were tries of 1 task of Parsl's" in text and re.search(rf"tasks +│ {bad.tid} ", text)
    assert f"task {bad.tid}, try 0 (call " in text and "TaskVine's log" not in text
    of_one = command("why", run_dir, bad.tid).stdout
    assert f"task {bad.tid}, try 1 (call " in of_one and "TaskVine's log" in of_one


def test_why_of_a_walltime_says_what_the_future_says(load):
    import parsl

    executor = load({}, label="vf")
    late = parsl.python_app(dawdle)()
    assert isinstance(late.exception(60), CallTimedOut)
    run_dir = parsl.dfk().run_dir
    assert wait_until(lambda: [group.tasks for group in Stories(read(executor)).failed()] == [[late.tid]])
    text = command("why", run_dir).stdout
    # Nothing cuts the reason to the width of a table.
    assert "\n1 x CallTimedOut: dawdle ran for longer than its " in text and "AppTimeout:" not in text


def test_status_goes_on_showing_a_program_that_is_killed(tmp_path, mark):
    program = PROGRAM.replace("time.sleep(1.2)", "open(sys.argv[1] + '/ready', 'w'); sys.stdin.read()")
    running = subprocess.Popen([sys.executable, "-c", program, str(tmp_path), "killed"], stdin=subprocess.PIPE)
    assert wait_until((tmp_path / "ready").exists, 60)
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "200", "LINES": "500"}
    view = subprocess.Popen(
        [*COMMAND, "status", "--interval", "0.2"], stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    )
    os.close(theirs)
    shown = b""
    try:
        deadline = time.monotonic() + 60
        while b"killed: lost, its program was killed" not in shown and time.monotonic() < deadline:
            if select.select([ours], [], [], 1)[0]:
                shown += os.read(ours, 65536)
            if b"killed: running" in shown and not running.stdin.closed:
                running.stdin.close()
        assert b"killed: lost, its program was killed" in shown
    finally:
        running.stdin.close()
        view.send_signal(signal.SIGINT)
        # It draws once more, which would wait for ever for a terminal that takes nothing.
        while view.poll() is None and select.select([ours], [], [], 30)[0]:
            try:
                os.read(ours, 65536)
            except OSError:  # Linux says so when nobody has the other side any more
                break
        codes = view.wait(30), running.wait(30)
        os.close(ours)
    assert codes == (0, -signal.SIGKILL)
    assert not left_of(mark, 30)
