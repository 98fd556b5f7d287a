"""The calls of these tests: a user's module, importable here and on the emulated worker."""

from __future__ import annotations

import builtins
import ctypes
import gc
import io
import itertools
import logging
import mmap
import multiprocessing
import os
import queue
import random
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from multiprocessing import resource_tracker, shared_memory
from pathlib import Path

BUILTINS = dict(vars(builtins))


def nothing() -> None:
    return None


def same(value):
    return value


def add(a, b=1):
    return a + b


def write_line(path, text, result=None):
    """Leave a trace: proof of how often a call ran."""
    with open(path, "a") as file:
        file.write(f"{text}\n")
    return text if result is None else result


def write_pid_and_sleep(path, seconds):
    write_line(path, str(os.getpid()))
    time.sleep(seconds)


def write_pid_and_line(path, text, result):
    return write_line(path, f"{os.getpid()} {text}", result)


def sleep(seconds, value=None):
    time.sleep(seconds)
    return value


def fail(message):
    raise ValueError(message)


def fail_deeply(message):
    def inner():
        raise KeyError(message)

    try:
        inner()
    except KeyError as error:
        raise RuntimeError("outer") from error


def fail_far_down(depth, has_tblib):
    """Raise what comes from so many calls in calls; as Parsl has exceptions pickled, where tblib does it."""
    if has_tblib:
        import tblib.pickling_support

        tblib.pickling_support.install()

    def down(depth):
        if not depth:
            raise KeyError("deep")
        down(depth - 1)

    try:
        down(depth)
    except KeyError as error:
        raise RuntimeError("outer") from error


def leave(code):
    sys.exit(code)


def interrupt():
    raise KeyboardInterrupt("no user at the keyboard")


def end_generator():
    raise GeneratorExit("done")


def recurse():
    return recurse()


def exhaust():
    raise MemoryError("no more")


def return_exception():
    return ValueError("a value")


class NeedsTwo(Exception):
    """Cannot be rebuilt from its args."""

    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


def fail_needing_two():
    raise NeedsTwo(1, 2)


class Unspeakable(Exception):
    def __str__(self):
        raise RuntimeError("even this")

    __repr__ = __str__


def fail_unspeakably():
    raise Unspeakable()


class HoldsLock(Exception):
    def __init__(self):
        super().__init__("holds a lock")
        self.generator = (i for i in range(3))


def fail_holding_generator():
    raise HoldsLock()


def make_generator():
    return (i for i in range(3))


def make_local_class_instance():
    class Local:
        value = 7

    return Local()


def make_lambda(k):
    return lambda x: x + k


FIVE = lambda: 5  # noqa: E731


def call_into_list(function):
    return [function()]


def make_zeros(nbytes):
    return bytes(nbytes)


