"""Memory that a slot's child shares with the supervisor, so that results outlive the child.

Records are appended to an area; when it is full it is flushed to the result file. Offsets count bytes of records since
the bundle began, wherever they lie: ``[0, FLUSHED)`` is in the file, ``[FLUSHED, DONE)`` in the area. One store into
DONE publishes a record, one store into FLUSHED moves the border, and a death, or a stray exception, before, between or
after those stores leaves a state that `count` can read: a flush cut short is simply done again at the same place.
"""

from __future__ import annotations

import errno
import mmap
import os

from .frame import FrameError, Origin, encode_result
from .own_builtins import OWN as __builtins__  # type: ignore[no-redef]  # noqa: F401
from .protocol import (
    INLINE_NBYTES,
    OUTPUT_DROPPED,
    OUTPUT_PIECE,
    RESULT_HEADER,
    RESULT_MAGIC,
    RESULT_RECORD,
    STATUS_PICKLE,
    VINEFAST_RESULT_NBYTES,
)

# Indices of the 8-byte counters.
DONE = 0
FLUSHED = 1
START_NS = 2  # monotonic; 0 while no child has begun with the bundle
STAGE = 3  # who is to blame for a death
LOG_START = 4  # position in the slot's log where the output of the last call begins
FINISHED = 5  # 1 when the result file is complete
SERIAL = 6  # of the bundle that all these are about
TAKING = 7  # 1 while the child may have taken a bundle from the queue without having said so
LIMIT_MS = 8  # how long each call of the bundle may run; 0: for ever
CALL_NS = 9  # of such a bundle: when the function that runs has begun; 0: none runs
CALLS_NS = 10  # when the first call would have begun, had all that have a record run one after the other
CAPTURED = 11  # bytes of pieces in `SlotMemory.captured`
CAPTURE_START = 12  # position in the log where the output of the call begins that is captured, plus 1; 0: none is
LEFT_OUT = 13  # bytes that this call has printed and that never came to the log
# From here on they are not about a bundle, but about the slot, and are not forgotten. Each has one writer, the child or
# the supervisor. A position in a log counts what was ever written to it, so a cut does not move it.
CUT_BY_CHILD = 16  # bytes that were cut off the log, by whom
CUT_BY_SUPERVISOR = 17
CUTTING = 18  # 1 while the supervisor is about to cut
SENT = 19  # position up to which the log has been sent with results
MARK_AT = 20  # position of the last mark of a call
DEATH_AT = 21  # where the log ended when a child was found dead
REPLACED = 22  # children that have taken the place of others
REPLACED_TOLD = 23  # of these, those that result frames have told

# Values of STAGE.
OUTSIDE = 0  # no user code runs
RUNNING = 1  # the first call without a record
LOADING = 2  # plus its index: a function's body

_COUNTERS_NBYTES = 192
_NOTHING = bytes(8 * CUT_BY_CHILD)
_AREA_AT = _COUNTERS_NBYTES + RESULT_HEADER.size
# As large as a core's cache likes; payloads beyond it are written straight from where they are.
_NBYTES = 256 * 1024
# Behind the area: for a record that says why another is missing, which must not need the disk.
_LAST_NBYTES = 4096
# What calls of one bundle print that is to come back call by call. Untouched, it takes no memory.
_CAPTURED_NBYTES = 4 << 20
# A record says how long its payload is in 32 bits.
_RECORD_MAX_NBYTES = 2**32 - 1


class NoRoom(Exception):
    """A record, or a whole frame, fits neither the disk nor what TaskVine takes. What was written before is unharmed.

    Attributes
    ----------
    nbytes:
        Size of what does not fit.
    reason:
        What it does not fit.
    """

    def __init__(self, nbytes: int, reason: str) -> None:
        super().__init__(nbytes, reason)
        self.nbytes = nbytes
        self.reason = reason


