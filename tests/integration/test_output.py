"""What apps print is kept in the run directory."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from parsl.executors.taskvine import TaskVineManagerConfig

from vinefast import Tuning
from vinefast.errors import CallDied

pytestmark = pytest.mark.processes


def say(text):
    print(text)


def say_and_crash(text):
    import ctypes

    print(text)
    ctypes.string_at(0)


def kept(executor) -> dict[str, str]:
    directory = Path(executor.run_dir, executor.label, "output")
    return {path.name: path.read_text(errors="replace") for path in directory.iterdir()} if directory.exists() else {}


def test_what_apps_print_is_in_the_run_directory(make_executor):
    executor = make_executor()
    futures = [executor.submit(say, None, f"number {i}") for i in range(20)]
    for future in futures:
        future.result(60)
    with pytest.raises(
        CallDied, match=r"(?s)Its last output:\nlast words\nFatal Python error: Segmentation fault"
    ) as died:
        executor.submit(say_and_crash, None, "last words").result(60)
    # The stack has the call's own frames, and none of those that have called it.
    frames = re.findall(r'^  File ".*", line \d+ in (.*)$', str(died.value), re.M)
    assert frames == ["string_at", "say_and_crash"]
    executor.shutdown()
    files = kept(executor)
    text = "".join(files.values())
    for i, future in enumerate(futures):
        number = future.parsl_executor_task_id  # which Parsl logs
        assert re.search(rf"^=== .* say, call {number} ===\nnumber {i}$", text, re.M)
    assert re.search(r"^=== .* say_and_crash.* ===\nlast words$", text, re.M)
    assert all(files.values())  # slots that printed nothing have left none


def test_none_is_kept(make_executor):
    tuning = Tuning(output_nbytes=0)
    executor = make_executor(manager_config=TaskVineManagerConfig(port=0, tune_parameters=tuning))
    executor.submit(say, None, "hello").result(60)
    executor.shutdown()
    assert kept(executor) == {}


def test_two_executors_share_a_run_directory(make_executor):
    executors = [make_executor(label="same") for _ in range(2)]
    for i, executor in enumerate(executors):
        executor.submit(say, None, f"from executor {i}").result(60)
    executors[0].shutdown()
    executors[1].submit(say, None, "once more").result(60)
    executors[1].shutdown()
    text = "".join(kept(executors[0]).values())
    assert sorted(re.findall(r"^(from .*|once .*)$", text, re.M)) == ["from executor 0", "from executor 1", "once more"]
