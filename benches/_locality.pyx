# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""Which worker holds what, and which is to run a call: csrc/vf_locality.h for benches and tests."""

import threading

import numpy

from libc.stdint cimport uint32_t, uint64_t

from vinefast.csrc cimport *


cdef object moved_of(object name):
    moved = {"ignore": VF_LOCALITY_MOVED_IGNORE, "batch": VF_LOCALITY_MOVED_BATCH, "keep": VF_LOCALITY_MOVED_KEEP}
    if name not in moved:
        raise ValueError(f"moved must be one of {', '.join(map(repr, moved))}, not {name!r}")
    return moved[name]


cdef uint32_t checked_count(str what, object count) except? 0:
    if not 0 <= count < VF_LOCALITY_UNLIMITED:
        raise ValueError(f"{what} must be at least 0 and below {VF_LOCALITY_UNLIMITED}, not {count}")
    return count


cdef uint64_t checked_ns(str what, object ns) except? 0:
    if not 0 <= ns <= VF_LOCALITY_MAX_QUEUE_NS:
        raise ValueError(f"{what} must be at least 0 and at most {VF_LOCALITY_MAX_QUEUE_NS}, not {ns}")
    return ns


cdef class LocalityTable:
    """Replicas (a replica is a copy of a file that a worker holds), and the choice of a worker for each call by cost.

    The cost of a call at a worker is ``bytes to move / bandwidth + queue_weight * queued``, where the bytes to move are
    those of the call's input files without a replica there (a file listed twice counts once), and `queued` is the
    expected run time in ns of what the worker has been given already. The table hands out the indices of files and
    workers, dense from 0, and those of what has gone again. Any thread may call any method; they wait for each other.

    Parameters
    ----------
    bandwidth_bytes_per_ns : float
        Above 0. Infinite means that bytes cost nothing.
    queue_weight : float
        What a nanosecond of queue costs, where one of transfer costs 1. Finite, at least 0.
    moved : {"batch", "keep", "ignore"}
        What the files that a call makes move are to the calls after it: replicas until the end of the batch, replicas
        from then on, or nothing.
    seed : int
        Which of several workers that cost the same comes first. Later they take turns.

    Raises
    ------
    ValueError
        If a parameter is out of its range.
    """

    cdef vf_locality table
    cdef object lock

    NONE = VF_LOCALITY_NONE

    def __cinit__(self, double bandwidth_bytes_per_ns=1.0, double queue_weight=1.0, moved="batch", seed=0):
        cdef vf_locality_rule rule
        rule.bandwidth_bytes_per_ns = bandwidth_bytes_per_ns
        rule.queue_weight = queue_weight
        rule.moved = moved_of(moved)
        if vf_locality_init(&self.table, &rule, seed & 0xFFFFFFFFFFFFFFFF):
            raise ValueError(
                "bandwidth_bytes_per_ns must be above 0, and queue_weight finite and at least 0, "
                f"not {bandwidth_bytes_per_ns} and {queue_weight}"
            )
        self.lock = threading.Lock()

    def __dealloc__(self):
        vf_locality_free(&self.table)

    cdef uint32_t _file(self, object file) except? 0:
        if not 0 <= file < self.table.n_files:
            raise IndexError(f"no file {file}: all indices are below {self.table.n_files}")
        if not vf_locality_has_file(&self.table, file):
            raise IndexError(f"file {file} has been forgotten (all indices are below {self.table.n_files})")
        return file

    cdef uint32_t _worker(self, object worker) except? 0:
        if not 0 <= worker < self.table.n_workers:
            raise IndexError(f"no worker {worker}: all indices are below {self.table.n_workers}")
        if not vf_locality_has_worker(&self.table, worker):
            raise IndexError(f"worker {worker} has been removed (all indices are below {self.table.n_workers})")
        return worker

    def add_file(self, nbytes):
        """Add a file.

        Parameters
        ----------
        nbytes : int

        Returns
        -------
        int
            Its index.
        """
        if not 0 <= nbytes <= VF_LOCALITY_MAX_NBYTES:
            raise ValueError(f"nbytes must be at least 0 and at most {VF_LOCALITY_MAX_NBYTES}, not {nbytes}")
        cdef uint32_t file = VF_LOCALITY_NONE
        with self.lock:
            file = vf_locality_add_file(&self.table, nbytes)
        if file == VF_LOCALITY_NONE:
            raise MemoryError()
        return file

    def forget_file(self, file):
        """Forget a file and its replicas. A file added later may get its index."""
        with self.lock:
            vf_locality_forget_file(&self.table, self._file(file))

    def add_worker(self, capacity=None):
        """Add a worker that holds nothing and has nothing queued.

        Parameters
        ----------
        capacity : int, optional
            How many calls it may get. A worker that may get none is full, and is not chosen. None: any number.

        Returns
        -------
        int
            Its index.
        """
        cdef uint32_t room = VF_LOCALITY_UNLIMITED if capacity is None else checked_count("capacity", capacity)
        cdef uint32_t worker = VF_LOCALITY_NONE
        with self.lock:
            worker = vf_locality_add_worker(&self.table, room)
        if worker == VF_LOCALITY_NONE:
            raise MemoryError()
        return worker

    def remove_worker(self, worker):
        """Remove a worker and its replicas. A worker added later may get its index."""
        with self.lock:
            vf_locality_remove_worker(&self.table, self._worker(worker))

    def add_replica(self, file, worker):
        """Note that the worker holds the file."""
        cdef int status = 0
        with self.lock:
            status = vf_locality_add_replica(&self.table, self._file(file), self._worker(worker))
        if status:
            raise MemoryError()

    def remove_replica(self, file, worker):
        """Note that the worker does not hold the file."""
        with self.lock:
            vf_locality_remove_replica(&self.table, self._file(file), self._worker(worker))

    def has_replica(self, file, worker):
        """Whether the worker holds the file."""
        with self.lock:
            return bool(vf_locality_has_replica(&self.table, self._file(file), self._worker(worker)))

    def set_capacity(self, worker, capacity):
        """Set how many more calls the worker may get; None: any number."""
        cdef uint32_t room = VF_LOCALITY_UNLIMITED if capacity is None else checked_count("capacity", capacity)
        with self.lock:
            vf_locality_set_capacity(&self.table, self._worker(worker), room)

    def capacity(self, worker):
        """How many more calls the worker may get; None: any number."""
        cdef uint32_t room = 0
        with self.lock:
            room = self.table.workers[self._worker(worker)].capacity
        return None if room == VF_LOCALITY_UNLIMITED else room

    def set_queue(self, worker, queued_ns):
        """Set the expected run time in ns of what the worker has been given already."""
        cdef uint64_t ns = checked_ns("queued_ns", queued_ns)
        with self.lock:
            vf_locality_set_queue(&self.table, self._worker(worker), ns)

    def queued_ns(self, worker):
        """The expected run time in ns of what the worker has been given already."""
        with self.lock:
            return self.table.workers[self._worker(worker)].queued_ns

    def finish(self, worker, charged_ns):
        """Note that a call is done: its place at the worker is free, and `charged_ns` leaves the queue."""
        cdef uint64_t ns = checked_ns("charged_ns", charged_ns)
        with self.lock:
            vf_locality_finish(&self.table, self._worker(worker), ns)

    def assign(
        self,
        const uint64_t[::1] offsets not None,
        const uint32_t[::1] files not None,
        const uint64_t[::1] durations_ns not None,
        uint64_t[::1] charged_ns=None,
    ):
        """Choose the worker that costs least for each call of a batch, one after the other.

        The chosen worker's queue grows by the call's duration and its transfer time, and its capacity falls by one,
        before the next call is looked at. Workers that cost the same take turns. The GIL is released meanwhile; the
        arrays must not be changed.

        Parameters
        ----------
        offsets : array of uint64, contiguous
            One more than there are calls, from 0 on: call `i` has the inputs ``files[offsets[i]:offsets[i + 1]]``.
        files : array of uint32, contiguous
            Indices of files.
        durations_ns : array of uint64, contiguous
            The expected duration of each call.
        charged_ns : array of uint64, contiguous, optional
            Filled with what each call has added to its worker's queue, for `finish`.

        Returns
        -------
        numpy.ndarray of uint32
            The worker of each call; `LocalityTable.NONE` where all workers were full, or there is none.

        Raises
        ------
        IndexError
            If a file is not in the table. Nothing has been assigned then.
        ValueError
            If the arrays do not fit together, or are not of these types. Nothing has been assigned then.
        """
        cdef uint64_t n_calls = <uint64_t>durations_ns.shape[0]
        cdef uint64_t n_inputs = <uint64_t>files.shape[0]
        cdef uint64_t at = 0
        cdef uint64_t *charged = NULL
        cdef vf_locality_fault fault
        cdef int status = 0
        if <uint64_t>offsets.shape[0] != n_calls + 1:
            raise ValueError(f"{n_calls} durations need {n_calls + 1} offsets, not {offsets.shape[0]}")
        if charged_ns is not None:
            if <uint64_t>charged_ns.shape[0] != n_calls:
                raise ValueError(f"charged_ns must have a place for each of {n_calls} calls, not {charged_ns.shape[0]}")
            charged = &charged_ns[0]
        result = numpy.empty(n_calls, "uint32")
        cdef uint32_t[::1] chosen = result
        with self.lock:
            with nogil:
                fault = vf_locality_check(&self.table, n_calls, &offsets[0], &files[0], n_inputs, &at)
                if fault == VF_LOCALITY_FINE:
                    status = vf_locality_assign(
                        &self.table, n_calls, &offsets[0], &files[0], &durations_ns[0], &chosen[0], charged
                    )
            if fault == VF_LOCALITY_BAD_FILE:
                try:
                    self._file(files[at])
                except IndexError as error:
                    raise IndexError(f"files[{at}]: {error}") from None
        if fault == VF_LOCALITY_BAD_OFFSET:
            bounds = f"at least {offsets[at - 1]} and at most {n_inputs}, the number of files" if at else "0"
            raise ValueError(f"offsets[{at}] is {offsets[at]}, and must be {bounds}")
        if fault == VF_LOCALITY_BAD_NBYTES:
            raise ValueError(f"the inputs of call {at} have more than {VF_LOCALITY_MAX_NBYTES} bytes together")
        if status:
            raise MemoryError()
        return result
