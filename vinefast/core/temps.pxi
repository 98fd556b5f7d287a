# Temporary files as C sees them (csrc/vf_temp.h), and the calls that make lost ones again; vinefast/data/temps.py is
# what users see of them.


cdef class Temp:
    """One temporary file: the record that the manager thread works with.

    It lives as long as the manager thread may look at it: while somebody may ask for the file (`TempHandle`), and while
    a call that may have to run again reads it.
    """

    cdef vf_temp c_temp
    cdef bytes name
    cdef Again maker

    def __cinit__(self, str name):
        self.name = name.encode("utf-8", "replace")
        self.c_temp.name = PyBytes_AS_STRING(self.name)
        self.c_temp.object = <void *>self

    def __dealloc__(self):
        vf_temp_free(&self.c_temp)

    @property
    def has_maker(self):
        """Whether a call has been submitted that makes it."""
        return self.maker is not None

    @property
    def is_spoiled(self):
        """Whether the call that was to make it has failed or was cancelled."""
        return self.maker is not None and self.maker.has_failed()


cdef class TempHandle:
    """The right to ask for a temporary file: with the last reference to this it leaves the workers."""

    cdef readonly Temp temp
    cdef Engine engine

    def __cinit__(self, Engine engine, str name):
        self.engine = engine
        self.temp = Temp(name)
        engine.loop.temps.add(self.temp)

    def __del__(self):
        self.engine.loop.let_go(self.temp)

    def belongs_to(self, engine):
        """Whether the file lies on the workers of this engine."""
        return self.engine is engine

    def result_of(self, future, timeout):
        """Give the result of a call that brings something back from the workers of this engine.

        On the thread that finishes an engine's futures, where callbacks run, that goes on with those of such calls.
        """
        global vf_arguments
        cdef Finisher here = getattr(this_thread, "finisher", None)
        if here is None:
            return future.result(timeout)
        deadline = None if timeout is None else time.monotonic() + timeout
        cdef void *arguments = vf_arguments
        vf_arguments = NULL  # what is unpickled meanwhile is no part of a call that is being made
        try:
            here.wait_for(future, deadline)
        finally:
            vf_arguments = arguments
        if here is self.engine.finisher and not future.done() and vf_done_is_closed(&here.loop.c_loop.done):
            raise errors.EngineStopped()
        return future.result(None if deadline is None else max(0.0, deadline - time.monotonic()))


cdef class Again:
    """A call that makes temporary files, kept to make them again. Nobody waits for it then."""

    cdef vf_call c_call
    cdef Call first  # while it is outstanding
    cdef bint failed
    cdef bytes payload
    cdef FunctionRecord function
    cdef SpecRecord spec
    cdef CallFiles files

    def __cinit__(self, Call future, CallFiles files):
        self.payload = future.payload
        self.function = future.function
        self.spec = future.spec
        # Without what the caller's own files hold: its inputs may leave the workers, and are made again in their turn.
        self.files = CallFiles(files.moves, files.trailer)
        self.c_call.function = future.c_call.function
        self.c_call.spec = future.c_call.spec
        self.c_call.payload = future.c_call.payload
        self.c_call.nbytes = future.c_call.nbytes
        self.c_call.kind = future.c_call.kind
        self.c_call.files = self.files.c_files
        self.c_call.again = &self.c_call
        future.c_call.again = &self.c_call
        self.first = future
        for made in files.made():
            (<Temp>made).maker = self

    cdef bint has_failed(self):
        # One that is cancelled, or refused, may stay with the manager thread for long.
        if self.failed or self.first is None:
            return self.failed
        return self.first.cancelled() or self.first.exception_ is not None

    cdef int end(self, bint failed) except -1:
        """Its first time is over."""
        self.failed = failed or self.has_failed()
        self.first = None
        return 0
