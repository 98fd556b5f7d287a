# Large buffers beside the pickle instead of in it (PEP 574): vinefast/library/buffers.py tells the layout, and is the
# other end.

cdef size_t MIN_BUFFER_NBYTES = 4096  # a smaller one is quicker copied

cdef frozenset PLAIN_TYPES = frozenset((int, float, bool, str, type(None)))  # have no buffers

cdef packed struct BuffersHead:
    uint32_t stream_nbytes, n

cdef packed struct BuffersEntry:
    uint64_t offset, nbytes


cdef inline bint may_have_buffers(tuple args, dict kwargs):
    for value in args:
        if type(value) not in PLAIN_TYPES:
            return True
    for value in kwargs.values():
        if type(value) not in PLAIN_TYPES:
            return True
    return False


cdef class BufferCollector:
    """Takes the buffers that pickle offers, and keeps them from changing size until it is freed."""

    cdef Py_buffer[64] buffers
    cdef int n

    def __cinit__(self):
        self.n = 0

    def __dealloc__(self):
        for i in range(self.n):
            PyBuffer_Release(&self.buffers[i])

    def __call__(self, buffer):
        """Return True for a buffer that is to go into the pickle."""
        if self.n == 64:
            return True
        PyObject_GetBuffer(buffer.raw(), &self.buffers[self.n], PyBUF_SIMPLE)
        if <size_t>self.buffers[self.n].len < MIN_BUFFER_NBYTES:
            PyBuffer_Release(&self.buffers[self.n])
            return True
        self.n += 1
        return False

    cdef bytes payload(self, bytes stream):
        """Join pickle and buffers: the only copy of the buffers on this side of the engine."""
        cdef size_t head_nbytes = sizeof(BuffersHead) + self.n * sizeof(BuffersEntry)
        cdef size_t end = head_nbytes + PyBytes_GET_SIZE(stream)
        cdef int i
        for i in range(self.n):
            end = next_aligned(end) + self.buffers[i].len
        cdef bytes payload = PyBytes_FromStringAndSize(NULL, end)
        cdef char *data = PyBytes_AS_STRING(payload)
        cdef BuffersHead *head = <BuffersHead *>data
        cdef BuffersEntry *entries = <BuffersEntry *>(data + sizeof(BuffersHead))
        head.stream_nbytes = <uint32_t>PyBytes_GET_SIZE(stream)
        head.n = self.n
        memcpy(data + head_nbytes, PyBytes_AS_STRING(stream), PyBytes_GET_SIZE(stream))
        end = head_nbytes + PyBytes_GET_SIZE(stream)
        for i in range(self.n):
            entries[i].offset = next_aligned(end)
            entries[i].nbytes = self.buffers[i].len
            memset(data + end, 0, entries[i].offset - end)
            with nogil:
                memcpy(data + entries[i].offset, self.buffers[i].buf, entries[i].nbytes)
            end = entries[i].offset + entries[i].nbytes
        return payload


cdef inline size_t next_aligned(size_t position) noexcept:
    return (position + VF_ALIGNMENT - 1) // VF_ALIGNMENT * VF_ALIGNMENT


cdef class FrameMemory:
    """The memory of a result frame, freed with the last array that lies in it."""

    cdef char *data
    cdef size_t nbytes

    def __dealloc__(self):
        free(self.data)

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        PyBuffer_FillInfo(buffer, self, self.data, self.nbytes, 0, flags)


cdef object unpack_buffers(const vf_record *record, FrameMemory memory):
    """Unpickle a result with buffers: those in `memory` where they are; without it, from copies."""
    cdef const BuffersHead *head = <const BuffersHead *>record.payload
    cdef const BuffersEntry *entries = <const BuffersEntry *>(record.payload + sizeof(BuffersHead))
    cdef size_t head_nbytes = sizeof(BuffersHead)
    if record.nbytes < head_nbytes:
        raise ValueError(f"a record of {record.nbytes} bytes has no room for a table of buffers")
    head_nbytes += <size_t>head.n * sizeof(BuffersEntry)
    cdef size_t end = head_nbytes + head.stream_nbytes
    if end > record.nbytes:
        raise ValueError("the table of buffers is longer than its record")
    cdef size_t start = 0 if memory is None else record.payload - memory.data
    cdef list views = []
    cdef uint32_t i
    whole = None if memory is None else memoryview(memory)
    for i in range(head.n):
        # Each behind the one before: together they are no longer than the record.
        if not end <= entries[i].offset <= record.nbytes or entries[i].nbytes > record.nbytes - entries[i].offset:
            raise ValueError("a buffer reaches beyond its place in its record")
        end = entries[i].offset + entries[i].nbytes
        if memory is None:
            views.append(PyByteArray_FromStringAndSize(record.payload + entries[i].offset, entries[i].nbytes))
        else:
            views.append(whole[start + entries[i].offset:start + entries[i].offset + entries[i].nbytes])
    stream = PyMemoryView_FromMemory(<char *>record.payload + head_nbytes, head.stream_nbytes, 0x100)  # PyBUF_READ
    return pickle_loads(stream, buffers=views)
