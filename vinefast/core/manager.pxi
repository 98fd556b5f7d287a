# Opening and closing a TaskVine manager, on the thread that owns it.
#
# Every vine_* call that can fail goes through one of the two checkers below. The GIL is released around those that take
# time.

SCHEDULERS = {
    "files": VINE_SCHEDULE_FILES,
    "time": VINE_SCHEDULE_TIME,
    "random": VINE_SCHEDULE_RAND,
    "worst": VINE_SCHEDULE_WORST,
    "disk": VINE_SCHEDULE_DISK,
}

# By Parsl's names of them.
ALLOCATION_MODES = {
    "max": VINE_ALLOCATION_MODE_MAX,
    "max-xput": VINE_ALLOCATION_MODE_MAX_THROUGHPUT,
    "bucketing": VINE_ALLOCATION_MODE_EXHAUSTIVE_BUCKETING,
}

# As TaskVine names a manager's directory.
DIRECTORY_NAME = "%Y-%m-%dT%H%M%S"

# More than a worker will ever be given where we choose the worker ourselves (csrc/vf_workers.h).
cdef int MANY_SLOTS = 4096


cdef void *check_pointer(void *pointer, str what) except NULL:
    if pointer == NULL:
        raise errors.EngineStartError(f"TaskVine could not {what}")
    return pointer


cdef int check_count(int count, str what) except -1:
    if count <= 0:
        raise errors.EngineStartError(f"TaskVine could not {what}")
    return count


def why_not_listening(str address, int port):
    """The system's reason why nobody can listen on `port` of an address, None for all; or None if one can."""
    with socket.socket(socket.AF_INET6 if ":" in (address or "") else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address or "", port))
        except OSError as error:
            hint = " (leave the port at 0 to take any free one)" if error.errno == errno.EADDRINUSE else ""
            return f"{os.strerror(error.errno)}{hint}"
    return None


def claim_directory(parent):
    """Make the directory that TaskVine would give a manager now, after the second, in `parent`.

    Waits for the next second if another manager, perhaps of another process, has that already.
    """
    while True:
        path = os.path.join(parent, time.strftime(DIRECTORY_NAME))
        with suppress(FileExistsError):
            os.mkdir(path, 0o755)
            return path
        time.sleep(1 - time.time() % 1)


def why_not_writable(directory):
    """The system's reason why nothing can be written to a new file in `directory`, or None if something can."""
    try:
        with tempfile.TemporaryFile(dir=directory, buffering=0) as file:
            while file.tell() < 4096:
                file.write(bytes(4096))
    except OSError as error:
        return os.strerror(error.errno)
    return None


def read_password(path):
    """Return what is in a password file, all of it, as a worker reads it."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise errors.EngineStartError(f"the password file {path} cannot be read: {error.strerror}") from error


def make_certificate():
    """Make a key and a certificate for one run's TLS, which nobody has signed.

    Returns
    -------
    (bytes, bytes)
        Both in PEM.

    Raises
    ------
    EngineStartError
        If OpenSSL cannot.
    """
    cdef char *key = NULL
    cdef char *certificate = NULL
    cdef int failed
    with nogil:
        failed = vf_certificate_make(&key, &certificate)
    if failed:
        raise errors.EngineStartError("OpenSSL cannot make a key and a certificate for TLS; ssl=False does without")
    try:
        return <bytes>key, <bytes>certificate
    finally:
        vf_certificate_free_key(key)
        free(certificate)


cdef int begin_tls(object files) except -1:
    """Have this thread's manager speak TLS with the files of a key and a certificate, until `vf_tls_end`."""
    cdef char why[256]
    cdef bytes key = os.fsencode(files[0])
    cdef bytes certificate = os.fsencode(files[1])
    cdef const char *c_key = key
    cdef const char *c_certificate = certificate
    cdef int failed
    why[0] = 0
    with nogil:
        failed = vf_tls_begin(c_key, c_certificate, why, sizeof(why))
    if failed:
        reason = why.decode(errors="replace")
        raise errors.EngineStartError(f"OpenSSL cannot use the key {files[0]} and the certificate {files[1]}: {reason}")
    return 0


