"""Workers with another version of Python."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from parsl.executors.errors import InvalidResourceSpecification
from parsl.executors.taskvine import TaskVineManagerConfig

from vinefast.errors import RemoteError
from vinefast.library import parsl_side
from vinefast.workers.environment import PYTHON


def other_pythons():
    """Python 3 of other minor versions on this machine, the oldest and the newest."""
    beside = Path(sys.base_prefix).parent.glob("*/bin/python3")  # as pyenv has them
    named = (shutil.which(f"python3.{minor}") for minor in range(6, 20))
    found = {}
    for path in {str(path) for path in (*beside, *named) if path}:
        command = [path, "-c", "import sys; print(*sys.version_info[:2])"]
        answer = subprocess.run(command, capture_output=True, text=True)
        if answer.returncode == 0 and tuple(answer.stdout.split()) != tuple(PYTHON.split(".")):
            found[tuple(map(int, answer.stdout.split()))] = path
    return [found[version] for version in sorted(found)[:: max(1, len(found) - 1)]]


def add(a, b):
    return a + b


@pytest.mark.parametrize("exec_mode", ["serverless", "regular"])
def test_another_version_is_refused_with_both_named(make_executor, tmp_path, exec_mode):
    pythons = other_pythons()
    if not pythons:
        pytest.skip("there is only one version of Python here")
    for number, python in enumerate(pythons):
        directory = tmp_path / f"bin{number}"
        directory.mkdir()
        (directory / "python3").symlink_to(python)
        executor = make_executor(
            function_exec_mode=exec_mode,
            manager_config=TaskVineManagerConfig(port=0, init_command=f'PATH="{directory}:$PATH"'),
        )
        n = 200 if exec_mode == "serverless" else 2
        # Of all sizes: inline, with escapes, spilled.
        arguments = [bytes(range(256)) * (i % 7 * 60) for i in range(n)]
        calls = [executor.submit(add, {}, lambda: 1, argument) for argument in arguments]
        if exec_mode == "serverless":
            large = executor.submit(add, {"cores": 1000, "memory": 1}, 1, 2)
            # Both are true, and where the worker is slow to start the second comes first.
            with pytest.raises((RemoteError, InvalidResourceSpecification), match=f"Python {PYTHON}|cores=1000"):
                large.result(30)
        for call in calls:
            with pytest.raises(RemoteError, match=rf"version 3\.\d+\.\d+.* Python {PYTHON} .*env_pack"):
                call.result(30)
        executor.shutdown()


@pytest.mark.parametrize(("versions", "expected"), [({}, "\n"), ({"VINEFAST_VERSIONS": "parsl 1"}, "has parsl 1\n")])
def test_the_library_tells_its_versions(make_executor, versions, expected):
    executor = make_executor(manager_config=TaskVineManagerConfig(port=0, env_vars=versions))
    log = executor.submit(_library_log, {}).result(30)
    assert log.startswith(f"vinefast: {parsl_side.versions()}") and log.endswith(expected)
    assert ("but the submit side has" in log) == bool(versions)


def _library_log():
    import os

    with open(f"/proc/{os.getppid()}/fd/1") as log:
        return log.read()
