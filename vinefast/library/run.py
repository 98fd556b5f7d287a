"""Run one bundle: unpack, run, pack. Used by the warm child of a slot and by the regular mode."""

from __future__ import annotations

import os
import pickle
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from itertools import repeat
from operator import length_hint
from typing import Any, NamedTuple

from . import buffers, files, node, parsl_side, unserializable
from . import memory as layout
from .captured import Captured
from .failure import Unrunnable, pack_exception, pack_lack, pack_timeout, pack_wrapper, stack_of
from .frame import Frame, Origin, decode_command, decode_frame, split_message
from .functions import FunctionCache
from .interruption import STOPPED, CallOverdue, CallStopped, Interruption
from .memory import NoRoom, ResultFile, SlotMemory
from .output import FORKED, Output, attend
from .own_builtins import OWN as __builtins__  # type: ignore[no-redef]  # noqa: F401
from .protocol import (
    BUNDLE_CAPTURES,
    PAYLOAD_BUFFERS,
    PAYLOAD_CHUNK,
    PAYLOAD_FILES,
    PAYLOAD_NONE,
    PAYLOAD_PICKLE,
    RESULT_HEADER,
    RESULT_RECORD,
    STATUS_BUFFERS,
    STATUS_DIED,
    STATUS_EXCEPTION,
    STATUS_NODE,
    STATUS_NONE,
    STATUS_PARSL,
    STATUS_PICKLE,
    STATUS_TIMED_OUT,
    STATUS_TOO_LARGE,
    VINEFAST_CWD,
)
from .share import Share
from .stops import Stops
from .surroundings import Surroundings
from .timed import Timed

_NEVER_NS = 1 << 62


class Resume(NamedTuple):
    """How to go on with a bundle that was interrupted, in a fresh child or after a stray exception in the same one.

    Attributes
    ----------
    record:
        Status and payload for the first call without a record, if that call is to blame.
    done:
        Where the records ended then: once they go on from there, the blame is written down.
    dead_functions:
        Payloads for functions that kill the child when they are loaded, by their index in the frame.
    """

    record: tuple[int, bytes] | None = None
    done: int = 0
    dead_functions: dict[int, bytes] = {}