def make_bytes(nbytes):
    return bytes(i & 255 for i in range(256)) * (nbytes // 256)


class Undecodable:
    """Arguments that cannot be unpickled."""

    def __reduce__(self):
        return (fail, ("cannot be rebuilt",))


def die_by(signal_number):
    os.kill(os.getpid(), signal_number)
    time.sleep(10)


def crash(message):
    print(message)
    ctypes.string_at(0)


def exit_at_once(code):
    os._exit(code)


class DiesWhenLoaded:
    """A function body that kills whoever loads it."""

    def __reduce__(self):
        return (os._exit, (9,))


class FailsWhenLoaded:
    def __reduce__(self):
        return (fail, ("cannot be loaded",))


COUNTS: list[int] = []


def count():
    COUNTS.append(1)
    return len(COUNTS)


def identify():
    return os.getpid(), os.getpgid(0), os.getppid(), os.environ["VINEFAST_SLOT"]


def describe():
    """What a call finds around it."""
    import __main__

    return {
        "cwd": os.getcwd(),
        "path": list(sys.path),
        "main": sorted(name for name in vars(__main__) if not name.startswith("__")),
        "stdin": sys.stdin.read(),
        "daemon": multiprocessing.current_process().daemon,
        "sigint": signal.getsignal(signal.SIGINT) is signal.default_int_handler,
        "sigchld": signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL,
        "pipes": [
            link
            for link in (os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if _is_open(fd))
            if link.startswith("pipe:")
        ],
        "block": os.environ.get("PARSL_WORKER_BLOCK_ID"),
    }


def _is_open(fd):
    try:
        os.readlink(f"/proc/self/fd/{fd}")
        return True
    except OSError:
        return False


def change_directory(path):
    os.chdir(path)
    return os.getcwd()


def list_directory():
    return sorted(os.listdir("."))


def fork_and_return(path):
    """The child returns from the call as the parent does: the mistake that os.fork invites."""
    pid = os.fork()
    write_line(path, "child" if pid == 0 else "parent")
    if pid:
        _, status = os.waitpid(pid, 0)
        return os.waitstatus_to_exitcode(status)
    return "child"


def fork_and_raise(path):
    pid = os.fork()
    write_line(path, "child" if pid == 0 else "parent")
    if pid == 0:
        raise ValueError("in the child")
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def _square(x):
    return x * x


def use_processes():
    with multiprocessing.get_context("fork").Pool(2) as pool:
        squares = pool.map(_square, range(5))
    return squares, subprocess.run(["echo", "hello"], capture_output=True, text=True).stdout


def start_sleeper():
    """Leave a process behind; give its pid."""
    return subprocess.Popen(["sleep", "60"]).pid


def start_daemons(path, ignores_term=False):
    """Leave processes behind that have gone into sessions of their own, in every way; note their pids."""
    command = ["sh", "-c", "trap '' TERM; while :; do sleep 0.1; done" if ignores_term else "sleep 60"]
    pids = [subprocess.Popen(command, start_new_session=True).pid]
    grandchild = "import os, subprocess; os.setsid(); print(subprocess.Popen(['sleep', '60'], stdout=2).pid)"
    pids.append(int(subprocess.check_output([sys.executable, "-c", grandchild])))
    read_fd, write_fd = os.pipe()
    if os.fork() == 0:
        os.setsid()
        pid = os.fork()
        if pid == 0:
            os.close(write_fd)
            while True:
                time.sleep(1)
        os.write(write_fd, b"%d" % pid)
        os._exit(0)
    pids.append(int(os.read(read_fd, 32)))
    Path(path).write_text(" ".join(map(str, pids)))
    return pids


def start_nameless_daemon():
    """Leave a process behind that has gone into a session of its own, without any environment."""
    return subprocess.Popen(["sleep", "60"], start_new_session=True, env={}).pid


def start_nameless_daemon_in_thread():
    """The same, from a thread that goes on."""
    pids = queue.Queue()

    def start():
        pids.put(start_nameless_daemon())
        time.sleep(60)

    threading.Thread(target=start, daemon=True).start()
    return pids.get()


def make_shared_memory():
    """Leave shared memory to Python's resource tracker."""
    memory = shared_memory.SharedMemory(create=True, size=1)
    resource_tracker.ensure_running()
    Held.append(memory)
    return memory.name


def tracker_pid():
    return resource_tracker._resource_tracker._pid


Held = []


def start_sleeper_and(path, what):
    Path(path).write_text(str(subprocess.Popen(["sleep", "60"]).pid))
    if what == "crash":
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


def close_everything():
    os.closerange(3, 256)
    return "closed"


def throw_later(seconds):
    """Throw into this thread after the call is over, as a badly cancelled timer does."""
    thread = ctypes.c_ulong(threading.get_ident())

    def throw():
        ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, ctypes.py_object(TimeoutError))

    threading.Timer(seconds, throw).start()
    return "set"