cdef vine_manager *open_manager(object settings, bytes password, vf_counters *counters) except NULL:
    """Create a manager that listens and is set up, but serves nobody yet.

    Its logs count in `counters` until `close_manager`, which ends its TLS, too.
    """
    if settings.key_and_certificate is not None:
        begin_tls(settings.key_and_certificate)
    try:
        return create_manager(settings, password, counters)
    except BaseException:
        vf_tls_end()
        raise


cdef vine_manager *create_manager(object settings, bytes password, vf_counters *counters) except NULL:
    cdef bytes runtime_dir = os.fsencode(settings.runtime_dir)
    cdef const char *c_runtime_dir = runtime_dir
    cdef bytes address = None if settings.listen_address is None else settings.listen_address.encode()
    cdef const char *c_address = NULL if address is None else PyBytes_AS_STRING(address)
    cdef int port = settings.port
    cdef uint64_t log_nbytes = settings.tuning.log_nbytes
    cdef vine_manager *manager
    cdef vf_snapshot counted
    # TaskVine does no more than tell its catalog: the files are read once, in begin_tls().
    cdef bytes name = None if settings.key_and_certificate is None else b"-"
    cdef const char *tls = NULL if name is None else PyBytes_AS_STRING(name)
    claimed = claim_directory(settings.runtime_dir)
    with nogil:
        vine_set_runtime_info_path(c_runtime_dir)
        vf_log_begin(log_nbytes, counters)
        vf_accept_at(c_address)
        manager = vine_ssl_create(port, tls, tls)
        vf_accept_at(NULL)
        vf_log_begun()
    # It logs every command in full, arguments included.
    if not settings.debug:
        debug_flags_clear()
    vf_counters_read(counters, &counted)
    reason = os.strerror(counted.log_errno) if counted.log_errno else None
    if manager == NULL:
        reason = reason or why_not_writable(settings.runtime_dir)
    with suppress(OSError):  # it is in use, unless a second ended just then
        os.rmdir(claimed)
    if manager == NULL:
        vf_log_end(counters)
        if reason is None:
            reason = why_not_listening(settings.listen_address, port) or "see the messages above"
            raise errors.EngineStartError(f"TaskVine cannot listen on port {port}: {reason}")
    try:
        if reason is not None:
            raise errors.EngineStartError(f"TaskVine cannot write in {settings.runtime_dir}: {reason}")
        set_up_manager(manager, settings, password)
    except BaseException:
        close_manager(manager, counters)
        raise
    return manager


cdef int close_manager(vine_manager *manager, vf_counters *counters) except -1:
    with nogil:
        if manager != NULL:
            vine_delete(manager)
        vf_log_end(counters)
        vf_tls_end()
    return 0


cdef int set_up_manager(vine_manager *manager, object settings, bytes password) except -1:
    cdef bytes name
    if password is not None:
        vine_set_password(manager, password)
    if settings.project_name is not None:
        name = settings.project_name.encode()
        vine_set_name(manager, name)
    if settings.resource_monitor is not None:
        enable_monitoring(manager, settings.resource_monitor)
    tune_manager(manager, settings.tuning)
    return 0


cdef int tune_manager(vine_manager *manager, object tuning) except -1:
    cdef bytes name
    cdef double value
    cdef int known
    if not tuning.peer_transfers:
        vine_disable_peer_transfers(manager)
    if tuning.scheduler in SCHEDULERS:
        vine_set_scheduler(manager, SCHEDULERS[tuning.scheduler])
    if "bandwidth-limit" in tuning:
        name = str(tuning.bandwidth_limit).encode()
        vine_set_bandwidth_limit(manager, name)
    for parameter, number in tuning.for_vine_tune().items():
        name = parameter.encode()
        value = number
        known = vine_tune(manager, name, value)
        if known < 0:
            raise errors.InvalidConfiguration(f"this TaskVine does not know the tune parameter {parameter!r}")
    return 0


