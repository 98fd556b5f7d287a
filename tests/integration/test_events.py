"""The event log of real runs, and the commands that read it."""

import json
import os
import pty
import re
import select
import shutil
import signal
import stat
import subprocess
import sys
import time

import psutil
import pytest
from parsl.executors.taskvine import TaskVineManagerConfig

from tests.events.traces import read as read_trace
from tests.helpers.processes import left_of, processes_marked
from tests.helpers.waiting import wait_until
from vinefast import CallTimedOut, Tuning, VineFastExecutor
from vinefast.calls import reports
from vinefast.errors import EngineStartError
from vinefast.events.run import Run
from vinefast.events.running import find_running
from vinefast.events.state import state_of
from vinefast.events.story import Stories
from vinefast.events.trace import trace_of
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


def print_and_take(n, nbytes):
    print(f"words of {n}")
    taken = bytearray(nbytes)
    if n == 3:
        raise ValueError(f"{n} of {len(taken)} bytes")


def test_why_tells_what_a_call_has_printed_and_how_much_memory_its_process_took(make_executor):
    executor = make_executor()
    futures = [executor.submit(print_and_take, {}, n, 80_000_000) for n in range(6)]
    assert [future.exception(60) is None for future in futures] == [n != 3 for n in range(6)]
    executor.shutdown()
    number = str(futures[3].parsl_executor_task_id)
    (story,) = json.loads(command("why", executor.run_dir, number, "--call", "--json").stdout)
    assert story["output"] == "words of 3\n" and 80e6 < story["reason"]["peak_nbytes"] < 1e9
    text = command("why", executor.run_dir, number, "--call").stdout
    assert re.search(r"its process had \d+ MB at the most", text) and "end of its output" in text
    (story,) = json.loads(command("why", executor.run_dir, str(int(number) + 1), "--call", "--json").stdout)
    assert story["output"] == "words of 4\n" and story["reason"] is None


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
    assert "ValueError: N is none" in text and "2 of 3 calls that ended failed" in text
    # However long the name of this file is, its line in the traceback is whole.
    assert re.search(r'^ *File ".*test_events\.py", line \d+, in refuse$', text, re.MULTILINE)
    assert "which were tries of 1 task of Parsl's" in text and re.search(rf"task number +│ {bad.tid} ", text)
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


def test_a_trace_has_each_call_in_its_slot(load, mark, tmp_path):
    """Of a program that Parsl runs, with failures, a worker that is killed, and calls that are cancelled."""
    import parsl

    executor = load({"retries": 1}, label="vf")
    gate = tmp_path / "gate"
    began_ns = time.time_ns()
    good, bad = parsl.python_app(half), parsl.python_app(refuse)
    futures = [good(i) for i in range(300)]
    failing = bad(5)
    assert [future.result(60) for future in futures] == [i / 2 for i in range(300)]
    assert isinstance(failing.exception(60), ValueError)
    napping = executor.submit(nap, {}, 2, str(gate))
    assert wait_until(gate.exists, 30)
    (worker,) = (process for process in processes_marked(mark) if "--workspace" in process.cmdline())
    psutil.Process(worker.pid).kill()
    assert napping.result(60) == 2
    gates = [tmp_path / f"gate{i}" for i in range(2)]
    running = [executor.submit(nap, {}, 60, str(path)) for path in gates]
    assert wait_until(lambda: all(path.exists() for path in gates), 30)
    # More than are sent to slots that have something to do.
    *_, waiting = [executor.submit(half, {}, i) for i in range(5000)]
    assert waiting.cancel()
    while_it_runs = command("trace", executor.run_dir, "-o", tmp_path / "running", "--json")
    assert json.loads(while_it_runs.stdout)[0]["calls"] >= 303
    assert any(one.name == "not back yet: nap" for one in read_trace(tmp_path / "running").slices)
    n_cancelled = 1 + executor.cancel_all()
    assert n_cancelled > 100
    run_dir, numbers = parsl.dfk().run_dir, {call.parsl_executor_task_id for call in (napping, *running, waiting)}
    assert wait_until(lambda: len(read(executor).calls) == 300 + 2 + 3 + 5000)
    parsl.dfk().cleanup()
    ended_ns = time.time_ns()

    written = command("trace", run_dir, "-o", tmp_path / "trace", "--json")
    (figures,) = json.loads(written.stdout)
    found = read_trace(tmp_path / "trace")
    calls = {one.facts["call"]: one for one in found.calls()}
    assert len(calls) == len(found.calls()) == figures["calls"] == 300 + 2 + 3 + 5000 and numbers < calls.keys()
    # Some had come back when their futures were cancelled.
    n_of_log = state_of(read(executor), "").cancelled
    assert [one.facts["outcome"] for one in calls.values()].count("cancelled") == n_of_log
    assert 100 < n_of_log <= n_cancelled
    assert set(calls) == set(read(executor).calls["number"].tolist())
    names = [one.name for one in calls.values()]
    assert (names.count("half"), names.count("refuse"), names.count("nap")) == (5300, 2, 3)
    of_parsl = [one.facts["task"] for one in calls.values() if "task" in one.facts]
    assert sorted(of_parsl) == sorted([future.tid for future in futures] + [failing.tid] * 2)
    tries = [one for one in calls.values() if one.facts["outcome"] == "failed"]
    assert sorted(one.facts["try"] for one in tries) == [0, 1] and {one.facts["why"] for one in tries} == {
        "ValueError: 5 is none"
    }
    assert calls[waiting.parsl_executor_task_id].is_instant
    slept = calls[napping.parsl_executor_task_id]
    assert 1.9e9 < slept.end_ns - slept.begin_ns < 10e9 and slept.track[2].startswith("worker 2 on ")
    wall_ns = found.clocks[1] - found.clocks[6]
    last_ns = {}
    for one in sorted(calls.values(), key=lambda one: (one.track, one.begin_ns, one.end_ns)):
        assert one.depth == 0 and last_ns.get(one.track, 0) <= one.begin_ns <= one.end_ns
        assert began_ns - 10**7 <= one.begin_ns + wall_ns <= one.end_ns + wall_ns <= ended_ns + 10**7
        last_ns[one.track] = one.end_ns
    assert found.pid == os.getpid() and any(one.name == "its worker left" for one in found.slices)
    assert any(one.name == "worker 1 left" for one in found.slices)
    assert (
        found.counters["workers that are connected"]
        and found.counters["calls that wait"]
        and found.counters["calls done per second"]
    )