class Runner:
    """All that one process keeps from bundle to bundle.

    Parameters
    ----------
    memory:
        Shared with the supervisor.
    functions:
        The warm functions.
    home:
        Directory of the library, for paths that are not absolute.
    origin:
        For the result frame.
    share:
        Of the worker, which calls of other slots use as well; None: there are none.
    surroundings:
        Looked at between calls; None: what they change stays.
    interruption:
        Which of the calls are to end before they have; None: nobody says so.
    on_limit:
        Called before calls begin whose time is limited.
    output:
        Marks what they print; None: nobody does.
    """

    def __init__(
        self,
        memory: SlotMemory,
        functions: FunctionCache,
        home: bytes,
        origin: Origin,
        share: Share | None = None,
        surroundings: Surroundings | None = None,
        interruption: Interruption | None = None,
        on_limit: Callable[[], None] = lambda: None,
        output: Output | None = None,
    ) -> None:
        self._memory = memory
        self._functions = functions
        self._home = home
        self._origin = origin
        self._share = share
        self._surroundings = surroundings
        self._interruption = interruption or Interruption(Stops(), memory)
        self._interruption.loop = _run_calls.__code__
        self._on_limit = on_limit
        self._pid = os.getpid()
        self._shared_cwd = os.environb.get(VINEFAST_CWD.encode()) or None
        self._output = output
        # Grows when a call prints, and in a process that user code forked off: the hot loop looks at it to end that
        # process where it would otherwise go on with our calls. Its truth costs nanoseconds, a getpid per call would
        # not.
        self._attention = output.attention if output is not None else []
        os.register_at_fork(after_in_child=lambda: self._attention.append(FORKED))

    def run_bundle(self, message: bytes, received_ns: int, resume: Resume | None = None) -> None:
        """Run the calls of one bundle and leave the result frame in its file.

        Parameters
        ----------
        message:
            ``COMMAND SANDBOX STDOUT_FILE``, as the worker sent it.
        received_ns:
            Monotonic time when the supervisor had it.
        resume:
            Given for the second and later attempts: go on after the records that are complete.
        """
        counters = self._memory.counters
        if not counters[layout.START_NS]:
            counters[layout.START_NS] = time.monotonic_ns()
        start_ns = counters[layout.START_NS]
        self._interruption.begin()
        if self._output is not None:
            self._output.begin()

        command, sandbox, result_path = split_message(message)
        if not sandbox.startswith(b"/"):
            sandbox = os.path.join(self._home, sandbox)
            result_path = os.path.join(self._home, result_path)
        file = ResultFile(result_path, keep=resume is not None)
        frame = decode_frame(decode_command(command, sandbox))
        n_calls = len(frame.payload_kinds)
        counters[layout.LIMIT_MS] = frame.limit_ms
        if frame.limit_ms:
            counters[layout.CALL_NS] = 0  # an earlier child may have died in a call
            self._on_limit()
        first = self._memory.count(file) if resume is not None else 0
        if resume is not None and resume.record is not None and first < n_calls:
            if self._memory.published() == resume.done:
                status, payload = resume.record
                took_ns = max(0, time.monotonic_ns() - start_ns - self._memory.counted_ns)
                if self._output is not None:
                    self._output.captures.end_dead(frame, first)
                _append(self._memory, file, self._surroundings, None, status, took_ns, payload)
                first += 1
        if resume is not None and self._output is not None:
            self._output.start_attempt()
        counters[layout.STAGE] = layout.OUTSIDE
        if counters[layout.CAPTURE_START]:
            counters[layout.CAPTURE_START] = 0

        functions: list[Callable[..., Any]] = []
        slice_end_ns = start_ns + frame.slice_ms * 1_000_000 if frame.slice_ms else _NEVER_NS
        n_records = first
        if not n_calls and not first:
            self._memory.append(file, STATUS_NODE, 0, node.about())
            n_records = 1
        if first < n_calls and not (first and time.monotonic_ns() > slice_end_ns):
            functions, watch = self._prepare(frame, first, sandbox, resume.dead_functions if resume else {})
            if self._attention:
                attend(self._attention)
            if frame.flags & BUNDLE_CAPTURES and self._output is not None:
                begin = self._output.begin_capture
                functions = [each if isinstance(each, Unrunnable) else Captured(each, begin) for each in functions]
            if frame.limit_ms:
                functions = [each if isinstance(each, Unrunnable) else Timed(each, self._memory) for each in functions]
            if first:
                self._memory.count(file)  # with the record that was appended
            counters[layout.CALLS_NS] = time.monotonic_ns() - self._memory.counted_ns
            counters[layout.STAGE] = layout.RUNNING
            n_records = _run_calls(
                functions,
                frame,
                first,
                self._memory,
                file,
                slice_end_ns,
                self._attention,
                self._surroundings,
                watch,
                self._interruption,
                self._output,
            )
            counters[layout.STAGE] = layout.OUTSIDE
            self._interruption.tidy_up()  # the call may have taken its interruption for an answer
        if os.getpid() != self._pid:
            os._exit(0)
        run_ns = time.monotonic_ns() - start_ns
        numbers = (n_records, start_ns - received_ns, run_ns, self._origin)
        if self._output is not None:
            self._output.end_bundle()
        try:
            try:
                self._finish(file, *numbers)
            except NoRoom:
                if self._surroundings is None or not self._surroundings.look():
                    raise
                _leave_if_spoilt(self._surroundings, self._memory)
                self._finish(file, *numbers)
        except NoRoom as lack:
            if n_records != 1:
                raise  # alone, most calls will find room
            function = functions[frame.function_indices[0]] if functions else None
            self._memory.forget(file)
            self._memory.append_last(STATUS_TOO_LARGE, run_ns, pack_lack(function, lack))
            self._finish(file, *numbers)

    def _finish(self, file: ResultFile, n_records: int, wait_ns: int, run_ns: int, origin: Origin) -> None:
        if self._output is None:
            self._memory.finish(file, n_records, wait_ns, run_ns, origin)
            return
        output, dropped = self._output.collect(self._memory.room())
        self._memory.finish(file, n_records, wait_ns, run_ns, origin, output, dropped)
        if output:
            self._output.captures.note_sent()

    def run_bundle_despite_strays(self, message: bytes, received_ns: int, resume: Resume | None = None) -> None:
        """Run a bundle, with a second attempt after an exception outside any call.

        User code may leave timers behind that throw into this thread at any point. What is wrong with the frame itself,
        or with the disk, is still so at the second attempt. An interruption that strikes there is nobody's fault.
        """
        try:
            self._run_bundle_despite_interruptions(message, received_ns, resume)
        except NoRoom:
            raise
        except BaseException as error:
            self._interruption.begin()
            if self._surroundings is not None:
                self._surroundings.look()
                _leave_if_spoilt(self._surroundings, self._memory)
            if self._memory.counters[layout.FINISHED]:
                return
            again = resume or Resume()
            if self._memory.counters[layout.STAGE] == layout.RUNNING:
                done = self._memory.published()
                again = Resume((STATUS_EXCEPTION, pack_exception(error)), done, again.dead_functions)
            self._run_bundle_despite_interruptions(message, received_ns, again)

    def _run_bundle_despite_interruptions(self, message: bytes, received_ns: int, resume: Resume | None) -> None:
        # No more often than it has calls.
        while True:
            try:
                return self.run_bundle(message, received_ns, resume)
            except CallStopped:
                if self._memory.counters[layout.FINISHED]:
                    return None
                resume = resume or Resume()

    def _prepare(
        self, frame: Frame, first: int, sandbox: bytes, dead_functions: dict[int, bytes]
    ) -> tuple[list[Callable[..., Any]], bool]:
        """Give the functions, and whether to look at what each of their calls leaves behind."""
        surroundings = self._surroundings
        # Those that ran in a process which they then spoilt are to be watched in this one.
        to_run = [frame.functions[index] for index in {*frame.function_indices[first:]}] if first else frame.functions
        digests = [digest for digest, _ in to_run]
        # What is loaded once more, since it was forgotten, may set something once more.
        watch = surroundings is not None and (surroundings.begin(digests) or not self._functions.holds(digests))
        if surroundings is not None and (watch or surroundings.is_due()):
            surroundings.look()
            _leave_if_spoilt(surroundings, self._memory)
        directory = self._enter(sandbox)
        takes_other_share = self._share is not None and self._share.take(frame.cores)
        functions = self._load(frame.functions, dead_functions)
        if surroundings is not None:
            surroundings.directory = directory
            if watch:
                surroundings.note()
            elif takes_other_share:
                surroundings.note_environment()
        return functions, watch

    def _enter(self, sandbox: bytes) -> bytes:
        files.enter(sandbox)
        # Every bundle anew: asking whether a call went elsewhere costs as much as going.
        if self._shared_cwd is not None:
            try:
                os.chdir(self._shared_cwd)
                return self._shared_cwd
            except OSError:
                pass
        os.chdir(sandbox)
        return sandbox

    def _load(self, entries: list[tuple[bytes, bytes | None]], dead: dict[int, bytes]) -> list[Callable[..., Any]]:
        # All before the first call, so that a death while loading is known as the function's, not a call's.
        counters = self._memory.counters
        functions: list[Callable[..., Any]] = []
        for index, (digest, body) in enumerate(entries):
            if index in dead:
                functions.append(Unrunnable(STATUS_DIED, dead[index]))
                continue
            counters[layout.STAGE] = layout.LOADING + index
            functions.append(self._functions.resolve(digest, body))
        counters[layout.STAGE] = layout.OUTSIDE
        return functions


