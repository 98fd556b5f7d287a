# The way back of a call: from a record of a result frame to a finished future.

from vinefast import errors

cdef Py_ssize_t COPY_NBYTES = 4096  # up to here a bytes object is cheaper than a memory view


cdef inline object payload_of(const vf_record *record):
    if record.nbytes <= COPY_NBYTES:
        return PyBytes_FromStringAndSize(record.payload, record.nbytes)
    return PyMemoryView_FromMemory(<char *>record.payload, record.nbytes, 0x100)  # PyBUF_READ


cdef object exception_of(const vf_record *record):
    """What a call raised on its worker."""
    return rebuild_exception(pickle_loads(payload_of(record)))


def rebuild_exception(tuple failure):
    """Give the exception that a call raised, or a `RemoteError` that tells of it.

    Parameters
    ----------
    failure : tuple
        Name of its type, message, text of the traceback, and the exception by `parsl.serialize` or None.
    """
    type_name, message, traceback_text, wrapped = failure
    if wrapped is not None:
        try:
            exception = parsl_serialize.deserialize(wrapped).get_exception()
            if isinstance(exception, BaseException):
                return exception
        except Exception as error:
            remote = errors.RemoteError(type_name, message, traceback_text)
            remote.__cause__ = error
            return remote
    return errors.RemoteError(type_name, message, traceback_text)


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


cdef int finish(Call future, const vf_bundle *bundle, const vf_record *record, FrameMemory memory) except -1:
    """Finish the future of one call by its record; `memory` is given if arrays may stay where they are."""
    cdef object result = None
    cdef object exception = None
    future.duration_ns = record.duration_ns
    cdef CallFiles files = future.files
    undelivered = deliver(future)
    try:
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
        elif record.status == VF_STATUS_DIED:
            exception = errors.CallDied(*pickle_loads(payload_of(record)))
        elif record.status == VF_STATUS_TOO_LARGE:
            exception = errors.ResultTooLarge(*pickle_loads(payload_of(record)))
        elif record.status == VF_STATUS_CHANGED:
            exception = errors.InputChanged(*pickle_loads(payload_of(record)))
        else:
            exception = failure_of(bundle)
        if files is not None and exception is None:
            result = files.result(result)
    except BaseException as error:
        number = future.parsl_executor_task_id
        exception = DeserializationError(f"the result of call {number} cannot be rebuilt here: {error!r}")
        exception.__cause__ = error
    if exception is None and undelivered is not None:
        result, exception = None, undelivered
    return complete(future, result, exception)