def spin(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass
    return "spun"


def exit_when_idle(seconds):
    threading.Timer(seconds, os._exit, (3,)).start()


def print_much(nbytes):
    print("x" * nbytes)


def log_something():
    logging.getLogger("user").warning("warned")


def make_counter(name):
    """A function with state of its own; carried by value."""
    state = {name: 0}

    def counter():
        state[name] += 1
        return state[name]

    return counter


def import_by_name(name):
    return bool(__import__(name).__name__)


def in_main(source):
    """A function as if defined in the user's script."""
    import __main__

    namespace = vars(__main__)
    exec(source, namespace)
    return namespace.pop("f")


def log_and_print():
    print("printed")
    log_something()
    return "done"


def sleep_and_die(seconds):
    time.sleep(seconds)
    os._exit(1)


def use_parsl():
    import parsl
    import parsl.dataflow.dflow
    from parsl.app.bash import remote_side_bash_executor

    def command():
        return "true"

    same_loader = parsl.dfk.__self__ is parsl.dataflow.dflow.DataFlowKernelLoader
    return [parsl.python_app.__name__, remote_side_bash_executor(command), same_loader]


def load(path, seconds=0.0):
    """A context: leaves a trace of each time it is loaded."""
    write_line(path, os.getpid())
    time.sleep(seconds)
    return {"pid": os.getpid()}


def load_or_fail(path, ready):
    context = load(path)
    if not Path(ready).exists():
        raise OSError(f"{ready} is missing")
    return context


def load_from_a_lost_peer():
    raise ConnectionResetError("the database has gone")


def fail_to_load():
    raise HoldsLock()


def load_with_sleeper(path):
    Path(path).write_text(str(start_sleeper()))


def loaded_by(context):
    return context["pid"], os.getpid()


def loaded_for(x, context=None):
    return x, context and context["pid"]


def loaded_by_name(*, context):
    return context["pid"]


def leave_orphan():
    """Start a process whose parent ends before it does, and which ends then."""
    return int(subprocess.check_output(["sh", "-c", "sleep 0.1 > /dev/null & echo $!"], text=True))


class Counted:
    """Knows how many of its kind there are in a process."""

    alive = weakref.WeakSet()

    def __init__(self, number, pad):
        self.number = number
        self.pad = pad

    def __reduce__(self):
        return revive, (self.number, self.pad)

    def __call__(self):
        return self.number


def revive(number, pad):
    counted = Counted(number, pad)
    Counted.alive.add(counted)
    return counted


def make_counted(number, nbytes):
    return Counted(number, random.Random(number).randbytes(nbytes))


def count_alive():
    gc.collect()
    return len(Counted.alive)


def hang_deaf():
    """Hear no signal, like code in C that does not return to the interpreter."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
    time.sleep(100)


def ignore_children():
    """As daemons do that want no zombies."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)


def take_all_descriptors():
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
    try:
        while True:
            os.dup(0)
    except OSError:
        return "none left"


def load_with_alarm():
    seen = []
    signal.signal(signal.SIGALRM, lambda *_: seen.append("alarm"))
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    while not seen:
        time.sleep(0.01)
    return revive(seen[0], b"")


def load_counted(number):
    return revive(number, b"")


def number_of(context):
    return context.number


def take_descriptors():
    """Close all descriptors, as a daemon does, and open sockets under their numbers."""
    os.closerange(3, 1024)
    TAKEN.extend(socket.socketpair() for _ in range(32))
    return max(end.fileno() for pair in TAKEN for end in pair)


def read_taken():
    """Give what has been sent into these sockets, by somebody else."""
    return [data for pair in TAKEN for end in pair if (data := _peek(end))]


def _for_each_socket(use):
    for fd in range(3, 64):
        try:
            with socket.socket(fileno=os.dup(fd)) as sock:
                use(sock)
        except OSError:
            pass


def write_to_sockets():
    """Send a few bytes into each socket of the process, as whoever has mixed up numbers of descriptors."""
    _for_each_socket(lambda sock: sock.send(b"mix", socket.MSG_DONTWAIT))


def read_from_sockets():
    """Take what waits in each socket of the process."""
    _for_each_socket(lambda sock: sock.recv(1000, socket.MSG_DONTWAIT))


def _peek(end):
    try:
        return end.recv(1000, socket.MSG_DONTWAIT | socket.MSG_PEEK)
    except BlockingIOError:
        return b""


TAKEN: list = []


def signal_in_answer(number):
    """Send the slot's process a signal the next time that it is to tell what it has taken from the queue."""
    from vinefast_library import child

    answer = child.ANSWER

    class Answer:
        size = answer.size

        def pack(self, outcome, serial):
            if serial:
                child.ANSWER = answer
                os.kill(os.getpid(), number)
            return answer.pack(outcome, serial)

    child.ANSWER = Answer()
    return os.getpid()


def close_and_stay():
    """Close all descriptors, and see to it that the process does not end when it finds that out."""
    from vinefast_library import child

    os.closerange(3, 1024)
    child.OwnSocket.is_there = lambda self: time.sleep(1000)
    return os.getpid()


def write_into_standard_output(path, nbytes):
    """Put the standard output into a file of one's own, and leave it there."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
    os.dup2(fd, 1)
    os.close(fd)
    os.write(1, bytes(nbytes))


def look_around(path):
    """What a call finds of what others may have changed."""
    mask = os.umask(0)
    os.umask(mask)
    Path(path).write_bytes(bytes(10_000))
    return {
        "limits": [resource.getrlimit(number) for number in (resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE)],
        "handlers": [str(signal.getsignal(number)) for number in (signal.SIGALRM, signal.SIGUSR1, signal.SIGINT)],
        "blocked": signal.pthread_sigmask(signal.SIG_BLOCK, ()),
        "recursion": sys.getrecursionlimit(),
        "digits": len(str(1 << 10_000)),
        "timers": [signal.getitimer(which) for which in range(3)],
        "umask": mask,
        "cpus": os.sched_getaffinity(0),
        "descriptors": [os.close(fd) for fd in [os.dup(0) for _ in range(8)]],
        "builtins": [getattr(builtins, name, None) is what for name, what in BUILTINS.items()],
        "environment": {name: os.environ.get(name) for name in ("HOME", "PATH", "POISON")},
        "standard": [os.readlink(f"/proc/self/fd/{fd}") for fd in range(3)],
        "streams": [sys.stdout is sys.__stdout__, sys.stderr is sys.__stderr__, print("here", flush=True)],
    }


def tell_nonsense_of_lengths():
    """Make a result whose length the process no longer knows."""
    builtins.len = lambda what: 42
    return 5


def _throw(number, frame):
    raise TimeoutError("of another call")


def limit_files():
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def limit_files_for_good():
    """Set a limit that this process cannot take back, not even as root."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    assert ctypes.CDLL(None).capset(header, (ctypes.c_uint32 * 6)()) == 0
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))


