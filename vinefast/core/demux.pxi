# The way back of a call: from a record of a result frame to a finished future.

cdef Py_ssize_t COPY_NBYTES = 4096  # up to here a bytes object is cheaper than a memory view


cdef inline object payload_of(const vf_record *record):
    if record.nbytes <= COPY_NBYTES:
        return PyBytes_FromStringAndSize(record.payload, record.nbytes)
    return PyMemoryView_FromMemory(<char *>record.payload, record.nbytes, 0x100)  # PyBUF_READ


# What the payloads are that tell why there is no result.
cdef tuple RAISED = (str, str, str, (bytes, type(None)), int)
cdef tuple DIED = ((int, type(None)), (int, type(None)), str, (tuple, type(None)))
cdef tuple TOO_LARGE = (str, int, str)
cdef tuple CHANGED = (str, list)
cdef tuple TIMED_OUT = (float, str)


cdef tuple fields_of(const vf_record *record, tuple types):
    fields = pickle_loads(payload_of(record))
    if type(fields) is not tuple or len(fields) != len(types) or not all(map(isinstance, fields, types)):
        raise ValueError(f"the library sent a record of status {record.status} with something else in it")
    return fields


def pieces_of_output(bytes data):
    """Take the output of a result frame apart.

    Returns
    -------
    tuple
        A dictionary of what calls have printed, by their number: how many bytes are left out before, and the bytes. And
        a list of what was written to files of slots: name of the file, and the same.

    Raises
    ------
    ValueError
        If this is no such output.
    """
    printed, written, at, name = {}, [], 0, ""
    while at < len(data):
        if len(data) - at < OUTPUT_PIECE.size:
            raise ValueError("the library sent output that is cut short")
        kind, nbytes, number, gone = OUTPUT_PIECE.unpack_from(data, at)
        at += OUTPUT_PIECE.size
        if len(data) - at < nbytes:
            raise ValueError("the library sent output that is cut short")
        text = data[at : at + nbytes]
        at += nbytes
        if kind == VF_OUTPUT_OF_CALL:
            printed[number] = gone, text
        elif kind == VF_OUTPUT_FILE:
            name = text.decode("utf-8", "replace")
        elif kind == VF_OUTPUT_OF_SLOT:
            written.append((name, gone, text))
        else:
            raise ValueError(f"the library sent output of the unknown kind {kind}")
    return printed, written


cdef object exception_of(const vf_record *record):
    """What a call raised on its worker."""
    return rebuild_exception(fields_of(record, RAISED))


def rebuild_exception(tuple failure):
    """Give the exception that a call raised, or a `RemoteError` that tells of it.

    The latter for what cannot be rebuilt, and for what ends programs or their threads where it is raised: `SystemExit`,
    `KeyboardInterrupt` and all else that is no `Exception`.

    Parameters
    ----------
    failure : tuple
        Name of its type, message, text of the traceback, the exception by `parsl.serialize` or None, and how many bytes
        of memory its process had at the most.
    """
    type_name, message, traceback_text, wrapped, _ = failure
    cause = None
    if wrapped is not None:
        try:
            cause = parsl_serialize.deserialize(wrapped).get_exception()
            repr(cause)  # Parsl does that while it finishes its own future, and has nothing to do instead
            if isinstance(cause, Exception):
                return cause
        except BaseException as error:
            cause = error
    remote = errors.RemoteError(type_name, message, traceback_text)
    remote.__cause__ = cause if isinstance(cause, BaseException) else None
    return remote


cdef object death_of(Call future, tuple death):
    """Why the process of a call died."""
    exit_code, signal_number, log_tail, memory = death
    if memory is None:
        return errors.CallDied(exit_code, signal_number, log_tail)
    limit, peak = memory
    app = future.c_call.function.name.decode("utf-8", "replace")
    if limit:
        return errors.MemoryLimitExceeded(app, limit >> 20, peak >> 20, log_tail)
    return errors.OutOfMemory(app, peak >> 20, log_tail)


cdef object failure_of(const vf_bundle *bundle):
    """Why the engine failed a bundle."""
    detail = "" if bundle.frame == NULL else bundle.frame.decode("utf-8", "replace")
    return errors.task_failure(bundle.engine_result, detail)


