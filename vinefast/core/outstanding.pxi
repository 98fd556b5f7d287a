# The books of an engine: all calls that have been submitted and are not done.

cdef inline int64_t extra_cores(const vf_spec *spec) noexcept nogil:
    """What a call asks for beyond one core."""
    return <int64_t>ceil(spec.needs.cores) - 1 if spec.needs.cores > 1 else 0


@cython.final
cdef class Outstanding:
    """The outstanding calls of an engine, on one list. Each is a reference to its future.

    Whoever holds the GIL may use it. The manager thread looks at the calls, but never at the list.
    """

    cdef vf_call *newest  # all others by `older`
    cdef uint64_t n_submitted, n_finished
    cdef uint64_t n_withdrawn  # of those on the list: cancelled before a worker had them
    cdef int64_t n_extra_cores  # of the others
    cdef SpecRegistry specs
    cdef SpecRecord default_spec

    def __cinit__(self):
        self.specs = SpecRegistry()
        self.default_spec = self.specs.find(CallSpec())
        self.default_spec.n_calls = 1  # and so it stays

    cdef void add(self, Call future) noexcept:
        """Take a call into the books. Plain C: nobody sees this half done."""
        cdef vf_call *call = &future.c_call
        future.parsl_executor_task_id = call.number = self.n_submitted
        self.n_submitted += 1
        if call.spec != &self.default_spec.c_spec:
            self.n_extra_cores += extra_cores(call.spec)
        call.future = <void *>future
        future.is_listed = True
        Py_INCREF(future)
        call.older = self.newest
        if self.newest != NULL:
            self.newest.newer = call
        self.newest = call

    cdef void withdraw(self, Call future) noexcept:
        """A call that waits is cancelled: it stays in the books until the manager thread comes to it. Plain C."""
        if not future.is_listed:
            return
        future.is_withdrawn = True
        self.n_withdrawn += 1
        if future.c_call.spec != &self.default_spec.c_spec:
            self.n_extra_cores -= extra_cores(future.c_call.spec)

    cdef Call remove(self, vf_call *call):
        """Take a call out of the books; returns its future. Plain C up to where that forgets what it held."""
        cdef Call future = <Call>call.future
        if call.newer != NULL:
            call.newer.older = call.older
        else:
            self.newest = call.older
        if call.older != NULL:
            call.older.newer = call.newer
        self.n_finished += 1
        if call.spec.captures and future.printed is None:
            future.printed = NOTHING_PRINTED
        future.is_listed = False
        if future.is_withdrawn:
            self.n_withdrawn -= 1
        elif call.spec != &self.default_spec.c_spec:
            self.n_extra_cores -= extra_cores(call.spec)
        future.payload = None
        future.function = None
        self.specs.release(future.spec)
        future.spec = None
        Py_DECREF(future)
        return future

    cdef object n_listed(self):
        """The number of calls that are in the books, cancelled ones, too."""
        return self.n_submitted - self.n_finished

    cdef object n_calls(self):
        return self.n_submitted - self.n_finished - self.n_withdrawn

    cdef object n_cores(self):
        """The number of calls, each counted once per core that it asks for."""
        return self.n_submitted - self.n_finished - self.n_withdrawn + self.n_extra_cores

    cdef list futures(self, set specs):
        """The futures in the order in which they were submitted; only those of these specifications, unless None.

        The specifications are given by their addresses.
        """
        cdef list futures = []
        # Nothing within this loop lets another thread run, or starts a garbage collection, which might.
        cdef vf_call *call = self.newest
        while call != NULL:
            if specs is None or <size_t>(<void *>(<Call>call.future).spec.spec) in specs:
                futures.append(<Call>call.future)
            call = call.older
        futures.reverse()
        return futures

    cdef Call pending(self):
        """One that is not done; None if there is none."""
        cdef vf_call *call = self.newest
        while call != NULL:
            if (<Call>call.future).state is PENDING:
                return <Call>call.future
            call = call.older
        return None