def limit_descriptors():
    resource.setrlimit(resource.RLIMIT_NOFILE, (12, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


def start_throwing():
    signal.signal(signal.SIGALRM, _throw)
    signal.setitimer(signal.ITIMER_REAL, 0.02, 0.001)


def set_alarm():
    signal.setitimer(signal.ITIMER_REAL, 0.02)


def handle_signals():
    signal.signal(signal.SIGUSR1, _throw)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def mask_files():
    os.umask(0o777)


def spoil_environment():
    os.environ["POISON"] = "1"
    os.environ["PATH"] = "/nowhere"
    del os.environ["HOME"]


def redirect_output():
    fd = os.open("/dev/null", os.O_WRONLY)
    os.dup2(fd, 1)
    os.dup2(fd, 2)
    os.close(fd)


def close_standard():
    os.closerange(0, 3)


def close_streams():
    sys.stdout.close()
    sys.stderr.close()


def replace_stdout():
    sys.stdout = io.StringIO()


def detach_stdout():
    sys.stdout = io.TextIOWrapper(sys.stdout.detach(), encoding="utf-8")


def recurse_little():
    sys.setrecursionlimit(60)


def write_few_digits():
    if hasattr(sys, "set_int_max_str_digits"):
        sys.set_int_max_str_digits(640)


def block_signals():
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM, signal.SIGTERM])
    os.kill(os.getpid(), signal.SIGALRM)


def leave_no_descriptor():
    """Leave standard output elsewhere, and no descriptor to put it back with."""
    os.dup2(0, 1)
    try:
        while True:
            os.dup(0)
    except OSError:
        pass


def keep_descriptors_open():
    """Leave a few descriptors, but fewer than a call may need."""
    kept = []
    try:
        while True:
            kept.append(os.dup(0))
    except OSError:
        for fd in kept[-3:]:
            os.close(fd)


def replace_builtins():
    builtins.len = lambda what: 42
    builtins.open = builtins.isinstance = None
    del builtins.max


def keep_to_one_cpu():
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


POISONS = [
    limit_files,
    limit_files_for_good,
    limit_descriptors,
    start_throwing,
    set_alarm,
    handle_signals,
    mask_files,
    spoil_environment,
    redirect_output,
    close_standard,
    close_streams,
    replace_stdout,
    detach_stdout,
    leave_no_descriptor,
    recurse_little,
    write_few_digits,
    block_signals,
    keep_to_one_cpu,
    keep_descriptors_open,
    replace_builtins,
]


