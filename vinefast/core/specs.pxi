# Resource specifications as C sees them.


cdef class SpecGroup:
    """What the specifications that differ in priority alone have in common."""

    cdef vf_group c_group
    cdef tuple key
    cdef uint64_t n_specs


cdef class SpecRecord:
    """One resource specification.

    Each call holds a reference, so it lives as long as C may look at it. The registry forgets it with its last call
    that is outstanding or being made.
    """

    cdef vf_spec c_spec
    cdef bytes category
    cdef object spec
    cdef SpecGroup group
    cdef uint64_t n_calls  # outstanding, or being made

    def __cinit__(self, spec, SpecGroup group):
        self.spec = spec
        self.group = group
        self.c_spec.group = &group.c_group
        self.c_spec.priority = spec.priority
        self.c_spec.needs.cores = or_minus_one(spec.cores)
        self.c_spec.needs.memory = or_minus_one(spec.memory)
        self.c_spec.needs.disk = or_minus_one(spec.disk)
        self.c_spec.needs.gpus = or_minus_one(spec.gpus)
        self.c_spec.running_time_min = <int64_t>or_minus_one(spec.running_time_min)
        self.c_spec.limit_ms = limit_ms_of(spec.running_time_max)
        self.c_spec.memory_limit = spec.memory if spec.enforce_memory else 0
        self.c_spec.captures = spec.capture_output
        if spec.category is not None:
            self.category = spec.category.encode()
            self.c_spec.category = PyBytes_AS_STRING(self.category)


cdef uint32_t limit_ms_of(seconds) except? 0:
    if seconds is None:
        return 0
    cdef double ms = ceil(seconds * 1000)
    return <uint32_t>ms if ms <= <double>0xFFFFFFFF else 0  # that is in 49 days


cdef double or_minus_one(value) except? -1:
    return -1 if value is None else value


cdef class SpecRegistry:
    """The records of the specifications of which calls are outstanding."""

    cdef dict by_id   # id(CallSpec): record, which keeps that object alive
    cdef dict groups  # by what they have in common

    def __cinit__(self):
        self.by_id = {}
        self.groups = {}

    cdef SpecRecord find(self, spec):
        cdef object key = <size_t><PyObject *>spec
        cdef PyObject *known = PyDict_GetItem(self.by_id, key)
        if known != NULL:
            return <SpecRecord>known
        shared = (
            spec.cores, spec.memory, spec.disk, spec.gpus, spec.running_time_min, spec.running_time_max, spec.category,
            spec.enforce_memory, spec.capture_output,
        )
        cdef SpecGroup group = self.groups.get(shared)
        if group is None:
            group = SpecGroup()
            group.key = shared
            self.groups[shared] = group
        record = SpecRecord(spec, group)
        group.n_specs += 1
        self.by_id[key] = record
        return record

    cdef int release(self, SpecRecord record) except -1:
        """One of its calls is done, or was not made."""
        cdef object key
        record.n_calls -= 1
        if record.n_calls:
            return 0
        key = <size_t><PyObject *>record.spec
        if self.by_id.get(key) is not record:
            return 0
        del self.by_id[key]
        record.group.n_specs -= 1
        if record.group.n_specs == 0 and self.groups.get(record.group.key) is record.group:
            del self.groups[record.group.key]
        return 0

    cdef list too_large(self, double seconds):
        """Those for which, for so long, all workers that are there have been too small."""
        cdef uint64_t now_ns = vf_now_ns()
        cdef uint64_t since_ns
        found = []
        for record in list(self.by_id.values()):
            since_ns = vf_group_too_large_ns((<SpecRecord>record).c_spec.group)
            if since_ns and now_ns >= since_ns and now_ns - since_ns >= seconds * 1e9:
                found.append((<SpecRecord>record).spec)
        return found

    cdef list known(self):
        return [(<SpecRecord>record).spec for record in list(self.by_id.values())]
