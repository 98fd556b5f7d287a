"""The exceptions: one class for each result code, and they travel."""

import pickle
import re
from pathlib import Path

import pytest

from vinefast import errors
from vinefast._build_info import TASKVINE_PREFIX

EXAMPLES = [
    errors.VineFastError("words"),
    errors.InvalidConfiguration("words"),
    errors.EngineStartError("words"),
    errors.EngineFailure("words"),
    errors.EngineStopped(),
    errors.EngineStopped("words"),
    errors.UnreachableFile("words"),
    errors.CallDied(None, 11, "last words"),
    errors.CallDied(3, None, ""),
    errors.MemoryLimitExceeded("app", 100, 823, "last words"),
    errors.OutOfMemory("app", 823),
    errors.ContextError("load_model", "OSError: no such file"),
    errors.ResultTooLarge("app", 5, "4 is the limit"),
    errors.InputChanged("app", ["x"]),
    errors.RemoteError("Odd", "words", "Traceback ..."),
    *(kind("words") for kind in errors.RESULT_ERRORS.values()),
]


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_survives_pickling(error):
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)


def test_every_result_of_the_engine_has_its_own_error():
    header = (Path(TASKVINE_PREFIX) / "include/cctools/taskvine.h").read_text()
    names = set(re.findall(r"\bVINE_RESULT_\w+(?=\s*=)", header)) - {"VINE_RESULT_SUCCESS"}
    assert names <= {kind.result for kind in errors.RESULT_ERRORS.values()}
    assert len(errors.RESULT_ERRORS) == 17


def test_numbers_are_the_engines():
    header = (Path(TASKVINE_PREFIX) / "include/cctools/taskvine.h").read_text()
    for name, value in re.findall(r"\b(VINE_RESULT_\w+)\s*=\s*([\d<\s]+)", header):
        code = eval(value)
        if code:
            assert errors.RESULT_ERRORS[code].result == name


def test_task_failure_names_result_and_detail():
    error = errors.task_failure(48, "the end of the log")
    assert isinstance(error, errors.MaxRetries)
    assert (error.code, error.result) == (48, "VINE_RESULT_MAX_RETRIES")
    assert "VINE_RESULT_MAX_RETRIES" in str(error)
    assert "the end of the log" in str(error)


def test_a_result_from_the_future_is_unknown():
    error = errors.task_failure(1000)
    assert isinstance(error, errors.UnknownResult)
    assert "1000" in str(error)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((None, 11), "SIGSEGV (segmentation fault)"),
        ((None, 9), "SIGKILL"),
        ((None, 60), "signal"),
        ((None, 99), "signal 99"),
        ((3, None), "exited with status 3"),
        ((None, None), "unknown reason"),
        ((1, None, "last words"), "last words"),
    ],
)
def test_a_dead_call_says_how_it_died(arguments, words):
    assert words in str(errors.CallDied(*arguments))


def test_what_memory_has_cost_names_app_and_sizes():
    for error in (errors.MemoryLimitExceeded("relax", 100, 823, "words"), errors.OutOfMemory("relax", 823, "words")):
        assert isinstance(error, errors.CallDied)
        assert "relax" in str(error) and "823 MB" in str(error) and str(error).endswith("words")
        assert errors.anew(error).peak_mb == 823
    assert "limit is 100 MB" in str(errors.MemoryLimitExceeded("relax", 100, 823))