def _run_calls(
    functions: list[Callable[..., Any]],
    frame: Frame,
    first: int,
    memory: SlotMemory,
    file: ResultFile,
    slice_end_ns: int,
    attention: list[Output | None],
    surroundings: Surroundings | None,
    watch: bool,
    interruption: Interruption,
    output: Output | None,
) -> int:
    """Run calls until they or the time slice end; gives how many have a record then.

    The hot loop, measured by ``benches/bench_library.py``. A call's duration reaches from the record before it to its
    own: unpacking, running and packing.

    An exception that user code left behind (a timer that throws into this thread) may strike at any point, and so may
    an interruption. So nothing
    in here is counted from call to call: what belongs to a call is found by its index, and after such an exception the
    records alone say which call is the next one.
    """
    loads, dumps, clock = pickle.loads, pickle.dumps, time.monotonic_ns
    pack, plain_types, payload_at = buffers.pack, buffers.PLAIN_TYPES, RESULT_HEADER.size + RESULT_RECORD.size
    pack_into, head = RESULT_RECORD.pack_into, RESULT_RECORD.size
    wrapper = parsl_side.RemoteExceptionWrapper
    counters, area = memory.counters, memory.area
    DONE, FLUSHED = layout.DONE, layout.FLUSHED
    room = len(area) - head
    done, flushed = counters[DONE], counters[FLUSHED]
    before = -1  # where the records ended when the last call began
    function = result = args = kwargs = None
    data: Any
    payloads = frame.payloads
    calls, rest = _calls_from(first, functions, frame, interruption, output)
    pause_ns = _next_pause_ns(slice_end_ns, surroundings, watch)
    last_ns = clock()
    while True:
        # One handler around the loop instead of one per call, which costs nothing while nothing is raised.
        try:
            for function, start, end, kind in calls:
                before = done
                if kind == PAYLOAD_PICKLE:
                    args, kwargs = loads(payloads[start:end])
                    result = function(*args, **kwargs)
                elif kind == PAYLOAD_NONE:
                    result = function()
                elif kind & PAYLOAD_FILES:
                    result = _run_with_files(function, kind & ~PAYLOAD_FILES, payloads[start:end])
                else:
                    args, kwargs = _unpack(kind & ~PAYLOAD_CHUNK, payloads[start:end])
                    result = _run_chunk(function, args) if kind & PAYLOAD_CHUNK else function(*args, **kwargs)
                if attention and attend(attention):
                    slice_end_ns = pause_ns = 0
                if result is None:
                    now_ns = clock()
                    used = done - flushed
                    if used <= room:
                        pack_into(area, used, STATUS_NONE, 0, now_ns - last_ns)
                        counters[DONE] = done = before + head
                    else:
                        if not _append(memory, file, surroundings, function, STATUS_NONE, now_ns - last_ns, b""):
                            slice_end_ns = pause_ns = 0
                        done, flushed = counters[DONE], counters[FLUSHED]
                else:
                    status = STATUS_PICKLE
                    if type(result) in plain_types:
                        data = dumps(result, 5)
                    elif type(result) is wrapper:
                        status, data = STATUS_EXCEPTION, pack_wrapper(result)
                    else:
                        try:
                            data = pack(result, payload_at + done)
                            if type(data) is list:
                                status = STATUS_BUFFERS
                        except BaseException:
                            data = _pack_odd_result(function, result)
                            status = STATUS_PARSL
                    size = len(data)
                    now_ns = clock()
                    used = done - flushed
                    if status != STATUS_BUFFERS and used + size <= room:
                        pack_into(area, used, status, size, now_ns - last_ns)
                        used += head
                        area[used : used + size] = data
                        counters[DONE] = done = before + head + size
                    else:
                        parts = [data] if type(data) is bytes else data
                        if not _append(memory, file, surroundings, function, status, now_ns - last_ns, *parts):
                            slice_end_ns = pause_ns = 0
                        parts = None
                        done, flushed = counters[DONE], counters[FLUSHED]
                # What the call used is freed before the next one unpacks.
                result = args = kwargs = None
                data = b""
                last_ns = now_ns
                if now_ns > pause_ns:
                    if surroundings is not None:
                        surroundings.look()
                        _leave_if_spoilt(surroundings, memory)
                        last_ns = clock()
                    if now_ns > slice_end_ns:
                        break
                    pause_ns = _next_pause_ns(slice_end_ns, surroundings, watch)
            else:
                if surroundings is not None and watch:
                    surroundings.trust()
            return len(frame.payload_kinds) - length_hint(rest)
        except BaseException as failure:
            if attention and attend(attention, 1):
                slice_end_ns = pause_ns = 0
            counters[layout.CALL_NS] = 0  # what has struck may have kept it from that
            if surroundings is not None:
                surroundings.put_back_builtins()  # what serializes exceptions might not end without them
            if memory.published() == before:
                result = args = kwargs = None
                if isinstance(failure, Unrunnable):
                    failure.__traceback__ = None
                    status, data = failure.status, failure.payload
                else:
                    if isinstance(failure, CallStopped):
                        interruption.tidy_up()
                    if isinstance(failure, CallOverdue):
                        status, data = STATUS_TIMED_OUT, pack_timeout(frame.limit_ms / 1000, stack_of(failure))
                    else:
                        status, data = STATUS_EXCEPTION, pack_exception(failure)
                now_ns = clock()
                if not _append(memory, file, surroundings, function, status, now_ns - last_ns, data):
                    slice_end_ns = pause_ns = 0
            else:
                # No call is running: the last one has its record, or the next one has not begun.
                if surroundings is not None:
                    surroundings.look()
                if not isinstance(failure, CallStopped):
                    _tell_stray(failure)
                now_ns = clock()
                calls, rest = _calls_from(memory.count(file), functions, frame, interruption, output)
            if surroundings is not None:
                surroundings.look()
                _leave_if_spoilt(surroundings, memory)
            done, flushed = counters[DONE], counters[FLUSHED]
            last_ns = clock()
            if now_ns > slice_end_ns:
                return len(frame.payload_kinds) - length_hint(rest)


