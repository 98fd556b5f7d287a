# From a function and its arguments to a call in the submit ring.

cdef Call make_call(Arguments *here, FunctionRecord function, SpecRecord spec):
    """Serialize a call. This may run any code of the user's; nobody else knows of the call yet."""
    cdef int kind = VF_PAYLOAD_NONE
    cdef CallFiles files = None
    cdef bytes payload = serialize_call(here, function.keeps, &kind)
    if here.plan != NULL:
        files = (<object>here.plan).files()
        if files is not None:
            payload = checked_size(<object>here.func, files.after(payload))
            kind |= VF_PAYLOAD_FILES
    cdef Call future = new_call()
    future.payload = payload
    future.function = function
    future.spec = spec
    future.files = files
    cdef vf_call *call = &future.c_call
    call.function = &function.c_function
    call.spec = &spec.c_spec
    call.payload = PyBytes_AS_STRING(payload)
    call.nbytes = <uint32_t>PyBytes_GET_SIZE(payload)
    call.kind = kind | VF_PAYLOAD_CHUNK if here.chunk else kind
    if files is not None:
        call.files = files.c_files
        if files.made():
            Again(future, files)
    return future


cdef class Submitter:
    """Makes calls, and hands them to the manager thread. All methods may be called from any thread.

    Parameters
    ----------
    loop : Loop
    calls : Outstanding
    context : vinefast.library.context.Context, optional
        For all functions that ask for one and have none of their own.
    refusal : Exception
        Of calls, as long as the manager does not listen.
    """

    cdef public object make_plan
    """A weak reference to what makes a plan: ``make_plan(func, args, kwargs, chunk)``."""

    cdef public bint cancel_running
    """Whether `Future.cancel` cancels calls that workers have, too."""

    cdef Loop loop
    cdef Outstanding calls
    cdef FunctionRegistry functions, chunk_functions
    cdef object refusal  # None: calls are taken
    cdef uint64_t serialize_ns
    cdef uint64_t n_failed, n_cancelled  # of its calls
    cdef int pid

    def __cinit__(self, Loop loop, Outstanding calls, context, refusal):
        self.loop = loop
        self.calls = calls
        self.functions = FunctionRegistry(context)
        # By themselves, since a chunk takes another time than a call.
        self.chunk_functions = FunctionRegistry(context)
        self.refusal = refusal
        self.pid = getpid()

    def submit(self, func, tuple args, dict kwargs, spec=None, bint chunk=False, plan=None):
        """Serialize one call and hand it to the manager thread.

        Parameters
        ----------
        func : callable
        args : tuple
        kwargs : dict
        spec : vinefast.settings.resources.CallSpec, optional
            The call's resource specification.
        chunk : bool
            Call the function once for each row of the columns that `args` then are. The result is a list of results;
            if a row raised, a tuple of the list so far and what `rebuild_exception` takes, pickled.
        plan : vinefast.data.plan.CallPlan, optional
            Of the files that TaskVine is to move. If not given, `make_plan` makes it once such a file is found, which
            happens while the arguments are pickled.

        Returns
        -------
        CallFuture

        Raises
        ------
        parsl.serialize.errors.SerializationError
            If the function or its arguments cannot be serialized.
        errors.EngineStopped
        """
        cdef Arguments here
        here.func, here.args, here.kwargs = <PyObject *>func, <PyObject *>args, <PyObject *>kwargs
        here.make_plan, here.chunk = <PyObject *>self.make_plan, chunk
        here.plan = here.error = NULL
        cdef SpecRecord spec_record = self.calls.default_spec if spec is None else self.calls.specs.find(spec)
        spec_record.n_calls += 1  # before anything else runs, which may end its last other call
        if plan is not None:
            Py_INCREF(plan)
            here.plan = <PyObject *>plan
        try:
            return self._submit(&here, spec_record)
        except BaseException:
            self.calls.specs.release(spec_record)
            if here.plan != NULL:
                (<object>here.plan).withdraw()
            raise
        finally:
            Py_XDECREF(here.plan)
            Py_XDECREF(here.error)

    cdef Call _submit(self, Arguments *here, SpecRecord spec):
        if self.refusal is not None or self.loop.is_elsewhere():
            raise self.why_refused()
        cdef uint64_t start_ns = vf_now_ns()
        cdef FunctionRegistry functions = self.chunk_functions if here.chunk else self.functions
        cdef Call future = make_call(here, functions.find(<object>here.func), spec)
        # All this may have run any code, on any thread, shutdown included. From here to the ring nothing does.
        if self.refusal is not None:
            raise self.why_refused()
        self.calls.add(future)
        future.submitter = <void *>self
        future.c_call.submitted_ns = vf_now_ns()
        vf_loop_submit(self.loop.c_loop, &future.c_call)
        self.serialize_ns += future.c_call.submitted_ns - start_ns
        return future

    cdef int close(self, refusal) except -1:
        """Take no more calls, for this reason, unless there is one already."""
        if self.refusal is None:
            self.refusal = refusal
        return 0

    cdef object why_refused(self):
        if self.loop.is_elsewhere():
            return errors.EngineStopped(
                f"the executor works in the process that started it (pid {self.pid}), from which this one "
                f"(pid {getpid()}) was forked: submit calls and wait for them there, or start another executor here"
            )
        return errors.anew(self.refusal)

    cdef int check_wait(self, future) except -1:
        """Refuse to wait for one of these calls where nobody would finish it."""
        if self.loop.is_elsewhere():
            raise self.why_refused()
        cdef Finisher here = getattr(this_thread, "finisher", None)
        if here is not None and here.calls is self.calls:
            raise errors.WaitInCallback()
        for other in getattr(this_thread, "failing", None) or ():
            if other is future:
                raise errors.WaitInCallback()
        return 0

    cdef object n_functions(self):
        """How many functions have been serialized."""
        return self.functions.n_serialized + self.chunk_functions.n_serialized
