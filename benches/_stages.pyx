# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""Each stage of a call's way without the others, for benches and tests.

What is Python's in a stage is the core's own; what is C is linked in once more.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from vinefast._core cimport find_function, finish_by_record, function_of, serialize_arguments
from vinefast.csrc cimport *

from vinefast._core import CallFuture

cdef size_t MAX_NBYTES = 0xFFFFFFFF  # of a payload, and so of a bundle that is bounded by time alone


cdef uint32_t checked_repeat(object repeat) except 0:
    if not 1 <= repeat <= 0xFFFFFFFF:
        raise ValueError(f"repeat must be at least 1 and below 2**32, not {repeat}")
    return repeat


cdef class Stages:
    """Runs single stages of a call's way.

    All methods run the code of the real way and keep nothing. With `repeat` the stage itself, not the preparation, is
    run so many times, so that its time can be told from that of a Python call.
    """

    @staticmethod
    def find_function(registry, func, repeat=1):
        """Look a function up, which serializes it the first time.

        Parameters
        ----------
        registry : FunctionRegistry
        func : callable
        repeat : int

        Returns
        -------
        FunctionRecord
        """
        record = None
        for _ in range(checked_repeat(repeat)):
            record = find_function(registry, func)
        return record

    @staticmethod
    def serialize(func, tuple args not None, dict kwargs not None, repeat=1):
        """Serialize the arguments of one call of `func`.

        Returns
        -------
        payload : bytes
        kind : int
            Of the payload, as in a bundle frame.
        """
        cdef int kind = VF_PAYLOAD_NONE
        cdef bytes payload = None
        for _ in range(checked_repeat(repeat)):
            payload = serialize_arguments(func, args, kwargs, &kind)
        return payload, kind

    @staticmethod
    def ring_round(uint32_t n, bint wake=False, repeat=1):
        """Push `n` calls one by one, as the submitting side does, and take them all at once.

        Parameters
        ----------
        n : int
        wake : bool
            Whether the taker sleeps at first, so that the first push has to wake it.
        repeat : int

        Returns
        -------
        int
            How many came out in the order in which they went in, of all repetitions.
        """
        cdef uint32_t times = checked_repeat(repeat)
        cdef uint32_t i
        cdef uint64_t n_in_order = 0
        cdef vf_link *item
        cdef vf_ring ring
        cdef vf_wake taker
        cdef vf_call *calls = <vf_call *>calloc(n + <size_t>1, sizeof(vf_call))
        if calls == NULL:
            raise MemoryError()
        if vf_wake_open(&taker):
            free(calls)
            raise OSError("cannot create an eventfd: too many open files?")
        vf_ring_init(&ring)
        for _ in range(times):
            if wake:
                vf_wake_park(&taker)
            for i in range(n):
                vf_ring_push(&ring, &calls[i].link)
                vf_wake_signal(&taker)
            if wake:
                vf_wake_done(&taker)
            item = vf_ring_take(&ring)
            i = 0
            while item != NULL:
                n_in_order += item == &calls[i].link
                item = item.next
                i += 1
        vf_wake_close(&taker)
        free(calls)
        return n_in_order

    @staticmethod
    def choose(uint32_t n, uint32_t slots=1, double mean_ns=-1, double target_ns=20e6, repeat=1):
        """Let `n` calls of one function wait, and divide them into bundles until none waits.

        Parameters
        ----------
        n : int
        slots : int
            Slots that share them.
        mean_ns : float
            What is known of a call's duration; negative for nothing.
        target_ns : float
            The run time a bundle aims at.
        repeat : int

        Returns
        -------
        list of int
            The number of calls of each bundle.
        """
        cdef uint32_t times = checked_repeat(repeat)
        cdef uint32_t i, n_bundles = 0, n_waiting
        cdef vf_function function
        cdef vf_call_list waiting
        cdef vf_sizing_choice choice
        cdef vf_call *calls = <vf_call *>calloc(n + <size_t>1, sizeof(vf_call))
        cdef vf_call **chosen = <vf_call **>calloc(VF_SIZING_MAX_CALLS, sizeof(vf_call *))
        cdef uint32_t *sizes = <uint32_t *>calloc(n + <size_t>1, sizeof(uint32_t))
        try:
            if calls == NULL or chosen == NULL or sizes == NULL:
                raise MemoryError()
            memset(&function, 0, sizeof(vf_function))
            memset(&waiting, 0, sizeof(vf_call_list))
            function.mean_ns = mean_ns
            function.limit = VF_SIZING_MAX_CALLS
            for i in range(n):
                calls[i].function = &function
            for _ in range(times):
                for i in range(n):
                    atomic_init(&calls[i].state, VF_CALL_QUEUED)
                    vf_call_list_push(&waiting, &calls[i])
                n_waiting = n
                n_bundles = 0
                while waiting.head != NULL:
                    memset(&choice, 0, sizeof(vf_sizing_choice))
                    choice.rule.target_ns = target_ns
                    choice.rule.max_nbytes = MAX_NBYTES
                    choice.n_waiting = n_waiting
                    choice.slots = slots
                    choice.calls = chosen
                    vf_sizing_choose(&choice, &waiting)
                    sizes[n_bundles] = choice.n
                    n_waiting -= sizes[n_bundles]
                    n_bundles += 1
            return [sizes[i] for i in range(n_bundles)]
        finally:
            free(calls)
            free(chosen)
            free(sizes)

    @staticmethod
    def pack(calls, uint32_t slice_ms=0, bint carry=True, repeat=1):
        """Pack one bundle, and encode its frame as the COMMAND of a TaskVine function call.

        Parameters
        ----------
        calls : sequence of (FunctionRecord, bytes, int)
            Function, payload and kind of payload of each call. The records must not be an engine's.
        slice_ms : int
        carry : bool
            Whether the bodies of the functions travel too, as they do until some worker has them.
        repeat : int

        Returns
        -------
        bytes
        """
        cdef tuple kept = tuple(calls)
        cdef uint32_t times = checked_repeat(repeat)
        cdef uint32_t i, n = <uint32_t>len(kept)
        cdef vf_function *function
        cdef bytes payload
        cdef vf_buffer frame, command
        cdef vf_terms terms
        memset(&terms, 0, sizeof(vf_terms))
        terms.slice_ms = slice_ms
        memset(&frame, 0, sizeof(vf_buffer))
        memset(&command, 0, sizeof(vf_buffer))
        cdef vf_call *c_calls = <vf_call *>calloc(n + <size_t>1, sizeof(vf_call))
        cdef vf_call **order = <vf_call **>calloc(n + <size_t>1, sizeof(vf_call *))
        try:
            if c_calls == NULL or order == NULL:
                raise MemoryError()
            for i in range(n):
                call = <tuple?>kept[i]
                record, payload, kind = call
                if payload is None:
                    raise TypeError("a call is (FunctionRecord, bytes, int)")
                if <size_t>PyBytes_GET_SIZE(payload) > MAX_NBYTES:
                    raise ValueError("a payload is too long")
                function = function_of(record)
                function.delivered = not carry
                function.bundle_stamp = 0  # stamps start anew below
                c_calls[i].function = function
                c_calls[i].payload = PyBytes_AS_STRING(payload)
                c_calls[i].nbytes = <uint32_t>PyBytes_GET_SIZE(payload)
                c_calls[i].kind = kind
                order[i] = &c_calls[i]
            for i in range(times):
                if vf_frame_pack(&frame, order, n, &terms, i + <uint64_t>1) or vf_frame_encode(&command, &frame):
                    raise MemoryError()
            return PyBytes_FromStringAndSize(command.data, command.nbytes)
        finally:
            vf_buffer_free(&frame)
            vf_buffer_free(&command)
            free(c_calls)
            free(order)

    @staticmethod
    def finish(bytes frame not None, futures):
        """Read a result frame, raw or encoded, and finish one future by each of its records.

        Parameters
        ----------
        frame : bytes
        futures : sequence of CallFuture
            When there are more of them than records the frame is read again for the next ones.

        Returns
        -------
        list of CallFuture
            The same.

        Raises
        ------
        ValueError
            If this is not a whole result frame, if a call of it was not run, or if the futures do not go up in frames;
            then none is finished.
        """
        cdef list kept = list(futures)
        cdef Py_ssize_t n_done = 0, n = len(kept)
        cdef uint32_t i
        cdef uint64_t offset
        cdef const char *data = PyBytes_AS_STRING(frame)
        cdef size_t nbytes = <size_t>PyBytes_GET_SIZE(frame)
        cdef bint raw = frame.startswith(<bytes>VF_RESULT_MAGIC)
        cdef vf_result_header header
        cdef vf_record record
        cdef vf_bundle bundle
        cdef vf_buffer decoded
        for future in kept:
            if not isinstance(future, CallFuture):
                raise TypeError(f"a {type(future).__name__} is no CallFuture")
        memset(&bundle, 0, sizeof(vf_bundle))
        memset(&decoded, 0, sizeof(vf_buffer))
        try:
            while n_done < n:
                if not raw:
                    if vf_frame_decode(&decoded, PyBytes_AS_STRING(frame)):
                        raise ValueError("this is no encoded frame")
                    data, nbytes = decoded.data, decoded.nbytes
                if vf_result_open(data, nbytes, &header):
                    raise ValueError("this is no whole result frame")
                if header.n_records == 0 or n % header.n_records:
                    raise ValueError(f"{n} futures cannot be finished by frames of {header.n_records} records")
                offset = VF_RESULT_HEADER_NBYTES
                for i in range(header.n_records):
                    if (vf_result_next(data, &header, &offset, &record) or record.status > VF_STATUS_BUFFERS
                            or record.status == VF_STATUS_UNKNOWN_FUNCTION):
                        raise ValueError(f"record {i} of the frame is cut short, or says that its call was not run")
                offset = VF_RESULT_HEADER_NBYTES
                for _ in range(header.n_records):
                    vf_result_next(data, &header, &offset, &record)
                    finish_by_record(kept[n_done], &bundle, &record)
                    n_done += 1
            return kept
        finally:
            vf_buffer_free(&decoded)
