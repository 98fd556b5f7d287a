# Calls that coroutines wait for, and calls that several wait for at once.
#
# asyncio.wrap_future wakes the event loop for each future that is done, which is a write to a socket on the thread that
# finishes futures. Here a loop is woken once for all that are done until it has a turn.

cdef tuple UNDONE = (PENDING, RUNNING)
# One mailbox per event loop, as long as there is that loop.
cdef object mailboxes = weakref.WeakKeyDictionary()


@cython.final
cdef class Mailbox:
    """What is to be woken in one event loop. Any thread posts; the loop takes all at once, by calling this."""

    cdef list wakers
    cdef bint is_called  # the loop will call this, and has not begun to

    def __cinit__(self):
        self.wakers = []

    cdef int post(self, waker) except -1:
        # Between the append and the test nothing lets another thread run: the loop cannot have missed this one.
        self.wakers.append(waker)
        if self.is_called:
            return 0
        self.is_called = True
        try:
            waker.get_loop().call_soon_threadsafe(self)
        except RuntimeError:  # the loop is closed
            self.is_called = False
            self.wakers = []
        except BaseException:
            self.is_called = False
            raise
        return 0

    def __call__(self):
        cdef list rest = []
        # From here to the exchange nothing lets another thread run.
        self.is_called = False
        cdef list wakers = self.wakers
        self.wakers = rest
        for waker in wakers:
            if not waker.done():
                waker.set_result(None)


@cython.final
cdef class Wakeup:
    """The callback of a call for which a coroutine waits."""

    cdef Mailbox mailbox
    cdef object waker

    def __call__(self, future):
        self.mailbox.post(self.waker)


cdef Mailbox mailbox_of(loop):
    mailbox = mailboxes.get(loop)
    # Another thread cannot have the same loop.
    if mailbox is None:
        mailboxes[loop] = mailbox = Mailbox()
    return mailbox


cdef Wakeup wake_when_done(Call future):
    """Have the running event loop woken: `waker` of what this gives is done once the call is."""
    check_wait(future, None)
    cdef Wakeup wakeup = Wakeup()
    loop = get_running_loop()
    wakeup.waker = loop.create_future()
    wakeup.mailbox = mailbox_of(loop)
    future.add_done_callback(wakeup)
    return wakeup


def awaiting(Call future):
    """What `await future` runs, in the event loop of any thread.

    If the task that waits is cancelled, so is the call, as with `asyncio.wrap_future`; and if the call is cancelled,
    so is the task.
    """
    cdef Wakeup wakeup
    if not future.done():
        wakeup = wake_when_done(future)
        try:
            yield from wakeup.waker
        except BaseException as error:
            # Also of a call that is to go on, which may be waited for again and again.
            forget_callback(future, wakeup)
            if isinstance(error, AwaitCancelled):
                future.cancel()
            raise
    if future.state is not FINISHED:
        raise AwaitCancelled()
    return future.result()


async def done_within(Call future, timeout):
    """Wait in a coroutine until a call is done, however it ends.

    Parameters
    ----------
    future : CallFuture
    timeout : float
        Seconds.

    Raises
    ------
    asyncio.TimeoutError
        The call goes on.
    """
    cdef Wakeup wakeup
    if future.done():
        return
    wakeup = wake_when_done(future)
    try:
        await wait_for(wakeup.waker, timeout)
    finally:
        forget_callback(future, wakeup)


cdef int forget_callback(Call future, callback) except -1:
    """Take a callback away from a call that is not done; of one that is, it has been called or will be."""
    cdef Py_ssize_t i
    cdef list callbacks
    # While a future is pending nobody goes through the list. What is deleted is held by the caller, so that nothing in
    # here lets another thread run.
    if future.condition is None:
        callbacks = future.callbacks
        if future.state is PENDING and callbacks is not None:
            for i in range(len(callbacks)):
                if callbacks[i] is callback:
                    del callbacks[i]
                    break
        return 0
    with future.condition:
        callbacks = future.callbacks
        if not future.done() and callbacks is not None:
            future.callbacks = [other for other in callbacks if other is not callback]
    return 0


def subscribe(futures, callback, timeout=None):
    """Call `callback(future)` for each future when it is done, at once for those that are.

    A call's future gets no lock by that, which `concurrent.futures.wait` and `as_completed` would have it make.

    Parameters
    ----------
    futures : iterable of concurrent.futures.Future
        Of calls, or of whatever else.
    callback : callable
        Must neither wait nor raise.
    timeout : float, optional
        Seconds that one will wait for it.

    Raises
    ------
    vinefast.errors.WaitInCallback, vinefast.errors.EngineStopped
        As `result` of a call's future. Some futures may have the callback then.
    """
    for future in futures:
        if isinstance(future, Call):
            check_wait(<Call>future, timeout)
        future.add_done_callback(callback)


def unsubscribe(futures, callback):
    """Take the callback of `subscribe` away from those that are not done."""
    for future in futures:
        if isinstance(future, Call):
            forget_callback(<Call>future, callback)
            continue
        with future._condition:
            # What is done has called them all, or goes through this very list.
            if future._state in UNDONE:
                future._done_callbacks = [other for other in future._done_callbacks if other is not callback]