cdef int enable_monitoring(vine_manager *manager, str program) except -1:
    # TaskVine looks for the program by itself, where this says.
    before = os.environ.get(programs.RESOURCE_MONITOR_VARIABLE)
    os.environ[programs.RESOURCE_MONITOR_VARIABLE] = program
    try:
        check_count(vine_enable_monitoring(manager, 1, 0), f"measure tasks with {program}")
    finally:
        if before is None:
            del os.environ[programs.RESOURCE_MONITOR_VARIABLE]
        else:
            os.environ[programs.RESOURCE_MONITOR_VARIABLE] = before
    return 0


cdef vine_file *declare_program(vine_manager *manager, object source, str name) except NULL:
    """Declare what libraries need: a local file, or its content, which TaskVine copies."""
    cdef vine_file *file
    cdef bytes content
    if isinstance(source, bytes):
        content = source
        file = vine_declare_buffer(manager, content, len(content), VINE_CACHE_LEVEL_WORKFLOW, 0)
    else:
        content = os.fsencode(source)
        file = vine_declare_file(manager, content, VINE_CACHE_LEVEL_WORKFLOW, 0)
    return <vine_file *>check_pointer(file, f"declare {name}, which workers need")


cdef int install_library(vine_manager *manager, object settings) except -1:
    """Install vinefast's library: TaskVine starts one on each worker that gets a function call."""
    cdef bytes command = settings.command.encode()
    cdef bytes name, value
    cdef vine_file *file
    cdef vine_task *task = <vine_task *>check_pointer(vine_task_create(command), "create the library's task")
    for source, remote_name in settings.library_files:
        name = remote_name.encode()
        file = declare_program(manager, source, remote_name)
        check_count(vine_task_add_input(task, file, name, 0), f"give {remote_name} to the library")
    for variable, content in settings.env_vars.items():
        name = str(variable).encode()
        value = str(content).encode()
        vine_task_set_env_var(task, name, value)
    vine_task_set_library_provided(task, VF_LIBRARY_NAME)
    # It runs for as long as its worker, which is not slow for that.
    vine_task_set_category(task, VF_LIBRARY_NAME)
    vine_enable_disconnect_slow_workers_category(manager, VF_LIBRARY_NAME, 0)
    vine_task_set_function_exec_mode_from_string(task, b"fork")
    if settings.placing:
        vine_task_set_function_slots(task, MANY_SLOTS)
    elif settings.slots:
        vine_task_set_function_slots(task, settings.slots)
    if settings.library_cores is not None:
        vine_task_set_cores(task, settings.library_cores)
    if settings.library_memory is not None:
        vine_task_set_memory(task, settings.library_memory)
    if settings.library_disk is not None:
        vine_task_set_disk(task, settings.library_disk)
    if settings.library_gpus is not None:
        vine_task_set_gpus(task, settings.library_gpus)
    vine_manager_install_library(manager, task, VF_LIBRARY_NAME)
    return 0


cdef class TaskParts:
    """What each task of the regular mode needs besides its frame: the library's files, the environment."""

    cdef list strings  # keeps the memory of what the arrays point to
    cdef vine_file **files
    cdef const char **names
    cdef const char **env
    cdef uint32_t n_files, n_env

    def __cinit__(self):
        self.strings = []

    def __dealloc__(self):
        free(self.files)
        free(<void *>self.names)
        free(<void *>self.env)

    cdef const char *keep(self, str text) except NULL:
        cdef bytes encoded = text.encode()
        self.strings.append(encoded)
        return PyBytes_AS_STRING(encoded)

    cdef int fill(self, vine_manager *manager, object settings) except -1:
        self.files = <vine_file **>calloc(len(settings.library_files) + 1, sizeof(void *))
        self.names = <const char **>calloc(len(settings.library_files) + 1, sizeof(void *))
        self.env = <const char **>calloc(2 * len(settings.env_vars) + 1, sizeof(void *))
        if self.files == NULL or self.names == NULL or self.env == NULL:
            raise MemoryError()
        for source, remote_name in settings.library_files:
            self.files[self.n_files] = declare_program(manager, source, remote_name)
            self.names[self.n_files] = self.keep(remote_name)
            self.n_files += 1
        for variable, content in settings.env_vars.items():
            self.env[self.n_env] = self.keep(str(variable))
            self.env[self.n_env + 1] = self.keep(str(content))
            self.n_env += 2
        return 0
