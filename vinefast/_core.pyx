# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""The hot path: serialization, the engine that owns a TaskVine manager, and the completion of futures.

One part per step of a call's way (docs/architecture.md); what runs without the GIL is plain C in csrc/.
"""

from cpython.bytearray cimport PyByteArray_FromStringAndSize
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_GetItem
from cpython.memoryview cimport PyMemoryView_FromMemory
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF, Py_XDECREF
from libc.math cimport ceil
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset, strncpy

from vinefast.csrc cimport *
from vinefast.libtaskvine cimport *

include "core/buffers.pxi"
include "core/serialize.pxi"
include "core/arguments.pxi"
include "core/function.pxi"
include "core/specs.pxi"
include "core/temps.pxi"
include "core/files.pxi"
include "core/future.pxi"
include "core/demux.pxi"
include "core/manager.pxi"
include "core/border.pxi"
include "core/engine.pxi"
include "core/locality.pxi"
include "core/stages.pxi"
