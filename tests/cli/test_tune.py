"""The command ``vinefast tune``: what it lists, and what it makes of a user's configuration."""

import json
import textwrap

import pytest
from click.testing import CliRunner

from vinefast import Tuning
from vinefast.cli import main

PROGRAM = """
    import parsl
    from parsl.executors.taskvine import TaskVineManagerConfig
    from vinefast import Tuning, VineFastExecutor

    tuning = Tuning(hungry_minimum=20)
    plain = {"hungry-minimum": 20}
    manager_config = TaskVineManagerConfig(tune_parameters=plain, wait_for_workers=2)
    executor = VineFastExecutor(label="first", manager_config=manager_config)
    config = parsl.Config(executors=[executor, parsl.ThreadPoolExecutor()])
    two = parsl.Config(executors=[executor, VineFastExecutor(label="second")])
    none = parsl.Config(executors=[parsl.ThreadPoolExecutor()])
    other = 3

    def fresh_config():
        return config

    def wrong():
        return VineFastExecutor(manager_config=TaskVineManagerConfig(tune_parameters={"hungry-minimum": 0}))
"""


def invoke(*arguments):
    return CliRunner().invoke(main, ["tune", *arguments])


def changed(*arguments):
    result = invoke("--json", "--changed", *arguments)
    assert result.exit_code == 0, result.output
    return {row["name"]: row["value"] for row in json.loads(result.output)}


@pytest.fixture
def program(tmp_path, monkeypatch):
    path = tmp_path / "tune_test_program.py"
    path.write_text(textwrap.dedent(PROGRAM))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return path.name


def test_all_are_listed_with_their_facts():
    rows = json.loads(invoke("--json").output)
    assert [row["name"] for row in rows] == list(Tuning.parameters)
    output = invoke().output
    for row in rows:
        parameter = Tuning.parameters[row["name"]]
        assert row["value"] == row["default"] == parameter.default
        assert (row["unit"], row["range"], row["doc"]) == (parameter.unit, parameter.range, parameter.doc)
        assert row["available"] == parameter.available
        assert row["name"] in output
        assert parameter.available or f"From TaskVine {parameter.since}" in output


def test_words_choose():
    assert f"2 of {len(Tuning.parameters)} parameters" in invoke("keepalive").output
    assert "keepalive-timeout" not in invoke("keepalive", "sign of life").output
    assert f"0 of {len(Tuning.parameters)} parameters" in invoke("no such words").output


def test_what_is_not_there_is_answered_with_the_nearest_names():
    assert "'hungry-minimum'" in invoke("hungri-minimun").output
    assert "'vinefast tune' lists all" in invoke("xyzzy").output
    assert "hungry-minimum" in invoke("HUNGRY_MINIMUM").output


def test_a_default_that_cannot_be_set_is_not_outside_the_range_that_is_shown():
    (row,) = json.loads(invoke("--json", "max-library-retries").output)
    assert (row["value"], row["range"]) == (15, "0 to 1; 15 if it is not set")


def test_values_are_shown():
    found = changed(
        "--set=hungry-minimum=20", "--set=prefer_dispatch=True", "--set=bandwidth-limit=1MB", "--set=scheduler=time"
    )
    assert found == {
        "bandwidth-limit": 1 << 20,
        "hungry-minimum": 20,
        "prefer-dispatch": True,
        "scheduler": "time",
    }
    assert "20 (default 10)" in invoke("--set", "hungry-minimum=20").output


@pytest.mark.parametrize("name", ["", ":fresh_config", ":executor", ":manager_config", ":tuning", ":plain"])
def test_a_users_configuration(program, name):
    expected = {"hungry-minimum": 20}
    if name not in (":tuning", ":plain"):
        expected["wait-for-workers"] = 2
    assert changed("--config", program + name) == expected
    assert changed("--config", program.removesuffix(".py") + name) == expected
    assert changed("--config", program + name, "--set=hungry-minimum=30") == {**expected, "hungry-minimum": 30}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "hungry-minimun=2"], "no tune parameter 'hungry-minimun'; the nearest: 'hungry-minimum'"),
        (["--set", "hungry-minimum=0"], "'hungry-minimum' is 0; accepted: a whole number, 1 or more"),
        (["--set", "hungry-minimum=many"], "'hungry-minimum' is 'many'; accepted"),
        (["--set", "hungry-minimum"], "'hungry-minimum' has no value; accepted: NAME=VALUE"),
        (["--config", "absent.py"], "absent.py cannot be loaded: FileNotFoundError"),
        (["--config", "no_such_module"], "no_such_module cannot be loaded: ModuleNotFoundError"),
        (["--config", "tune_test_program.py:absent"], "there is no 'absent' in tune_test_program.py"),
        (["--config", "tune_test_program.py:wrong"], "'hungry-minimum' is 0; accepted"),
        (["--config", "tune_test_program.py:other"], "tune_parameters is 3; accepted: a dict"),
        (["--config", "tune_test_program.py:two"], "must have one executor on TaskVine; it has: first, second."),
        (["--config", "tune_test_program.py:none"], "must have one executor on TaskVine; it has: none."),
    ],
)
def test_bad_input(program, arguments, message):
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())


def test_a_program_that_does_more_than_configure(tmp_path):
    path = tmp_path / "working.py"
    path.write_text("config = None\nraise OSError('no worker')\n")
    output = " ".join(invoke("--config", str(path)).output.split())
    assert "OSError: no worker. All of it runs for that, but for what is under if __name__ == '__main__'" in output