cdef FrameMemory keep_frame(vf_bundle *bundle, FrameMemory memory):
    """Give the frame of a bundle to Python, once; `memory` is what this gave before for that bundle."""
    if memory is None:
        memory = FrameMemory.__new__(FrameMemory)
        memory.data, memory.nbytes = bundle.frame, bundle.frame_nbytes
        bundle.frame = NULL
    return memory


cdef int finish_cancelled(Call future) except -1:
    """Nobody waits for the call any more, and so nobody gets what came of it."""
    cdef CallFiles files = future.files
    exception = CancelledError()
    if files is not None:
        future.files = None
        try:
            files.discard()
        except Exception:
            log_exception(logger, "exception removing what came of %r", future)
        files.end(None, exception)
    return complete(future, None, exception)


cdef int drop(Call future) except -1:
    """No more will come of a call: put files of it in their places, or remove them if it was cancelled."""
    if vf_call_is_cancelled(&future.c_call):
        return finish_cancelled(future)
    deliver(future)
    return 0


cdef object deliver(Call future):
    """Put the files of a call in their place; gives the error if that is impossible."""
    if future.files is None:
        return None
    try:
        future.files.deliver()
    except Exception as error:
        return error
    finally:
        future.files = None
    return None


cdef tuple limit_of(const vf_call *call, const vf_record *record):
    """The function of a call in the books and its limit in seconds, if the record may say that its time was over."""
    if record.status == VF_STATUS_TIMED_OUT or (record.status == VF_STATUS_EXCEPTION and call.spec.limit_ms):
        return (<Call>call.future).function.name, call.spec.limit_ms * 1e-3
    return None


cdef object timeout_of(tuple limit, double limit_s, str stack):
    return errors.CallTimedOut((<bytes>limit[0]).decode("utf-8", "replace"), limit_s, stack)


cdef int finish(
    Call future, tuple limit, const vf_bundle *bundle, const vf_record *record, FrameMemory memory
) except -1:
    """Finish the future of one call by its record; `memory` is given if arrays may stay where they are."""
    cdef object result = None
    cdef object exception = None
    future.duration_ns = record.duration_ns
    if vf_call_is_cancelled(&future.c_call):
        return finish_cancelled(future)
    cdef CallFiles files = future.files
    cdef object undelivered = None
    try:
        undelivered = deliver(future)
        if record.status == VF_STATUS_NONE:
            pass
        elif record.status == VF_STATUS_PICKLE:
            result = pickle_loads(payload_of(record))
        elif record.status == VF_STATUS_BUFFERS:
            result = unpack_buffers(record, memory)
        elif record.status == VF_STATUS_PARSL:
            result = parsl_serialize.deserialize(PyBytes_FromStringAndSize(record.payload, record.nbytes))
        elif record.status == VF_STATUS_EXCEPTION:
            exception = exception_of(record)
            if limit is not None and type(exception) is AppTimeout:
                # Parsl's own walltime, which strikes Python code at the same moment, and says nothing.
                failure = fields_of(record, RAISED)
                exception = timeout_of(limit, limit[1], failure[2])
        elif record.status == VF_STATUS_DIED:
            exception = death_of(future, fields_of(record, DIED))
        elif record.status == VF_STATUS_TOO_LARGE:
            exception = errors.ResultTooLarge(*fields_of(record, TOO_LARGE))
        elif record.status == VF_STATUS_INPUT_CHANGED:
            exception = errors.InputChanged(*fields_of(record, CHANGED))
        elif record.status == VF_STATUS_TIMED_OUT:
            failure = fields_of(record, TIMED_OUT)
            exception = timeout_of(limit, failure[0], failure[1])
        else:
            exception = failure_of(bundle)
        if files is not None and exception is None:
            result = files.result(result)
    except BaseException as error:
        number, text = future.parsl_executor_task_id, errors.described(error)
        exception = DeserializationError(f"the result of call {number} cannot be rebuilt here: {text}")
        exception.__cause__ = error
    if exception is None and undelivered is not None:
        result, exception = None, undelivered
    if files is not None:
        files.end(result, exception)
    return complete(future, result, exception)


cdef int finish_surely(
    Call future, tuple limit, const vf_bundle *bundle, const vf_record *record, FrameMemory memory
) except -1:
    """As `finish`, but the future is done even if that is interrupted."""
    try:
        return finish(future, limit, bundle, record, memory)
    except BaseException as error:
        complete(future, None, errors.EngineFailure(errors.described(error)))
        raise
