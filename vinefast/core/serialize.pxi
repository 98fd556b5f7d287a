# Arguments to bytes.
#
# Plain pickle is ten times as fast as dill, which Parsl uses by default, and does for nearly all arguments. What
# pickle would send by reference to the program's own __main__ module does not exist on a worker, so that, and
# whatever pickle refuses, goes through cloudpickle (vinefast/library/by_value.py), and what that refuses through
# parsl.serialize, as does everything once the user has registered a serialization method.

cdef extern from "string.h" nogil:
    void *memmem(const void *haystack, size_t haystacklen, const void *needle, size_t needlelen)

cdef object pickle_dumps = pickle.dumps
cdef object pickle_loads = pickle.loads
cdef dict methods_for_data = parsl_serialize.methods_for_data
cdef object DEFAULT_METHOD_NAME = DillSerializer.identifier
cdef size_t MAX_NBYTES = 0xFFFFFFFF
cdef int PICKLE_PROTOCOL = 5


cdef inline bint user_has_methods():
    return len(methods_for_data) != 1 or type(methods_for_data.get(DEFAULT_METHOD_NAME)) is not DillSerializer


cdef inline bint names_main(bytes payload):
    return memmem(PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload), b"__main__", 8) != NULL


cdef bytes serialize_arguments(object func, tuple args, dict kwargs, int *kind):
    """Serialize a call's arguments; `kind` tells how (VF_PAYLOAD_*)."""
    cdef bytes payload
    cdef BufferCollector collector
    if not args and not kwargs:
        kind[0] = VF_PAYLOAD_NONE
        return b""
    if not user_has_methods():
        try:
            if may_have_buffers(args, kwargs):
                collector = BufferCollector()
                payload = pickle_dumps((args, kwargs), PICKLE_PROTOCOL, buffer_callback=collector)
                if collector.n and not names_main(payload):
                    kind[0] = VF_PAYLOAD_BUFFERS
                    return checked_size(func, collector.payload(payload))
            else:
                payload = pickle_dumps((args, kwargs), PICKLE_PROTOCOL)
            if not names_main(payload):
                kind[0] = VF_PAYLOAD_PICKLE
                return checked_size(func, payload)
        except Exception:
            pass
        try:
            payload = by_value.serialize((args, kwargs))
            kind[0] = VF_PAYLOAD_PARSL
            return checked_size(func, payload)
        except Exception:
            pass  # dill may know better
    try:
        payload = parsl_serialize.serialize((args, kwargs), buffer_threshold=MAX_NBYTES)
    except Exception as error:
        raise SerializationError(unserializable.described(
            name_of(func), error, arguments_of(args, kwargs), parsl_side.serialize
        )) from error
    kind[0] = VF_PAYLOAD_PARSL
    return checked_size(func, payload)


cdef list arguments_of(tuple args, dict kwargs):
    """Give the arguments of a call, each with words for it."""
    cdef list found = [(f"its argument {i}", value) for i, value in enumerate(args)]
    return found + [(f"its argument {name!r}", value) for name, value in kwargs.items()]


cdef bytes checked_size(object func, bytes payload):
    if <size_t>PyBytes_GET_SIZE(payload) > MAX_NBYTES:
        error = ValueError(f"{len(payload)} bytes are more than the {MAX_NBYTES} of a call: pass large data as a file")
        raise SerializationError(f"{name_of(func)} ({error})") from error
    return payload
