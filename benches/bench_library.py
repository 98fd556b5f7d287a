"""What the library on a worker costs: within a slot's child, and from the worker through the library and back."""

import os
import pickle
import statistics
import struct
import subprocess
import sys
import time

import pytest

from benches.measure import BATCHES, per_call, repeats
from tests.library.encode import Call, decode_result, encode_command, encode_frame
from tests.library.user.calls import same
from tests.library.worker import REPOSITORY, Worker
from vinefast.library.frame import Origin
from vinefast.library.functions import FunctionCache
from vinefast.library.memory import SlotMemory
from vinefast.library.run import Runner


def noop(*args):
    return None


def hundred_bytes(*args):
    return b"x" * 100


# Function, and arguments of the i-th call.
CASES = {
    "no-op, no arguments": (noop, lambda i: ()),
    "no-op, (i,)": (noop, lambda i: (i,)),
    "(i,) -> i": (same, lambda i: (i,)),
    "(i,) -> 100 bytes": (hundred_bytes, lambda i: (i,)),
    "no arguments -> 100 bytes": (hundred_bytes, lambda i: ()),
}


class Child:
    """A slot's child in this process, warm."""

    def __init__(self, directory):
        self.memory = SlotMemory()
        self.runner = Runner(self.memory, FunctionCache(None), os.fsencode(directory), Origin(0, os.getpid(), 1))
        self.directory, self.result = directory, directory / "out"

    def message(self, calls, carry):
        command = encode_command(encode_frame(calls, carry=carry))
        return b"%s %s %s" % (command, os.fsencode(self.directory), os.fsencode(self.result))

    def run(self, message, repeat):
        for _ in range(repeat):
            self.memory.reset()
            self.runner.run_bundle(message, time.monotonic_ns())
        return self.result


@pytest.fixture
def child(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # bundles move the process, and this moves it back
    return Child(tmp_path)


def bundles_of(benchmark, n):
    """How many make up some milliseconds: in small ones, files cost more than calls do."""
    return repeats(benchmark, n, min(2_000, 50 * n))


@pytest.mark.parametrize("n", BATCHES)
@pytest.mark.parametrize("case", CASES)
def test_calls(benchmark, child, case, n):
    function, arguments = CASES[case]
    calls = [Call(function, arguments(i)) for i in range(n)]
    child.run(child.message(calls, carry=True), 1)
    message = child.message(calls, carry=False)
    repeat = bundles_of(benchmark, n)
    path = per_call(benchmark, f"child, bundle of {n}: {case}", child.run, message, repeat, n=n * repeat)
    result = decode_result(path.read_bytes())
    assert [record.value for record in result.records] == [function(*arguments(i)) for i in range(n)]


def run_plainly(function, payloads, repeat):
    """Do what no library can do without."""
    for _ in range(repeat):
        results = []
        for payload in payloads:
            args, kwargs = pickle.loads(payload)
            results.append(pickle.dumps(function(*args, **kwargs), 5))
    return results


@pytest.mark.parametrize("n", BATCHES)
@pytest.mark.parametrize("case", CASES)
def test_calls_in_a_plain_loop(benchmark, case, n):
    function, arguments = CASES[case]
    payloads = [pickle.dumps((arguments(i), {}), 5) for i in range(n)]
    repeat = repeats(benchmark, n, 2_000)
    group = f"child, bundle of {n}: {case}"
    results = per_call(benchmark, group, run_plainly, function, payloads, repeat, n=n * repeat)
    assert list(map(pickle.loads, results)) == [function(*arguments(i)) for i in range(n)]


def run_into_a_file(function, payloads, path, sandbox, repeat):
    """Do it in the bundle's directory, and leave the results there."""
    for _ in range(repeat):
        os.chdir(sandbox)
        results = run_plainly(function, payloads, 1)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        os.write(fd, b"".join(results))
        os.close(fd)
    return results


@pytest.mark.parametrize("n", BATCHES)
def test_calls_in_a_plain_loop_into_a_file(benchmark, child, n):
    """With the directory and the file that TaskVine wants, which is most of what a small bundle costs."""
    case = "(i,) -> i"
    payloads = [pickle.dumps(((i,), {}), 5) for i in range(n)]
    repeat = bundles_of(benchmark, n)
    args = same, payloads, os.fsencode(child.result), os.fsencode(child.directory), repeat
    results = per_call(benchmark, f"child, bundle of {n}: {case}", run_into_a_file, *args, n=n * repeat)
    assert list(map(pickle.loads, results)) == list(range(n))
    assert child.result.read_bytes() == b"".join(results)


ROUND_TRIPS = "round trip of a bundle of one call"


def test_round_trips(benchmark, tmp_path):
    """From an emulated worker to the library, and to the result in the worker's hands."""
    n = repeats(benchmark, 1, 100)
    worker = Worker(tmp_path, env={"PYTHONPATH": str(REPOSITORY)})
    runs, waits = [], []

    def trips():
        for _ in range(n):
            worker.send_raw(command, 99)
            result = worker.collect()[1]
            runs.append(result.run_ns)
            waits.append(result.wait_ns)
        return result

    try:
        calls = [Call(same, (1_234,))]
        assert worker.run(calls).records[0].value == 1_234
        command = encode_command(encode_frame(calls, carry=False))
        result = per_call(benchmark, ROUND_TRIPS, trips, n=n)
    finally:
        worker.close()
    assert [record.value for record in result.records] == [1_234]
    benchmark.extra_info["run_ns"] = statistics.median(runs)
    benchmark.extra_info["wait_ns"] = statistics.median(waits)


PLAIN_PROCESS = """
import pickle, struct, sys
come, go = sys.stdin.buffer, sys.stdout.buffer
function = pickle.load(come)
while head := come.read(4):
    args, kwargs = pickle.loads(come.read(*struct.unpack("<I", head)))
    result = pickle.dumps(function(*args, **kwargs), 5)
    go.write(struct.pack("<I", len(result)) + result)
    go.flush()
"""


def test_round_trips_of_a_plain_process(benchmark):
    """The same loop behind a pair of pipes, without slots, durations, or protection from what it runs."""
    n = repeats(benchmark, 1, 100)
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    payload = pickle.dumps(((1_234,), {}), 5)
    message = struct.pack("<I", len(payload)) + payload
    with subprocess.Popen(
        [sys.executable, "-c", PLAIN_PROCESS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    ) as process:

        def trips():
            for _ in range(n):
                process.stdin.write(message)
                process.stdin.flush()
                result = process.stdout.read(*struct.unpack("<I", process.stdout.read(4)))
            return pickle.loads(result)

        pickle.dump(same, process.stdin, 5)
        result = per_call(benchmark, ROUND_TRIPS, trips, n=n)
        process.stdin.close()
    assert result == 1_234
