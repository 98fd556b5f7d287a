# Which call's arguments a thread serializes: what TaskVine is to bring, or to leave on workers, says so while it is
# pickled. Calls without any pay next to nothing for that, and nobody searches their arguments.

cdef struct Arguments:
    PyObject *func
    PyObject *args
    PyObject *kwargs
    PyObject *make_plan  # a weak reference to it, or None
    bint chunk
    PyObject *plan   # of the call's files, ours to drop; NULL: nobody has asked for it
    PyObject *error  # why there can be none, ours to drop
    Arguments *outer  # of a call while whose arguments are serialized this one is made, to bring a value from elsewhere

cdef extern from *:
    """
    static _Thread_local void *vf_arguments;
    """
    void *vf_arguments


def plan_of_call():
    """Give the `vinefast.data.plan.CallPlan` of the call whose arguments this thread serializes; None if none.

    Raises
    ------
    Exception
        As `vinefast.data.plan.CallPlan.find`, of which the call's submit is told as well.
    """
    cdef Arguments *here = <Arguments *>vf_arguments
    if here == NULL or <object>here.make_plan is None:
        return None
    if here.plan == NULL:
        try:
            plan = (<object>here.make_plan)()(
                <object>here.func, <object>here.args, <object>here.kwargs, here.chunk
            )
        except Exception as error:
            if here.error == NULL:
                Py_INCREF(error)
                here.error = <PyObject *>error
            raise
        Py_INCREF(plan)
        here.plan = <PyObject *>plan
    return <object>here.plan


cdef bytes serialize_call(Arguments *here, bint keeps, int *kind):
    """Serialize a call's arguments and find its files; `keeps` tells that its result is one, `kind` as VF_PAYLOAD_*."""
    global vf_arguments
    cdef bytes payload = None
    here.outer = <Arguments *>vf_arguments
    vf_arguments = here
    try:
        if keeps and not here.chunk:
            plan_of_call()
        payload = serialize_arguments(<object>here.func, <tuple>here.args, <dict>here.kwargs, kind)
    except Exception:
        if error_of(here) is None:
            raise
    finally:
        vf_arguments = here.outer
    error = error_of(here)
    if error is not None:  # and not what the serializers made of it
        raise error from None
    return payload


cdef object error_of(Arguments *here):
    if here.error != NULL:
        return <object>here.error
    return None if here.plan == NULL else (<object>here.plan).error
