# Functions, serialized once and named by a digest of their bytes ever after.

# Parsl wraps an app anew for each call, to monitor it or to bound its time. The wrappers of one app differ in identity
# alone: they are the same code around the same things.
cdef tuple PARSL_WRAPPERS = (("parsl.monitoring.remote", "monitor_wrapper"), ("parsl.app.python", "timeout"))
# Walltimes may be many; an entry keeps its wrapper alive.
cdef Py_ssize_t MAX_WRAPPERS = 512


cdef set codes_within(str module, str factory):
    """The code of the functions that a function of Parsl's makes; none if it is not what it was."""
    code = getattr(getattr(importlib.import_module(module), factory, None), "__code__", None)
    return {constant for constant in getattr(code, "co_consts", ()) if isinstance(constant, types.CodeType)}


cdef set WRAPPER_CODES = set().union(*(codes_within(module, factory) for module, factory in PARSL_WRAPPERS))


cdef object wrapper_key(object func):
    """What all wrappers of Parsl's that do the same have in common; None for any other function.

    Valid as long as one of them is alive.
    """
    if type(func) is not types.FunctionType or func.__code__ not in WRAPPER_CODES:
        return None
    return func.__code__, *(content_key(cell.cell_contents) for cell in func.__closure__ or ())


cdef object content_key(object content):
    kind = type(content)
    if kind is float or kind is int or kind is str:
        return kind, content
    return wrapper_key(content) or id(content)


cdef class FunctionRecord:
    """One distinct function: its serialized body, and the C record that the manager thread learns into.

    `options` is what it was marked with (`vinefast.calls.apps.AppOptions`).

    Lives as long as the registry knows it or a call of it is outstanding; each call holds a reference.
    """

    cdef vf_function c_function
    cdef bytes body, name
    cdef readonly object options
    cdef bint keeps
    cdef object __weakref__

    def __cinit__(self, bytes body, bytes digest, str name, options):
        self.body = body
        self.options = options
        self.keeps = options.keep
        self.name = name.encode("utf-8", "replace")
        self.c_function.name = PyBytes_AS_STRING(self.name)
        self.c_function.body = PyBytes_AS_STRING(body)
        self.c_function.body_nbytes = <uint32_t>PyBytes_GET_SIZE(body)
        self.c_function.mean_ns = -1
        self.c_function.limit = 1
        memcpy(self.c_function.digest, PyBytes_AS_STRING(digest), VF_DIGEST_NBYTES)


cpdef bint unchanged(tuple uses) except -1:
    """Whether each global that a function uses is still the same object; a change within an object is not seen.

    Looked at for each call, hence here.

    Parameters
    ----------
    uses : tuple of vinefast.calls.main_module.Use
    """
    cdef tuple use
    cdef PyObject *now
    cdef object each, before
    for each in uses:
        use = <tuple>each  # of a class of its own
        now = PyDict_GetItem(<dict>use[0], use[1])
        before = use[2]() if use[3] is True else use[2]
        if (now if now != NULL else <PyObject *>MISSING) != <PyObject *>before:
            return False
    return True


cdef inline bint holds(tuple entry) except -1:
    """Whether the globals that a function uses are still the same."""
    return entry[1] is None or unchanged(<tuple>entry[1])


cdef class FunctionRegistry:
    """From a function object to its record. Like Parsl's own cache, it takes a callable for immutable.

    But a function of the program's `__main__` is serialized again once a global that it uses is another object.

    Parameters
    ----------
    context : vinefast.library.context.Context, optional
        For all functions that ask for one and have none of their own.
    """

    cdef dict by_id           # id(func): (record, globals that it uses or None, weak reference to func)
    cdef dict by_wrapper_key  # (record, globals, func)
    cdef object by_digest     # (digest, whether results are kept): record, as long as anybody else holds it
    cdef object context
    cdef PyObject *newest_func  # found last, since the next one is mostly the same; not ours
    cdef tuple newest           # its entry in `by_id`
    cdef uint64_t n_serialized

    def __cinit__(self, context=None):
        self.context = context
        self.by_id = {}
        self.by_wrapper_key = {}
        self.by_digest = weakref.WeakValueDictionary()

    cdef FunctionRecord find(self, object func):
        # While an entry is looked at, a finalizer, or a comparison of the program's, may run, and come here.
        cdef tuple found = self.newest
        if <PyObject *>func == self.newest_func and holds(found):
            return <FunctionRecord>found[0]
        # The entry goes when the function goes, so an id is never taken for that of a later object.
        cdef object key = <size_t><PyObject *>func
        cdef PyObject *entry = PyDict_GetItem(self.by_id, key)
        if entry != NULL:
            found = <tuple>entry
            if holds(found):
                self.set_newest(<PyObject *>func, found)
                return <FunctionRecord>found[0]
        cdef object shared_key = wrapper_key(func)
        if shared_key is None:
            return self.add(func, key)
        entry = PyDict_GetItem(self.by_wrapper_key, shared_key)
        if entry != NULL:
            found = <tuple>entry
            if holds(found):
                return <FunctionRecord>found[0]
        record, uses = self.serialize(func)
        if len(self.by_wrapper_key) >= MAX_WRAPPERS:
            del self.by_wrapper_key[next(iter(self.by_wrapper_key))]
        self.by_wrapper_key[shared_key] = (record, uses, func)
        return record

    cdef int set_newest(self, PyObject *func, tuple entry) except -1:
        # Freed at the end of this method: in between, another thread might come here.
        cdef tuple before = self.newest
        self.newest = entry
        self.newest_func = func
        return 0

    cdef FunctionRecord add(self, object func, object key):
        record, uses = self.serialize(func)
        try:
            reference = weakref.ref(func, lambda _: self.forget(key))
        except TypeError:
            return record  # cannot be watched: serialized each time, still sent once
        self.by_id[key] = (record, uses, reference)
        return record

    cdef object forget(self, object key):
        if <size_t>self.newest_func == <size_t>key:
            self.set_newest(NULL, None)
        self.by_id.pop(key, None)

    cdef tuple serialize(self, object func):
        cdef bytes body
        if not callable(func):
            raise TypeError(f"{func!r} cannot be called; accepted: a function, as in submit(function, None, argument)")
        options = options_of(func)
        try:
            body, uses = serialize_with_context(func, options.context, self.context)
        except Exception as error:
            raise SerializationError(unserializable.described(name_of(func), error)) from error
        self.n_serialized += 1
        body = checked_size(func, body)
        digest = hashlib.blake2b(body, digest_size=VF_DIGEST_NBYTES).digest()
        # The digest covers the context too, which need not be hashable.
        shared_key = (digest, options.keep)
        record = self.by_digest.get(shared_key)
        if record is None:
            record = FunctionRecord(body, digest, name_of(func), options)
            self.by_digest[shared_key] = record
        return record, uses
