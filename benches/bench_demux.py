"""A result frame into finished futures."""

import pickle
import struct
from concurrent.futures import Future

import pytest
from benches._stages import Stages

from benches.measure import BATCHES, per_call, repeats
from tests.library.encode import decode_result
from vinefast._core import CallFuture
from vinefast.library.frame import decode_command, encode_result
from vinefast.library.protocol import INLINE_NBYTES

RETURNED_NONE, PICKLED = 0, 1

RESULTS = {
    "None": lambda i: None,
    "small integers": lambda i: i,
    "100 bytes": lambda i: b"%100d" % i,
}


def frame_of(results):
    """Give the result frame as it comes back: short ones are encoded."""
    records = []
    for result in results:
        payload = b"" if result is None else pickle.dumps(result, 5)
        status = RETURNED_NONE if result is None else PICKLED
        records += [struct.pack("<IIQ", status, len(payload), 1_000), payload]
    body = b"".join(records)
    raw = struct.pack("<4sIQQQIII28x", b"VFR1", len(results), 72 + len(body), 2_000, 3_000, 0, 1, 4) + body
    return encode_result(raw) if len(raw) <= INLINE_NBYTES else raw


def finish_in_python(frame, futures):
    """Do what `Stages.finish` does."""
    n_done = 0
    while n_done < len(futures):
        raw = frame if frame[:4] == b"VFR1" else decode_command(frame, b"")
        n_records = struct.unpack_from("<I", raw, 4)[0]
        view, position = memoryview(raw), 72
        for future in futures[n_done : n_done + n_records]:
            status, nbytes, _ = struct.unpack_from("<IIQ", raw, position)
            position += 16
            future.set_result(pickle.loads(view[position : position + nbytes]) if status else None)
            position += nbytes
        n_done += n_records
    return futures


@pytest.mark.parametrize("n", BATCHES)
@pytest.mark.parametrize("kind", RESULTS)
@pytest.mark.parametrize("way", ["core", "python"])
def test_finish(benchmark, way, kind, n):
    make, finish = {"core": (CallFuture, Stages.finish), "python": (Future, finish_in_python)}[way]
    results = [RESULTS[kind](i) for i in range(n)]
    frame = frame_of(results)
    assert [record.value for record in decode_result(frame).records] == results
    repeat = repeats(benchmark, n, 2_000)
    futures = per_call(
        benchmark,
        f"frame of {n} results, {kind}",
        finish,
        frame,
        n=n * repeat,
        setup=lambda: ([make() for _ in range(n * repeat)],),
    )
    assert [future.result(timeout=0) for future in futures] == results * repeat