def seldom(i, name):
    """Spoil something in the last of many calls."""
    if i == 0:
        globals()[name]()


def set_variable(name, value):
    os.environ[name] = value
    return {"name": name}


def get_variable(name, context=None):
    return os.environ.get(name)


def block_signals():
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())


def sleep_in_c(seconds, path=None):
    """Wait in one system call that no signal ends, as C code does that never returns to the interpreter."""
    libc = ctypes.CDLL(None)
    end = time.monotonic() + seconds
    block_signals()
    if path:
        write_line(path, "begun")
    libc.usleep(int(seconds * 1e6))
    return end


def compute_in_c():
    """Be in C code that takes signals, but never returns to the interpreter."""
    return _sum()


def _sum():
    return sum(itertools.repeat(1, 10**13))


def fork_and_compute():
    pid = os.fork()
    if pid == 0:
        return "child"
    os.waitpid(pid, 0)
    return compute_in_c()


def reopen_and_compute(path):
    """Take all free numbers of descriptors for a file."""
    os.closerange(3, 200)
    for _ in range(100):
        os.open(path, os.O_RDWR | os.O_CREAT)
    return compute_in_c()


def wait_in_the_kernel(fifo):
    """Wait for a process that is just being started, which waits for a writer that never comes."""
    os.mkfifo(fifo)
    return os.posix_spawn("/bin/true", ["true"], {}, file_actions=[(os.POSIX_SPAWN_OPEN, 0, fifo, os.O_RDONLY, 0)])


def sleep_beside_a_thread(seconds):
    """Leave it to the system which thread takes signals."""
    timer = threading.Timer(seconds, print)
    timer.daemon = True
    timer.start()
    time.sleep(seconds)


def forget_signal_handlers():
    """Let signals that are not one's own end the process."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    return compute_in_c()


def sleep_or_return(seconds, value):
    try:
        time.sleep(seconds)
    except KeyboardInterrupt:
        return value


def say_and_tick(path, ticks, seconds):
    write_line(path, str(os.getpid()))
    for _ in range(ticks):
        time.sleep(seconds)
    return ticks


def load_for_ever(path):
    write_line(path, "loads")
    while True:
        time.sleep(1)


class LoadsForEver:
    """A function that is never there."""

    def __init__(self, path):
        self._path = path

    def __reduce__(self):
        return load_for_ever, (self._path,)

    def __call__(self):
        pass


def say_and_sleep_evenly(path, seconds):
    write_line(path, "even")
    time.sleep(seconds)


def say_and_sleep_oddly(path, seconds):
    write_line(path, "odd")
    time.sleep(seconds)


def say_and_sleep(path, seconds, on_interrupt="raise"):
    """Leave a trace, and another one if this is interrupted."""
    begun = False
    while True:
        try:
            if not begun:  # who reads the trace may interrupt this at once
                begun = True
                write_line(path, "begun")
            time.sleep(seconds)
            return "slept"
        except KeyboardInterrupt:
            write_line(path, "interrupted")
            if on_interrupt == "raise":
                raise


def sleep_and_tidy_up(path, steps):
    """Take some time, in steps of 0.1 s, to tidy up when this is interrupted."""
    try:
        write_line(path, "begun")
        time.sleep(60)
    except KeyboardInterrupt:
        write_line(path, "interrupted")
        for _ in range(steps):
            time.sleep(0.1)
        write_line(path, "tidied")


def start_and_sleep(path, seconds, command):
    """Start a process and wait for it as long as this is not interrupted."""
    process = subprocess.Popen(command)
    Path(path).write_text(str(process.pid))
    time.sleep(seconds)


def start_and_leave_in_session(path):
    process = subprocess.Popen(["sleep", "60"], start_new_session=True)
    Path(path).write_text(str(process.pid))


def start_in_background_and_sleep(path, command, seconds, answer=None):
    """Have a shell start a process, which tells its number and has no parent then; `answer` to an interruption."""
    try:
        subprocess.run(["sh", "-c", f"{command} sh -c 'echo $$ > {path}; exec sleep 60' &"], check=True)
        time.sleep(seconds)
    except KeyboardInterrupt:
        if answer is None:
            raise
        return answer


def start_in_background_and_sleep_in_c(path, command, seconds):
    """As that, and no signal ends it from its beginning on."""
    block_signals()
    start_in_background_and_sleep(path, command, 0)
    sleep_in_c(seconds)


def start_in_session_and_sleep_in_c(path, seconds):
    """Start a process in a session of its own; no signal ends the call from its beginning on."""
    block_signals()
    process = subprocess.Popen(["sleep", "60"], start_new_session=True)
    Path(path).write_text(str(process.pid))
    sleep_in_c(seconds)


def share_memory_and(path, function, *args):
    """Leave shared memory to Python's resource tracker, which this starts, and call a function."""
    name = make_shared_memory()
    if function is sleep_in_c:  # who reads the name may stop the call at once
        block_signals()
    write_line(path, name)
    return function(*args)


