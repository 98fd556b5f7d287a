"""Values of a wrong type that no type checker has seen: refused at once, in words that say what is accepted."""

import re

import pytest

import vinefast
from vinefast import InvalidConfiguration, Kept, VineFastExecutor
from vinefast.data.temps import Store


@pytest.fixture(scope="module")
def executor(tmp_path_factory):
    """Without workers: what is not refused stays pending."""
    executor = VineFastExecutor(worker_launch_method="manual")
    executor.run_dir = str(tmp_path_factory.mktemp("run"))
    executor.start()
    yield executor
    executor.shutdown()


NO_FUNCTION = "3 cannot be called; accepted: a function"
NO_TIMEOUT = "timeout is '1 s'; accepted: a number of seconds"


WRONG = {
    "submit": (lambda executor: executor.submit(3), TypeError, NO_FUNCTION),
    "submit_many": (lambda executor: executor.submit_many(3, [(1,)]), TypeError, NO_FUNCTION),
    "map": (lambda executor: executor.map(3, [1]), TypeError, NO_FUNCTION),
    "map timeout": (lambda executor: executor.map(str, [1], timeout="1 s"), InvalidConfiguration, NO_TIMEOUT),
    "stack": (lambda executor: executor.stack(executor.submit(str), "1 s"), InvalidConfiguration, NO_TIMEOUT),
    "overhead": (lambda executor: executor.overhead(3), InvalidConfiguration, "since is 3; accepted: a Mapping"),
    "wait": (lambda executor: vinefast.wait(3), TypeError, "3 is no iterable; accepted: a list"),
    "wait, a list in a list": (lambda executor: vinefast.wait([[]]), TypeError, "[] is no future; accepted: what"),
    "as_completed": (lambda executor: vinefast.as_completed(3), TypeError, "3 is no iterable; accepted: a list"),
    "wait timeout": (lambda executor: vinefast.wait([], "1 s"), InvalidConfiguration, NO_TIMEOUT),
    "as_completed timeout": (lambda executor: vinefast.as_completed([], "1 s"), InvalidConfiguration, NO_TIMEOUT),
    "fetch": (lambda executor: vinefast.TempFile("x").fetch(timeout="1 s"), InvalidConfiguration, NO_TIMEOUT),
    "result of Kept": (lambda executor: Kept(Store("x"), 3).result("1 s"), InvalidConfiguration, NO_TIMEOUT),
    "storage_access": (
        lambda executor: VineFastExecutor(storage_access=["http"]),
        InvalidConfiguration,
        "storage_access is ['http']; accepted: a list of Staging",
    ),
}


@pytest.mark.parametrize("wrong, kind, words", WRONG.values(), ids=WRONG)
def test_a_wrong_type_is_refused_at_once(executor, wrong, kind, words):
    with pytest.raises(kind, match=re.escape(words)):
        wrong(executor)
