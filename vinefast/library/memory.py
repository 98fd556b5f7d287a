"""Memory that a slot's child shares with the supervisor, so that results outlive the child.

Records are appended to an area; when it is full it is flushed to the result file. Offsets count bytes of records since
the bundle began, wherever they lie: ``[0, FLUSHED)`` is in the file, ``[FLUSHED, DONE)`` in the area. One store into
DONE publishes a record, one store into FLUSHED moves the border, and a death before, between or after those stores
leaves a state that `recover` can read: a flush cut short is simply done again at the same place.
"""

from __future__ import annotations

import mmap
import os

from .frame import (
    INLINE_NBYTES,
    RECORD,
    RECORD_MAX_NBYTES,
    RESULT_HEADER,
    RESULT_MAGIC,
    FrameError,
    Origin,
    encode_result,
)

# Indices of the 8-byte counters.
DONE = 0
FLUSHED = 1
START_NS = 2  # monotonic; 0 while no child has begun with the bundle
STAGE = 3  # who is to blame for a death
LOG_START = 4  # size of the slot's log when the bundle began
FINISHED = 5  # 1 when the result file is complete
SERIAL = 6  # of the bundle that all these are about
_N_COUNTERS = 7

# Values of STAGE.
OUTSIDE = 0  # no user code runs
RUNNING = 1  # the first call without a record
LOADING = 2  # plus its index: a function's body

_COUNTERS_NBYTES = 64
_AREA_AT = _COUNTERS_NBYTES + RESULT_HEADER.size
# As large as a core's cache likes; payloads beyond it are written straight from where they are.
_NBYTES = 256 * 1024


class SlotMemory:
    """Counters, result header and result area of one slot.

    Attributes
    ----------
    counters:
        View of unsigned 64-bit integers.
    area:
        View of the bytes where records are appended.
    """

    def __init__(self) -> None:
        # Shared and anonymous: nothing on disk, gone with the last process that maps it.
        view = memoryview(mmap.mmap(-1, _NBYTES))
        self.counters = view[:_COUNTERS_NBYTES].cast("Q")
        self.area = view[_AREA_AT:]
        self._frame = view[_COUNTERS_NBYTES:]

    def reset(self, serial: int = 0) -> None:
        """Forget the last bundle, for the one of that serial number."""
        # Last of all: until then, these are not about the new one.
        for index in range(_N_COUNTERS):
            self.counters[index] = 0
        self.counters[SERIAL] = serial

    def append(self, file: ResultFile, status: int, duration_ns: int, *payload: bytes | memoryview) -> None:
        """Append one record, its payload in parts: the thorough way, for what the hot loop does not do in place."""
        counters = self.counters
        done = counters[DONE]
        nbytes = sum(len(part) for part in payload)
        if nbytes > RECORD_MAX_NBYTES:
            raise OverflowError(f"a record of {nbytes} bytes does not fit a result frame (at most {RECORD_MAX_NBYTES})")
        record_nbytes = RECORD.size + nbytes
        if done - counters[FLUSHED] + record_nbytes > len(self.area):
            self._flush(file)
        if record_nbytes > len(self.area):
            file.write_at(RESULT_HEADER.size + done, RECORD.pack(status, nbytes, duration_ns), *payload)
            # Between the two stores FLUSHED > DONE says: complete, and all in the file.
            counters[FLUSHED] = done + record_nbytes
        else:
            used = done - counters[FLUSHED]
            RECORD.pack_into(self.area, used, status, nbytes, duration_ns)
            self.area[used + RECORD.size : used + record_nbytes] = (
                payload[0] if len(payload) == 1 else b"".join(payload)
            )
        counters[DONE] = done + record_nbytes

    def _flush(self, file: ResultFile) -> None:
        flushed, done = self.counters[FLUSHED], self.counters[DONE]
        if done > flushed:
            file.write_at(RESULT_HEADER.size + flushed, self.area[: done - flushed])
            self.counters[FLUSHED] = done

    def recover(self, file: ResultFile) -> int:
        """Count the complete records that a dead child left, and make the counters agree."""
        counters = self.counters
        flushed = counters[FLUSHED]
        if flushed > counters[DONE]:
            counters[DONE] = flushed
        count = position = 0
        while position < flushed:
            header = file.read_at(RESULT_HEADER.size + position, RECORD.size)
            if len(header) < RECORD.size:
                raise FrameError(f"result file cut short at {position} of {flushed} bytes of records")
            position += RECORD.size + RECORD.unpack(header)[1]
            count += 1
        position, used = 0, counters[DONE] - flushed
        while position < used:
            position += RECORD.size + RECORD.unpack_from(self.area, position)[1]
            count += 1
        return count

    def finish(self, file: ResultFile, n_records: int, wait_ns: int, run_ns: int, origin: Origin) -> None:
        """Write header and remaining records: in one write if nothing was flushed before."""
        flushed, done = self.counters[FLUSHED], self.counters[DONE]
        nbytes = RESULT_HEADER.size + done
        RESULT_HEADER.pack_into(self._frame, 0, RESULT_MAGIC, n_records, nbytes, wait_ns, run_ns, *origin)
        if flushed == 0 and nbytes <= INLINE_NBYTES:
            # Must hold no NUL byte, see encode_result.
            encoded = encode_result(bytes(self._frame[:nbytes]))
            nbytes = len(encoded)
            file.write_at(0, encoded)
        elif flushed == 0:
            file.write_at(0, self._frame[:nbytes])
        else:
            self._flush(file)
            file.write_at(0, self._frame[: RESULT_HEADER.size])
        file.close(nbytes)
        self.counters[FINISHED] = 1


class ResultFile:
    """The file that comes back as the task's stdout; opened when first needed.

    Parameters
    ----------
    path:
        Where.
    keep:
        Whether it holds records of a child that died, to be kept.
    """

    def __init__(self, path: bytes, keep: bool = False) -> None:
        self._path = path
        self._flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | (0 if keep else os.O_TRUNC)
        self._fd = -1

    def _descriptor(self) -> int:
        if self._fd < 0:
            self._fd = os.open(self._path, self._flags, 0o666)
        return self._fd

    def write_at(self, offset: int, *parts: bytes | memoryview) -> None:
        """Write all of `parts`, one after the other, from `offset` on."""
        fd = self._descriptor()
        for part in parts:
            view = memoryview(part)
            while view:
                written = os.pwrite(fd, view, offset)
                offset += written
                view = view[written:]

    def read_at(self, offset: int, nbytes: int) -> bytes:
        """Read up to `nbytes` from `offset` on."""
        return os.pread(self._descriptor(), nbytes, offset)

    def close(self, nbytes: int | None = None) -> None:
        """Close; with `nbytes`, cut off what a dead child may have left behind that size."""
        if self._fd >= 0:
            if nbytes is not None and not self._flags & os.O_TRUNC:
                os.ftruncate(self._fd, nbytes)
            os.close(self._fd)
            self._fd = -1


def hand_back(path: bytes, wait_ns: int, origin: Origin) -> None:
    """Leave a result frame without a record: none of the bundle's calls was run."""
    file = ResultFile(path)
    header = RESULT_HEADER.pack(RESULT_MAGIC, 0, RESULT_HEADER.size, wait_ns, 0, *origin)
    file.write_at(0, encode_result(header))
    file.close()