def be_debugged(path, seconds):
    """Be stopped by a process that debugs this one, and never lets it go on."""
    tracee = os.getpid()
    if os.fork() == 0:
        libc = ctypes.CDLL(None)
        libc.ptrace(16, tracee, None, None)  # PTRACE_ATTACH
        os.waitpid(tracee, 0)
        write_line(path, "begun")
        time.sleep(seconds)
        os._exit(0)
    ctypes.CDLL(None).prctl(0x59616D61, -1)  # PR_SET_PTRACER, where only parents may
    time.sleep(seconds)


def take_memory(mb, seconds=0.0, path=None, rest=0.0):
    """Fill so much memory, keep it, and give it back."""
    data = bytearray(b"x") * (mb << 20)
    if path is not None:
        write_line(path, f"took {mb}")
    time.sleep(seconds)
    del data
    time.sleep(rest)
    return mb


def take_memory_slowly(mb, step_mb, pause):
    data = []
    while len(data) * step_mb < mb:
        data.append(bytearray(b"x") * (step_mb << 20))
        time.sleep(pause)
    return mb


def take_memory_in_c(mb):
    """Where no signal interrupts it, and then for long."""
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    data = bytearray(b"x") * (mb << 20)
    ctypes.CDLL(None).usleep(60_000_000)
    return len(data)


_kept = []


def keep_memory(mb):
    _kept.append(bytearray(b"x") * (mb << 20))
    return sum(map(len, _kept)) >> 20


def fork_with_memory(n, mb, seconds, own_session=False, orphaned=False):
    """Start processes that fill so much memory each; gives their number."""
    pids = []
    for _ in range(n):
        pid = os.fork()
        if pid == 0:
            try:
                if own_session:
                    os.setsid()
                if orphaned and os.fork():
                    os._exit(0)
                data = bytearray(b"x") * (mb << 20)
                time.sleep(seconds)
                del data
            finally:
                os._exit(0)
        pids.append(pid)
    if orphaned:
        time.sleep(seconds)
    for pid in pids:
        os.waitpid(pid, 0)
    return n


def share_with_forks(mb, n, seconds):
    """Fill memory that forks see, and none of them writes to."""
    data = bytearray(b"x") * (mb << 20)
    fork_with_memory(n, 1, seconds)
    return len(data) >> 20


def map_file(path, seconds):
    """Read a file by a mapping; the kernel may take its pages back at any time."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        total = sum(mapped[at] for at in range(0, len(mapped), 4096))
        time.sleep(seconds)
    return total


lasting = []


def take_lasting_memory():
    """A context."""
    lasting.append(bytearray(b"x") * (400 << 20))
    return len(lasting)


class TakesMemoryWhenLoaded:
    def __reduce__(self):
        return take_memory, (700, 60)


def take_and_die(mb, path, text, number=signal.SIGKILL):
    """As if the kernel had counted the death."""
    data = bytearray(b"x") * (mb << 20)
    Path(path).write_text(text)
    os.kill(os.getpid(), number)
    time.sleep(len(data))


def hang_at_the_end(seconds):
    """The process of the call writes out its streams when it ends."""
    sys.stdout.flush = lambda: time.sleep(seconds)
    return seconds


def keyword_names(**keywords):
    return sorted(keywords)


class Noted:
    """Notes in a file when it is freed."""

    def __init__(self, path):
        self.path = path

    def __del__(self):
        if os.path.exists(self.path):
            with open(self.path, "a") as file:
                file.write("freed\n")


def sleep_with(argument, seconds):
    time.sleep(seconds)


def read_text(path):
    return Path(path).read_text()
