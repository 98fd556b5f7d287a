# What the core opens to benches/_stages.pyx: single stages of a call's way. All else is private.

from vinefast.csrc cimport vf_bundle, vf_function, vf_record


cdef bytes serialize_arguments(object func, tuple args, dict kwargs, int *kind)
cdef object find_function(object registry, object func)
cdef vf_function *function_of(object record) except NULL
cdef int finish_by_record(object future, const vf_bundle *bundle, const vf_record *record) except -1
