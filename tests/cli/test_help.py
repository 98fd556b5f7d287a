"""The help of ``vinefast`` as a newcomer reads it, what completes it, and ``vinefast info``."""

import json
import os
import shutil
import subprocess
import sys
import threading

import pytest
from click.testing import CliRunner

from vinefast._build_info import TASKVINE_VERSION
from vinefast.cli import main
from vinefast.doctor import facts, limits


def invoke(*arguments):
    return CliRunner().invoke(main, arguments)


def test_every_command_stands_below_a_headline_with_one_line():
    lines = invoke("--help").output.splitlines()
    for name, command in main.commands.items():
        (line,) = [line for line in lines if line.startswith(f"  {name} ")]
        assert line.endswith(command.get_short_help_str(limit=100)) and not line.endswith("...")
    assert "Others:" not in lines and "Examples:" in lines
    assert lines.index("Before a run:") < lines.index("During a run:") < lines.index("Examples:")
    assert "vinefast completion" in lines[-1] + lines[-2]


def test_examples_keep_their_lines():
    for name in main.commands:
        assert "\\b" not in invoke(name, "--help").output
    lines = [line.strip() for line in invoke("doctor", "--help").output.splitlines()]
    assert "vinefast doctor --config program.py" in lines and "Examples:" in lines


def test_a_command_of_nobody_is_shown_all_the_same(monkeypatch):
    monkeypatch.setitem(main.commands, "another", main.commands["tune"])
    assert "Others:\n  another" in invoke("--help").output


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell):
    if shell == "bash" and shutil.which("bash") is None:
        pytest.skip("there is no bash")
    result = invoke("completion", shell)
    assert result.exit_code == 0 and f"_VINEFAST_COMPLETE={shell}_complete" in result.output
    assert shell in invoke("completion", "--help").output


@pytest.mark.processes
@pytest.mark.parametrize("command", ["status", "why", "info", "worker", "doctor", "report", "trace", "audit"])
def test_run_directories_are_completed(command):
    words = {"COMP_WORDS": f"vinefast {command} runinfo/0", "COMP_CWORD": "2", "_VINEFAST_COMPLETE": "bash_complete"}
    kind, text = CliRunner().invoke(main, prog_name="vinefast", env=words).output.strip().split(",")
    assert kind in ("dir", "file") and text == "runinfo/0"


def test_a_shell_completes(tmp_path):
    code = "from vinefast.cli import main; main(prog_name='vinefast')"
    (tmp_path / "vinefast").write_text(f'#!/bin/sh\nexec {sys.executable} -c "{code}" "$@"\n')
    (tmp_path / "vinefast").chmod(0o755)
    program = """
        eval "$(vinefast completion bash)"
        COMP_WORDS=(vinefast do) COMP_CWORD=1
        _vinefast_completion vinefast
        echo "${COMPREPLY[@]}"
    """
    answer = subprocess.run(
        ["bash", "-c", program],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert answer.stdout.split() == ["doctor"], answer.stderr


def test_info():
    found = json.loads(invoke("info", "--json").output)
    assert found["versions"]["TaskVine (built with)"] == TASKVINE_VERSION
    assert found["versions"]["Python program"] == sys.executable
    assert TASKVINE_VERSION in found["engine"]["vine_worker"] and "found by" in found["engine"]["vine_worker"]
    assert found["limits"]["cores that this process may use"] == len(os.sched_getaffinity(0))
    output = invoke("info").output
    for section, rows in found.items():
        assert section in output
        for name in rows:
            assert name.split(",")[0][:30] in output


def test_info_of_a_run(announce, server, listening, tmp_path):
    run_dir = announce().parent
    found = json.loads(invoke("info", "--json", str(run_dir)).output)["run"]
    assert found["manager"] == f"127.0.0.1:{listening}" and found["answers"] is True
    assert found["workers are to have"].startswith("Python ") and "parsl" in found["workers are to have"]
    server.close()
    found = json.loads(invoke("info", "--json", f"127.0.0.1:{listening}").output)["run"]
    assert found["answers"].startswith("no: ")
    assert "name one" in json.loads(invoke("info", "--json", str(tmp_path)).output)["run"]["manager"]
    result = invoke("info", "neither")
    assert result.exit_code == 2 and "HOST:PORT" in result.output


def test_info_does_not_wait_for_a_disk_that_hangs(monkeypatch):
    gate = threading.Event()
    monkeypatch.setattr(facts, "_ANSWER_S", 0.2)
    monkeypatch.setattr(limits, "room_of", lambda path: gate.wait())
    found = json.loads(invoke("info", "--json").output)["limits"]
    gate.set()
    assert found[f"room in {limits.MEMORY_DIRECTORY}, bytes"] == "no answer in 0.2 s"


def test_info_where_there_is_no_engine(monkeypatch, tmp_path):
    monkeypatch.setenv("VINEFAST_TASKVINE_PREFIX", str(tmp_path))
    assert "VINEFAST_TASKVINE_PREFIX is" in json.loads(invoke("info", "--json").output)["engine"]["vine_worker"]
