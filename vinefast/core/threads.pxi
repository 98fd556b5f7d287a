# Which process and which thread this is: futures are finished on threads of the process that has started them.

cdef extern from "<pthread.h>" nogil:
    int pthread_atfork(void (*prepare)() noexcept nogil, void (*parent)() noexcept nogil,
                       void (*child)() noexcept nogil)

# How often this process is a fork of another: threads of an engine are in the process that started them alone.
cdef int n_forks = 0


cdef void note_fork() noexcept nogil:
    global n_forks
    n_forks += 1


pthread_atfork(NULL, NULL, note_fork)

# Its `finisher`, on a demux thread, is what that runs; `failing` are futures that it is to fail.
cdef object this_thread = threading.local()


def _begin_in_child():
    global this_thread
    this_thread = threading.local()  # a callback may have forked


os.register_at_fork(after_in_child=_begin_in_child)


def finishes_futures():
    """Whether this thread is finishing futures of calls, so that what asks may be one of their callbacks."""
    return hasattr(this_thread, "finisher") or getattr(this_thread, "failing", None) is not None


@contextmanager
def failing(list futures):
    """Fail these on whatever thread. It may be one that a shutdown waits for, so their callbacks must not do that."""
    before = getattr(this_thread, "failing", None)
    this_thread.failing = futures
    try:
        yield
    finally:
        this_thread.failing = before
