"""Files that TaskVine moves, between this directory and workers that do not look into it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import parsl
import pytest
from parsl.app.errors import BashExitFailure, MissingOutputs
from parsl.data_provider.data_manager import default_staging
from parsl.data_provider.files import File

from tests.helpers.processes import WORKER_COMMAND, command_by_hand, end_by_hand, left_of, start_by_hand
from tests.helpers.waiting import wait_for_file
from vinefast import URLStaging, VineFastExecutor
from vinefast.errors import InputMissing


@parsl.python_app
def join(inputs=(), outputs=()):
    import os

    text = "".join(open(file).read() for file in inputs)
    with open(outputs[0], "w") as file:
        file.write(text)
    return os.getcwd()


@parsl.python_app
def read(file):
    with open(file) as opened:
        return opened.read()


@parsl.python_app
def idle(outputs=()):
    return None


@parsl.python_app
def add_to(inputs=(), outputs=()):
    with open(outputs[0], "a") as file:
        file.write("+")


@parsl.bash_app
def shell(command, stdout=None, stderr=None):
    return command


@pytest.fixture(params=["serverless", "regular"])
def apart(request, mark, tmp_path, monkeypatch):
    """Parsl with a worker by hand, whose files are elsewhere."""
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    here.mkdir()
    elsewhere.mkdir()
    monkeypatch.chdir(here)
    executor = VineFastExecutor(
        worker_launch_method="manual",
        function_exec_mode=request.param,
        storage_access=[URLStaging(), *default_staging],
    )
    with parsl.load(parsl.Config(executors=[executor], run_dir=str(tmp_path / "runinfo"), usage_tracking=0)):
        worker = start_by_hand(command_by_hand(executor, "--cores", "2"), elsewhere)
        yield executor
    assert end_by_hand(worker)
    assert not [name for name in os.listdir(here) if ".vinefast-" in name]
    parsl.clear()
    assert not left_of(mark)


def test_files_travel_and_calls_do_not_meet(apart):
    Path("in").mkdir()
    Path("in/a").write_text("A")
    Path("in/b").write_text("B")
    both = join(inputs=[File("in/a"), File("in/b")], outputs=[File("out/both")])
    # Of a file that another call has made.
    twice = join(inputs=[both.outputs[0], File("in/a")], outputs=[File("out/twice")])
    assert not twice.result().startswith(os.getcwd())
    assert Path("out/both").read_text() == "AB"
    assert Path("out/twice").read_text() == "ABA"
    n = 40 if apart.function_exec_mode == "serverless" else 3
    many = [join(inputs=[File("in/a")], outputs=[File(f"out/{i}")]) for i in range(n)]
    assert len({call.result() for call in many}) == n
    assert all(Path(f"out/{i}").read_text() == "A" for i in range(n))


def test_a_changed_input_is_sent_again(apart):
    Path("a").write_text("old")
    assert read(File("a")).result() == "old"
    Path("a").write_text("new")
    assert read(File("a")).result() == "new"


def test_an_input_that_is_also_an_output_is_changed_for_this_call_alone(apart):
    Path("a").write_text("A")
    Path("b").write_text("A")
    add_to(inputs=[File("a")], outputs=[File("a")]).result()
    assert Path("a").read_text() == "A+"
    assert read(File("b")).result() == "A"


def test_output_of_shell_commands(apart):
    first = shell("echo one; echo two >&2", stdout="log", stderr=("errors", "w"))
    first.result()
    shell("echo three", stdout="log", stderr=("errors", "w")).result()
    failing = shell("echo why >&2; exit 3", stdout=("log", "w"), stderr="deep/errors")
    with pytest.raises(BashExitFailure):
        failing.result()
    assert "why" in Path("deep/errors").read_text()
    assert Path("log").read_text() == ""
    shell("echo four", stdout="log").result()
    shell("echo five", stdout="log").result()
    assert Path("log").read_text() == "four\nfive\n"


def test_what_is_not_there_is_named(apart):
    others = [join(outputs=[File(f"{i}")]) for i in range(3)]
    with pytest.raises(MissingOutputs, match="idle has not made nothing"):
        idle(outputs=[File("nothing")]).result()
    with pytest.raises(InputMissing, match="'gone' .* does not exist"):
        read(File("gone")).result()
    assert all(call.exception() is None for call in others)


def test_an_input_that_vanishes_before_it_is_sent_fails_its_call_alone(apart, tmp_path):
    read_plainly = read.func
    blocked = [apart.submit(wait_for_file, {}, str(tmp_path / "go")) for _ in range(8)]
    Path("a").write_text("A")
    Path("b").write_text("B")
    vanishing = apart.submit(read_plainly, {}, File("a"))
    staying = apart.submit(read_plainly, {}, File("b"))
    os.unlink("a")
    (tmp_path / "go").touch()
    for call in blocked:
        call.result(30)
    with pytest.raises(InputMissing, match=f"{os.getcwd()}/a: No such file or directory"):
        vanishing.result(30)
    assert staying.result(30) == "B"


def test_workers_fetch_urls_themselves_and_once(apart, server):
    address, asked, served = server
    (served / "served").write_text("from the web")
    assert [read(File(f"{address}/served")).result() for _ in range(4)] == ["from the web"] * 4
    assert asked == {"/served": 1}


def test_urls_reach_calls_that_run_in_this_directory(mark, tmp_path, monkeypatch, server):
    address, asked, served = server
    (served / "served").write_text("from the web")
    monkeypatch.chdir(tmp_path)
    executor = VineFastExecutor(storage_access=[URLStaging(), *default_staging])
    with parsl.load(parsl.Config(executors=[executor], run_dir=str(tmp_path / "runinfo"), usage_tracking=0)):
        Path("a").write_text("A")
        join(inputs=[File(f"{address}/served"), File("a")], outputs=[File("b")]).result()
        assert Path("b").read_text() == "from the webA"
    parsl.clear()
    assert asked == {"/served": 1}


WRITING = """
import glob, os, sys, time
import parsl
from parsl.data_provider.files import File
from vinefast import VineFastExecutor

@parsl.python_app
def write(nbytes, outputs=()):
    with open(outputs[0], "wb") as file:
        file.truncate(nbytes)

executor = VineFastExecutor(worker_launch_method="manual")
with parsl.load(parsl.Config(executors=[executor], run_dir="runinfo", usage_tracking=0)):
    print(executor.run_dir, flush=True)
    future = write(int(sys.argv[1]), outputs=[File("output")])
    while not future.done():
        if sys.argv[2] == "killed" and glob.glob(".vinefast-*"):
            os.kill(os.getpid(), 9)
        time.sleep(0.001)
    future.result()
"""


def test_what_was_on_its_way_when_a_program_was_killed_goes_with_the_next_output_there(mark, tmp_path):
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    here.mkdir()
    elsewhere.mkdir()
    for nbytes, end in ((1 << 30, "killed"), (100, "whole")):
        program = subprocess.Popen(
            [sys.executable, "-c", WRITING, str(nbytes), end], cwd=here, stdout=subprocess.PIPE, text=True
        )
        command = [*WORKER_COMMAND, program.stdout.readline().strip(), "--cores", "1", "--connect-timeout", "5"]
        worker = start_by_hand(command, elsewhere)
        program.communicate(timeout=100)
        assert end_by_hand(worker)
        if end == "killed":
            assert program.returncode == -signal.SIGKILL
            assert len([*here.glob(".vinefast-*")]) == 1 and not (here / "output").exists()
    assert program.returncode == 0 and not [*here.glob(".vinefast-*")]
    assert (here / "output").stat().st_size == 100
    assert not left_of(mark)
