"""``vinefast doctor``: how it shows checks, and what it refuses. Real workers: integration/test_doctor.py."""

import importlib
import json

import pytest
from click.testing import CliRunner

from vinefast.cli import main
from vinefast.doctor.check import error, ok, warning

# The command in vinefast.cli has the module's name.
doctor = importlib.import_module("vinefast.cli.doctor")


def invoke(*arguments):
    return CliRunner().invoke(main, ["doctor", *arguments])


@pytest.fixture
def found(monkeypatch):
    """What the checks are; gives the list, and the plans that they were made for."""
    checks, plans = [], []

    def examine(plan, directory):
        plans.append(plan)
        yield from checks

    monkeypatch.setattr(doctor, "examine", examine)
    return checks, plans


@pytest.mark.parametrize(("last", "status"), [(ok("c", "fine"), 0), (error("c", "gone [bold]", "get it"), 1)])
def test_each_check_is_shown_and_errors_are_the_exit_code(found, last, status):
    checks, _ = found
    checks += [ok("a", "good"), warning("b", "slow", "wait"), last]
    result = invoke()
    assert result.exit_code == status
    assert "ok      a: good" in result.output and "warning b: slow" in result.output and "-> wait" in result.output
    assert last.seen in result.output
    assert f"{2 - status} ok, 1 warning, {['0 errors', '1 error'][status]}\n" in result.output
    result = invoke("--json")
    assert result.exit_code == status
    record = json.loads(result.output)
    assert record["ok"] == (status == 0)
    assert record["checks"][1] == {"name": "b", "level": "warning", "seen": "slow", "advice": "wait"}


def test_what_is_asked_for(found, tmp_path):
    _, plans = found
    (tmp_path / "program.py").touch()
    invoke("runs", "--config", f"{tmp_path}/program.py:x", "--worker-command", "w", "--timeout", "7")
    invoke("--worker-command", "w")
    invoke()
    both, command, machine = ([name for name, _ in plan.groups()] for plan in plans)
    assert (both, command, machine) == (
        ["machine", "configuration"],
        ["machine", "worker"],
        ["machine", *2 * ["engine"]],
    )
    arguments = dict(plans[0].groups())
    assert arguments["machine"] == {"run_dir": "runs"}
    assert arguments["configuration"] == {"where": f"{tmp_path}/program.py:x", "command": "w", "patience_s": 7}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--config", "/no/such.py"], "/no/such.py is no file"), (["--timeout", "0"], "0.0 is not in the range")],
)
def test_bad_input(arguments, message):
    result = invoke(*arguments)
    assert result.exit_code == 2 and message in " ".join(result.output.split())


def test_no_room_for_a_file(monkeypatch):
    def full(parent):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(doctor, "Scratch", full)
    result = invoke()
    assert result.exit_code == 1 and "error   temporary directory: no file can be made" in result.output
