# Stages of a call's way, opened to another extension by _core.pxd. Nothing here uses this.

cdef object find_function(object registry, object func):
    return (<FunctionRegistry?>registry).find(func)


cdef vf_function *function_of(object record) except NULL:
    return &(<FunctionRecord?>record).c_function


cdef int finish_by_record(object future, const vf_bundle *bundle, const vf_record *record) except -1:
    """The frame stays the caller's."""
    return finish(<Call?>future, (b"", 0.0), bundle, record, None)
