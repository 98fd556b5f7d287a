"""What calls raise comes back, whatever it is, and costs no other call."""

from __future__ import annotations

import traceback

import calls
import dill
import pytest
from parsl.app.errors import RemoteExceptionWrapper, wrap_error

from .encode import Call


@pytest.mark.parametrize(
    ("function", "args", "kind"),
    [
        (calls.fail, ("no",), ValueError),
        (calls.leave, (3,), SystemExit),
        (calls.interrupt, (), KeyboardInterrupt),
        (calls.end_generator, (), GeneratorExit),
        (calls.recurse, (), RecursionError),
        (calls.exhaust, (), MemoryError),
        (calls.add, (), TypeError),
        (calls.add, ("a", 1), TypeError),
    ],
)
def test_kinds(worker, function, args, kind):
    result = worker.run([Call(calls.add, (1,)), Call(function, args), Call(calls.add, (2,))])
    assert [record.status for record in result.records] == [1, 3, 1]
    assert type(result.records[1].exception) is kind
    assert result.records[1].value[0] == kind.__name__
    assert result.records[2].value == 3


def test_traceback_begins_in_the_users_frame(worker):
    record = worker.run([Call(calls.fail, ("see me",))]).records[0]
    name, message, text, *_ = record.value
    assert (name, message) == ("ValueError", "see me")
    assert "in fail" in text and "in run_bundle" not in text
    frames = traceback.extract_tb(record.exception.__traceback__)
    assert [frame.name for frame in frames] == ["fail"]


def test_cause(worker):
    exception = worker.run([Call(calls.fail_deeply, ("deep",))]).records[0].exception
    assert type(exception) is RuntimeError
    assert repr(exception.__cause__) == "KeyError('deep')"


def test_exception_that_the_other_side_cannot_rebuild(worker):
    name, message, _, wrapped, _ = worker.run([Call(calls.fail_needing_two)]).records[0].value
    assert (name, message) == ("calls.NeedsTwo", "1 and 2")
    assert wrapped is not None


def test_exception_that_cannot_be_serialized(worker):
    name, message, text, wrapped, peak = worker.run([Call(calls.fail_holding_generator)]).records[0].value
    assert (name, message, wrapped) == ("calls.HoldsLock", "holds a lock", None)
    assert 1e6 < peak < 1e9
    assert "in fail_holding_generator" in text


def test_exception_that_cannot_be_told(worker):
    name, message, *_ = worker.run([Call(calls.fail_unspeakably)]).records[0].value
    assert name == "calls.Unspeakable"
    assert "RuntimeError" in message


def test_what_python_app_catches(worker):
    record = worker.run([Call(wrap_error(calls.fail), ("wrapped",))]).records[0]
    name, message, text, *_ = record.value
    assert (name, message) == ("ValueError", "wrapped")
    assert "in fail" in text
    assert repr(record.exception) == "ValueError('wrapped')"


@pytest.mark.parametrize("function", [calls.fail_far_down, wrap_error(calls.fail_far_down)])
@pytest.mark.parametrize("has_tblib", [False, True])
def test_traceback_that_is_too_deep_to_be_serialized(worker, function, has_tblib):
    exception = worker.run([Call(function, (900, has_tblib))]).records[0].exception
    assert repr(exception) == "RuntimeError('outer')" and repr(exception.__cause__) == "KeyError('deep')"
    names = [frame.name for frame in traceback.extract_tb(exception.__cause__.__traceback__)]
    assert names == ["down"] * 20


def test_runaway_recursion_within_a_python_app(worker):
    record = worker.run([Call(wrap_error(calls.recurse), ())]).records[0]
    assert type(record.exception) is RecursionError
    assert [frame.name for frame in traceback.extract_tb(record.exception.__traceback__)] == ["recurse"] * 20
    assert "in recurse" in record.value[2]


def test_wrapper_inside_a_result_is_left_alone(worker):
    (wrapper,) = worker.run([Call(calls.call_into_list, (wrap_error(calls.exhaust),), kind=2)]).records[0].value
    assert isinstance(wrapper, RemoteExceptionWrapper)


def test_arguments_that_cannot_be_unpickled(worker):
    result = worker.run([Call(calls.same, (calls.Undecodable(),)), Call(calls.add, (1,))])
    assert repr(result.records[0].exception) == "ValueError('cannot be rebuilt')"
    assert result.records[1].value == 2


def test_function_that_cannot_be_loaded(worker):
    no_module = b"C2\ncno_such_package\nf\n."
    failing = b"C2\n" + dill.dumps(calls.FailsWhenLoaded())
    result = worker.run([Call(no_module, (1,)), Call(calls.add, (1,)), Call(failing, (2,)), Call(no_module)])
    assert [record.status for record in result.records] == [3, 1, 3, 3]
    assert repr(result.records[0].exception) == """ModuleNotFoundError("No module named 'no_such_package'")"""
    assert result.records[2].value[:2] == ("ValueError", "cannot be loaded")
    assert result.records[3].value[0] == "ModuleNotFoundError"


def test_exception_thrown_into_the_loop_after_the_call(worker):
    result = worker.run([Call(calls.throw_later, (0.05,)), *[Call(calls.nothing)] * 3, Call(calls.spin, (0.2,))])
    assert [record.status for record in result.records] == [1, 0, 0, 0, 3]
    assert type(result.records[4].exception) is TimeoutError
    # Now it strikes while the child waits or between calls: nothing that was done may get lost.
    for _ in range(3):
        result = worker.run([Call(calls.throw_later, (0.01,)), *[Call(calls.nothing)] * 20_000])
        assert len(result.records) == 20_001
        assert sum(record.status == 3 for record in result.records) <= 1


def test_python_without_parsl(start_worker, tmp_path):
    (tmp_path / "broken" / "parsl").mkdir(parents=True)
    (tmp_path / "broken" / "parsl" / "__init__.py").write_text("raise ImportError('half installed')")
    worker = start_worker(env={"PYTHONPATH": str(tmp_path / "broken")})
    name, message, _, wrapped, _ = worker.run([Call(calls.add, (1,))]).records[0].value
    assert name.endswith("ParslMissing") and wrapped is None
    assert "cannot import parsl: ImportError: half installed" in message
    assert "version 3." in message and "python" in message