def is_no_room(error: BaseException) -> bool:
    """Tell whether an error means that the disk is full, or that a file must not grow."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return isinstance(error, NoRoom)


def shared_number() -> memoryview:
    """Give an unsigned 64-bit integer, as a view of one, that this process and all its forks share."""
    return memoryview(mmap.mmap(-1, mmap.PAGESIZE))[:8].cast("Q")


class SlotMemory:
    """Counters, result header and result area of one slot.

    Attributes
    ----------
    counters:
        View of unsigned 64-bit integers.
    area:
        View of the bytes where records are appended.
    captured:
        View of pieces of output, each behind its `OUTPUT_PIECE`.
    limit:
        The longest result frame that TaskVine takes.
    """

    def __init__(self) -> None:
        # Shared and anonymous: nothing on disk, gone with the last process that maps it.
        view = memoryview(mmap.mmap(-1, _NBYTES))
        self._counter_bytes = view[:_COUNTERS_NBYTES]
        self.counters: memoryview[int] = self._counter_bytes.cast("Q")
        self._bundle_counters = self._counter_bytes[: len(_NOTHING)]
        self.captured: memoryview[int] = memoryview(mmap.mmap(-1, _CAPTURED_NBYTES))
        self.limit: int = min(int(os.environ.get(VINEFAST_RESULT_NBYTES) or 1 << 30), _RECORD_MAX_NBYTES)
        # In half a frame, so that what lies there never takes one beyond the limit.
        self.area: memoryview[int] = view[_AREA_AT : max(_AREA_AT, min(_NBYTES, self.limit // 2) - _LAST_NBYTES)]
        self._records = view[_AREA_AT:]
        self._frame = view[_COUNTERS_NBYTES:]
        # How many records `count` has walked over, how far it came, and how long their calls took.
        self._walked = (0, 0, 0)

    def reset(self, serial: int = 0) -> None:
        """Forget the last bundle, for the one of that serial number."""
        # Last of all: until then, these are not about the new one.
        self._bundle_counters[:] = _NOTHING
        self._walked = (0, 0, 0)
        self.counters[SERIAL] = serial

    @property
    def counted_ns(self) -> int:
        """How long the calls took, altogether, that were counted last."""
        return self._walked[2]

    def published(self) -> int:
        """Give the end of the last complete record."""
        return max(self.counters[DONE], self.counters[FLUSHED])

    def room(self) -> int:
        """Give how many bytes a frame may have beside the records that are there."""
        return self.limit - RESULT_HEADER.size - self.counters[DONE]

    def n_records(self) -> int:
        """Give how many records the last bundle has that was finished."""
        n_records: int = RESULT_HEADER.unpack_from(self._frame)[1]
        return n_records

    def append(self, file: ResultFile, status: int, duration_ns: int, *payload: bytes | memoryview) -> bool:
        """Append one record, its payload in parts: the thorough way, for what the hot loop does not do in place.

        Returns
        -------
        bool
            Whether there is room for as much again. A bundle ends where there is not, so that it depends on a result
            alone whether it fits, and not on those before it.

        Raises
        ------
        NoRoom
            Nothing is appended then.
        """
        counters = self.counters
        done = counters[DONE]
        nbytes = sum(len(part) for part in payload)
        record_nbytes = RESULT_RECORD.size + nbytes
        if RESULT_HEADER.size + done + record_nbytes > self.limit:
            raise NoRoom(nbytes, f"{self.limit} is the limit (tune parameter max-task-stdout-storage)")
        try:
            if record_nbytes > len(self.area):
                flushed = counters[FLUSHED]
                waiting = self._records[: done - flushed]
                record = RESULT_RECORD.pack(status, nbytes, duration_ns)
                file.write_at(RESULT_HEADER.size + flushed, waiting, record, *payload)
                # Between the two stores FLUSHED > DONE says: complete, and all in the file.
                counters[FLUSHED] = done + record_nbytes
            else:
                if done - counters[FLUSHED] + record_nbytes > len(self.area):
                    self._flush(file)
                used = done - counters[FLUSHED]
                RESULT_RECORD.pack_into(self.area, used, status, nbytes, duration_ns)
                self.area[used + RESULT_RECORD.size : used + record_nbytes] = (
                    payload[0] if len(payload) == 1 else b"".join(payload)
                )
        except OSError as error:
            raise self._lack(file, error, nbytes) from None
        finally:
            file.close()
        counters[DONE] = done + record_nbytes
        return counters[DONE] <= self.limit // 2

    def position(self, nbytes: int) -> int:
        """Give the position of an offset in the log."""
        return self.counters[CUT_BY_CHILD] + self.counters[CUT_BY_SUPERVISOR] + nbytes

    def offset(self, position: int) -> int:
        """Give the offset in the log of a position; negative if that was cut off."""
        return position - self.position(0)

    def capture(self, kind: int, number: int, gone: int, data: bytes) -> bool:
        """Keep a piece of output, or as much of its end as there is room for; tells whether there is for more."""
        used = self.counters[CAPTURED]
        room = len(self.captured) - used - OUTPUT_PIECE.size
        if room < 0:
            return False
        if len(data) > room:
            gone += len(data) - room
            data = data[len(data) - room :]
        OUTPUT_PIECE.pack_into(self.captured, used, kind, len(data), number, gone)
        used += OUTPUT_PIECE.size
        self.captured[used : used + len(data)] = data
        self.counters[CAPTURED] = used + len(data)
        return 2 * (used + len(data)) < len(self.captured)

    def append_last(self, status: int, duration_ns: int, payload: bytes) -> None:
        """Append a short record for which there is always room. The bundle has to end with it."""
        used = self.counters[DONE] - self.counters[FLUSHED]
        RESULT_RECORD.pack_into(self._records, used, status, len(payload), duration_ns)
        self._records[used + RESULT_RECORD.size : used + RESULT_RECORD.size + len(payload)] = payload
        self.counters[DONE] += RESULT_RECORD.size + len(payload)

    def forget(self, file: ResultFile) -> None:
        """Take all records back, and the room that they have taken."""
        self.counters[DONE] = self.counters[FLUSHED] = 0
        self._walked = (0, 0, 0)
        file.cut(0)

    def _lack(self, file: ResultFile, error: OSError, nbytes: int) -> Exception:
        """Give what to raise for an error in a write, after which only what is flushed remains in the file."""
        if not is_no_room(error):
            return error
        file.cut(RESULT_HEADER.size + self.counters[FLUSHED])
        what = "limit on the size of files" if error.errno == errno.EFBIG else "disk"
        return NoRoom(nbytes, f"the {what} of its worker on {os.uname().nodename} says: {error.strerror}")

    def _flush(self, file: ResultFile) -> None:
        flushed, done = self.counters[FLUSHED], self.counters[DONE]
        if done > flushed:
            file.write_at(RESULT_HEADER.size + flushed, self._records[: done - flushed])
            self.counters[FLUSHED] = done

    def count(self, file: ResultFile) -> int:
        """Count the complete records, wherever they lie and whoever left them, and make the counters agree."""
        counters = self.counters
        flushed = counters[FLUSHED]
        if flushed > counters[DONE]:
            counters[DONE] = flushed
        done = counters[DONE]
        n, position, took_ns = self._walked
        try:
            while position < flushed:
                header = file.read_at(RESULT_HEADER.size + position, RESULT_RECORD.size)
                if len(header) < RESULT_RECORD.size:
                    raise FrameError(f"result file cut short at {position} of {flushed} bytes of records")
                _, nbytes, duration_ns = RESULT_RECORD.unpack(header)
                position += RESULT_RECORD.size + nbytes
                took_ns += duration_ns
                n += 1
        finally:
            file.close()
        while position < done:
            _, nbytes, duration_ns = RESULT_RECORD.unpack_from(self._records, position - flushed)
            position += RESULT_RECORD.size + nbytes
            took_ns += duration_ns
            n += 1
        self._walked = (n, position, took_ns)
        return n

    def recount(self, file: ResultFile) -> tuple[int, int]:
        """Count as `count` does, in another process than the one that writes them, which must not run meanwhile.

        Returns
        -------
        tuple
            How many records there are, and how long their calls took altogether, in nanoseconds.
        """
        self._walked = (0, 0, 0)
        try:
            return self.count(file), self.counted_ns
        finally:
            self._walked = (0, 0, 0)  # the next child is a fork of this process

    def finish(
        self,
        file: ResultFile,
        n_records: int,
        wait_ns: int,
        run_ns: int,
        origin: Origin,
        output: bytes = b"",
        dropped: bool = False,
    ) -> None:
        """Write header and remaining records, and output behind them: in one write if nothing was flushed before.

        Output for which there is no room is dropped, and the header says so.

        Raises
        ------
        NoRoom
            If the disk has none for the records.
        """
        counters = self.counters
        flushed, done = counters[FLUSHED], counters[DONE]
        nbytes = RESULT_HEADER.size + done + len(output)
        replaced = counters[REPLACED]
        untold = (replaced - counters[REPLACED_TOLD]) & 0xFFFF
        said = OUTPUT_DROPPED if dropped else len(output)
        RESULT_HEADER.pack_into(self._frame, 0, RESULT_MAGIC, n_records, nbytes, wait_ns, run_ns, *origin, untold, said)
        try:
            if flushed:
                self._flush(file)
                if output:
                    file.write_at(RESULT_HEADER.size + done, output)
                file.write_at(0, self._frame[: RESULT_HEADER.size])
            elif nbytes <= INLINE_NBYTES:
                # Must hold no NUL byte, see encode_result. What is flushed alone is longer.
                encoded = encode_result(bytes(self._frame[: RESULT_HEADER.size + done]) + output)
                nbytes = len(encoded)
                file.write_at(0, encoded)
            elif output:
                file.write_at(0, self._frame[: RESULT_HEADER.size + done], output)
            else:
                file.write_at(0, self._frame[:nbytes])
            file.end(nbytes)
        except OSError as error:
            lack = self._lack(file, error, done)
            if output and isinstance(lack, NoRoom):
                self.finish(file, n_records, wait_ns, run_ns, origin, b"", True)
                return
            raise lack from None
        counters[FINISHED] = 1
        counters[REPLACED_TOLD] = replaced


class ResultFile:
    """The file that comes back as the task's stdout; opened when first needed.

    It is not left open while a call runs, which may close it and open another file that gets its number.

    Parameters
    ----------
    path:
        Where.
    keep:
        Whether it holds records of an earlier attempt, to be kept.
    """

    _fd = -1

    def __init__(self, path: bytes, keep: bool = False) -> None:
        self._path = path
        self._keep = keep

    def _descriptor(self) -> int:
        if self._fd < 0:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | (0 if self._keep else os.O_TRUNC)
            self._fd = os.open(self._path, flags, 0o666)
        return self._fd

    def write_at(self, offset: int, *parts: bytes | memoryview) -> None:
        """Write all of `parts`, one after the other, from `offset` on."""
        fd = self._descriptor()
        for part in parts:
            written = os.pwrite(fd, part, offset)
            offset += written
            while written < len(part):
                part = memoryview(part)[written:]
                written = os.pwrite(fd, part, offset)
                offset += written

    def read_at(self, offset: int, nbytes: int) -> bytes:
        """Read up to `nbytes` from `offset` on."""
        return os.pread(self._descriptor(), nbytes, offset)

    def cut(self, nbytes: int) -> None:
        """Keep no more than `nbytes`."""
        try:
            if os.path.getsize(self._path) > nbytes:
                os.truncate(self._path, nbytes)
        except OSError:
            pass  # then it holds nothing

    def end(self, nbytes: int) -> None:
        """Close it with what it holds now, but for what an earlier attempt may have left behind that size."""
        if self._keep:
            os.ftruncate(self._descriptor(), nbytes)
        self.close()

    def close(self) -> None:
        """Close it until it is needed again, and keep what it holds then."""
        if self._fd >= 0:
            self._keep = True
            # Not to be closed twice: the number may be somebody else's by then.
            fd, self._fd = self._fd, -1
            os.close(fd)

    def __del__(self) -> None:
        self.close()


def hand_back(path: bytes, wait_ns: int, origin: Origin, *values: bytes) -> None:
    """Leave a result frame without a record of a call: none was run. Values are pickled, for who has asked for them."""
    records = b"".join(RESULT_RECORD.pack(STATUS_PICKLE, len(value), 0) + value for value in values)
    nbytes = RESULT_HEADER.size + len(records)
    frame = RESULT_HEADER.pack(RESULT_MAGIC, len(values), nbytes, wait_ns, 0, *origin, 0, 0) + records
    file = ResultFile(path)
    file.write_at(0, encode_result(frame) if nbytes <= INLINE_NBYTES else frame)
    file.close()
