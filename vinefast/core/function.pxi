# Functions, serialized once and named by a digest of their bytes ever after.

import hashlib
import weakref


cdef class FunctionRecord:
    """One distinct function: its serialized body, and the C record that the manager thread learns into.

    Lives as long as the registry knows it or a call of it is outstanding; each call holds a reference.
    """

    cdef vf_function c_function
    cdef bytes body, name
    cdef object __weakref__

    def __cinit__(self, bytes body, bytes digest, str name):
        self.body = body
        self.name = name.encode("utf-8", "replace")
        self.c_function.name = PyBytes_AS_STRING(self.name)
        self.c_function.body = PyBytes_AS_STRING(body)
        self.c_function.body_nbytes = <uint32_t>PyBytes_GET_SIZE(body)
        self.c_function.mean_ns = -1
        self.c_function.limit = 1
        memcpy(self.c_function.digest, PyBytes_AS_STRING(digest), VF_DIGEST_NBYTES)


cdef class FunctionRegistry:
    """From a function object to its record. Like Parsl's own cache, it takes a callable for immutable."""

    cdef dict by_id        # id(func): (record, weak reference to func)
    cdef object by_digest  # digest: record, as long as anybody else holds it

    def __cinit__(self):
        self.by_id = {}
        self.by_digest = weakref.WeakValueDictionary()

    cdef FunctionRecord find(self, object func):
        # The entry goes when the function goes, so an id is never taken for that of a later object.
        cdef object key = <size_t><PyObject *>func
        cdef PyObject *entry = PyDict_GetItem(self.by_id, key)
        if entry != NULL:
            return <FunctionRecord>(<tuple>entry)[0]
        return self.add(func, key)

    cdef FunctionRecord add(self, object func, object key):
        cdef bytes body
        try:
            body = parsl_serialize.serialize(func, buffer_threshold=MAX_NBYTES)
        except Exception as error:
            raise SerializationError(function_name(func)) from error
        body = checked_size(func, body)
        digest = hashlib.blake2b(body, digest_size=VF_DIGEST_NBYTES).digest()
        record = self.by_digest.get(digest)
        if record is None:
            record = FunctionRecord(body, digest, function_name(func))
            self.by_digest[digest] = record
        cdef dict by_id = self.by_id
        try:
            reference = weakref.ref(func, lambda _: by_id.pop(key, None))
        except TypeError:
            return record  # cannot be watched: serialized each time, still sent once
        by_id[key] = (record, reference)
        return record
