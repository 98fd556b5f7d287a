# The files of a call that TaskVine moves, as C sees them; vinefast/data/plan.py finds them among a call's arguments.

FILE_INPUT, FILE_URL, FILE_OUTPUT = VF_FILE_INPUT, VF_FILE_URL, VF_FILE_OUTPUT
FILE_READ, FILE_MADE = VF_FILE_READ, VF_FILE_MADE


cdef class CallFiles:
    """What TaskVine brings to a call's worker, and back.

    Parameters
    ----------
    moves : list of (int, str or Temp, str) or (int, str, str, vinefast.data.cached.Caching)
        `FILE_INPUT`, `FILE_URL` or `FILE_OUTPUT` and the path or URL, or `FILE_READ` or `FILE_MADE` and the `Temp`; the
        path in the sandbox of the call's bundle; and how it is cached.
    trailer : bytes
        What the worker is told, for vinefast/library/files.py.
    """

    cdef vf_file_list *c_files
    cdef list strings  # keep the memory that the array points to, as do
    cdef list temps
    cdef list moves
    cdef readonly bytes trailer

    cdef public bint brings
    """Whether the call brings back what lies on workers: nothing of the user's is called when it is done."""

    def __cinit__(self, moves, bytes trailer, *args):
        cdef bytes source, name
        cdef vf_file *item
        self.trailer = trailer
        self.strings = []
        self.temps = []
        self.moves = moves
        self.c_files = <vf_file_list *>calloc(1, sizeof(vf_file_list) + len(moves) * sizeof(vf_file))
        if self.c_files == NULL:
            raise MemoryError()
        for kind, path, remote, *caching in moves:
            name = os.fsencode(remote)
            item = self.c_files.items + self.c_files.n
            item.kind = kind
            if isinstance(path, Temp):
                self.temps.append(path)
                source = (<Temp>path).name
                item.temp = &(<Temp>path).c_temp
            else:
                source = os.fsencode(path)
            self.strings += (source, name)
            item.source = PyBytes_AS_STRING(source)
            item.name = PyBytes_AS_STRING(name)
            if caching:
                self.set_caching(item, caching[0])
            if kind == VF_FILE_INPUT:
                with nogil:
                    vf_look_here(item.source, &item.look)  # here it holds up nobody else
            self.c_files.n += 1

    cdef int set_caching(self, vf_file *item, object caching) except -1:
        cdef bytes key = os.fsencode(caching.key)
        cdef bytes label
        self.strings.append(key)
        item.key = PyBytes_AS_STRING(key)
        if caching.label is not None:
            label = caching.label.encode()
            self.strings.append(label)
            item.label = PyBytes_AS_STRING(label)
        item.level, item.unpack, item.linked = caching.level, caching.unpack, caching.linked
        item.version = caching.version
        return 0

    def __dealloc__(self):
        free(self.c_files)

    cdef list made(self):
        """The temporary files that the call makes."""
        return [move[1] for move in self.moves if move[0] == VF_FILE_MADE]

    def result(self, value):
        """Give what the call's future is to have for what the call returned."""
        return value

    cdef int end(self, object result, object exception) except -1:
        """The call's future is about to be done."""
        # An app that failed says so by what it returns. By its type: isinstance() would ask what is the user's.
        failed = exception is not None or issubclass(type(result), RemoteExceptionWrapper)
        for made in self.made():
            (<Temp>made).maker.end(failed)
        return 0

    def deliver(self):
        """Put what came back in its place; called before the call's future is done, whatever became of the call."""

    def discard(self):
        """Remove what came back: nobody wants it."""

    cdef bytes after(self, bytes payload):
        """Give a payload with what the worker is told behind it."""
        cdef uint32_t nbytes = <uint32_t>PyBytes_GET_SIZE(self.trailer)
        return payload + self.trailer + PyBytes_FromStringAndSize(<char *>&nbytes, sizeof(nbytes))