def _next_pause_ns(slice_end_ns: int, surroundings: Surroundings | None, watch: bool) -> int:
    """Give the time after which the loop does more than run calls."""
    if surroundings is None:
        return slice_end_ns
    return 0 if watch else min(slice_end_ns, surroundings.look_at_ns)


def _leave_if_spoilt(surroundings: Surroundings, memory: SlotMemory) -> None:
    """End the process if calls have changed in it what cannot be put back: another one goes on behind the records."""
    if surroundings.spoilt:
        memory.counters[layout.STAGE] = layout.OUTSIDE
        os._exit(1)


def _calls_from(
    first: int, functions: list[Callable[..., Any]], frame: Frame, interruption: Interruption, output: Output | None
) -> tuple[Iterator[tuple[Callable[..., Any], int, int, int]], Iterator[int]]:
    """Give function, place and kind of payload of each call from an index on; and an iterator that tells how many are
    left.
    """
    indices, starts, ends = frame.function_indices[first:], frame.starts[first:], frame.ends[first:]
    rest = interruption.follow(first, [*frame.payload_kinds[first:]])
    if output is not None:
        output.follow(frame, functions, rest)
    each = map(functions.__getitem__, indices) if len(functions) > 1 else repeat(functions[0], len(indices))
    return zip(each, starts, ends, rest, strict=True), rest