def test_a_trace_and_what_monitoring_is_told_agree_when_calls_ran(make_executor, monkeypatch):
    """Each finds it out by itself, by one rule: docs/architecture.md, "When a call ran"."""
    told = {}

    def note_calls(self, worker, slot, pid, runs):
        told.update((call.parsl_executor_task_id, (began_ns, ended_ns)) for call, began_ns, ended_ns in runs)

    monkeypatch.setattr(reports, "are_logged", lambda: True)
    monkeypatch.setattr(reports.CallReports, "note_calls", note_calls)
    executor = make_executor()
    n_rounds = 20
    for _ in range(n_rounds):  # after each, all slots stand still
        futures = [executor.submit(sum, {}, range(i % 7 * 1000)) for i in range(300)]
        assert [future.result(60) for future in futures] == [sum(range(i % 7 * 1000)) for i in range(300)]
    executor.shutdown()
    trace = trace_of(read(executor), 1 << 20)
    earlier_ns, last_of = {}, {}
    for slot, begin_ns, end_ns, number, _, _, bundle, _ in trace.calls.rows(0, len(trace.calls)):
        began_ns, ended_ns = told.pop(number)
        assert ended_ns - began_ns == end_ns - begin_ns
        earlier_ns.setdefault(bundle, []).append(began_ns - begin_ns)
        last_of[slot] = bundle  # they are in the order of time
    assert not told and max(map(len, earlier_ns.values())) > 2
    # Only the trace knows when the slot went on with the next bundle: this one stands as a whole before that.
    assert all(len(set(each)) == 1 and each[0] >= 0 for each in earlier_ns.values())
    exact = [bundle for bundle, (shift_ns, *_) in earlier_ns.items() if shift_ns == 0]
    assert len(exact) >= n_rounds and set(last_of.values()) <= set(exact)


def test_a_trace_is_read_by_perfettos_own_program(make_executor, tmp_path):
    program = shutil.which("trace_processor_shell") or shutil.which("trace_processor")
    if program is None:
        pytest.skip("trace_processor_shell is not in PATH; perfetto's package would download it")
    from perfetto.trace_processor import TraceProcessor, TraceProcessorConfig

    executor = make_executor()
    assert [future.result(60) for future in [executor.submit(half, {}, i) for i in range(500)]]
    executor.shutdown()
    assert command("trace", executor.run_dir, "-o", tmp_path / "trace").returncode == 0
    with TraceProcessor(trace=str(tmp_path / "trace"), config=TraceProcessorConfig(bin_path=program)) as processor:

        def number(query):
            return next(iter(processor.query(f"select {query}"))).n

        of_slots = "from slice join track on slice.track_id = track.id where track.name like 'slot %'"
        assert number(f"count(*) as n {of_slots} and slice.name = 'half' and dur >= 0 and depth = 0") == 500
        assert number("count(*) as n from stats where severity in ('error', 'data_loss') and value > 0") == 0
        assert number("count(*) as n from flow") == number(
            "count(distinct extract_arg(arg_set_id, 'debug.bundle')) as n from slice"
        )
        assert number("count(*) as n from counter") > 0
