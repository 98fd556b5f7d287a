# All that the parts import.

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_FillInfo, PyBuffer_Release, PyObject_GetBuffer
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
from posix.unistd cimport getpid

from vinefast.csrc cimport *
from vinefast.libtaskvine cimport *

import errno
import hashlib
import importlib
import logging
import os
import pickle
import socket
import tempfile
import threading
import time
import types
import uuid
import weakref
from asyncio import CancelledError as AwaitCancelled, get_running_loop, wait_for
from concurrent.futures import CancelledError, Future
from concurrent.futures._base import CANCELLED, CANCELLED_AND_NOTIFIED, FINISHED, LOGGER, PENDING, RUNNING
from contextlib import contextmanager, suppress
from functools import partial

import parsl.serialize.facade as parsl_serialize
from parsl.app.errors import AppTimeout, RemoteExceptionWrapper
from parsl.serialize.concretes import DillSerializer
from parsl.serialize.errors import DeserializationError, SerializationError

from vinefast import _locks, errors
from vinefast._log_fields import fields
from vinefast.calls.apps import options_of
from vinefast.calls.context import name_of, serialize_with_context
from vinefast.calls.main_module import MISSING
from vinefast.calls.retries import begin_try, forgo_retries
from vinefast.library import by_value, parsl_side, unserializable
from vinefast.library.protocol import OUTPUT_PIECE
from vinefast.settings.resources import CallSpec
from vinefast.workers import programs

cdef object logger = logging.getLogger("vinefast.core")