def _tell_stray(error: BaseException) -> None:
    try:
        sys.stderr.write("vinefast: raised outside of any call, by a timer or a thread that a call has left behind:\n")
        traceback.print_exception(error, limit=-1)
    except Exception:  # noqa: S110
        pass  # the disk is full, say, or a call has put something else there: none of the next call's business


def _append(
    memory: SlotMemory,
    file: ResultFile,
    surroundings: Surroundings | None,
    function: Callable[..., Any] | None,
    status: int,
    duration_ns: int,
    *payload: bytes | memoryview,
) -> bool:
    """Append a record, or in its place one that says why that cannot be; tells whether the bundle may go on."""
    try:
        try:
            return memory.append(file, status, duration_ns, *payload)
        except NoRoom:
            # A call may have set a limit.
            if surroundings is None or not surroundings.look():
                raise
            return memory.append(file, status, duration_ns, *payload)
    except NoRoom as lack:
        memory.append_last(STATUS_TOO_LARGE, duration_ns, pack_lack(function, lack))
        return False


def _unpack(kind: int, payload: memoryview) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if kind == PAYLOAD_NONE:
        return (), {}
    if kind == STOPPED:
        raise CallStopped("the call has been cancelled")
    unpacked: tuple[tuple[Any, ...], dict[str, Any]]
    if kind == PAYLOAD_BUFFERS:
        unpacked = buffers.unpack(payload)
    elif kind == PAYLOAD_PICKLE:
        unpacked = pickle.loads(payload)
    else:
        unpacked = parsl_side.deserialize(bytes(payload))
    return unpacked


def _run_with_files(function: Callable[..., Any], kind: int, payload: memoryview) -> Any:
    payload, plan = files.split(payload)
    sealed = files.place(plan)  # first: arguments may be read from files
    args, kwargs = _unpack(kind & ~PAYLOAD_CHUNK, payload)

    def call() -> Any:
        return _run_chunk(function, args) if kind & PAYLOAD_CHUNK else function(*args, **kwargs)

    return files.run(plan, sealed, call, getattr(function, "__name__", repr(function)))


def _run_chunk(function: Callable[..., Any], columns: tuple[Any, ...]) -> list[Any] | tuple[list[Any], bytes]:
    """Call the function for each row; gives the results, and if one raised, those before it and the failure."""
    results: list[Any] = []
    try:
        results.extend(map(function, *columns))
    except (Unrunnable, CallStopped):
        raise
    except BaseException as error:
        return results, pack_exception(error)
    return results


def _pack_odd_result(function: Callable[..., Any], result: Any) -> bytes:
    """Serialize what pickle cannot, by Parsl's means."""
    try:
        return parsl_side.serialize(result)
    except BaseException as error:
        name = getattr(function, "__name__", None) or repr(function)
        why = unserializable.described(name, error, [("its result", result)], parsl_side.serialize)
        raise parsl_side.SerializationError(why) from error
