"""Where executors differ by nature: the one table of what is compared otherwise, each row with its reason."""

from typing import NamedTuple

from tests.differential.program import Program, Step, Value

VINEFAST, THREADS, HTEX = LABELS = ("vinefast", "threads", "htex")

SAME = "as the others that are to end so"
RETURNS = "returns"
NEVER = "never"
PROGRAM_ENDS = "the program ends"
WORKER_LOST = "WorkerLost"
# What is run in a program of its own alone.
HARMFUL = (NEVER, PROGRAM_ENDS, WORKER_LOST)


class Apart(NamedTuple):
    """How a step ends where programs have a stand-in for it: a class of exceptions, or one of the words above.

    The stand-in fails as often as any step that fails, so that what depends on it ends alike on all executors.
    """

    end: str


class Absent(NamedTuple):
    """How a step ends where programs with it are not run, as what depends on it would go on with something else."""

    end: str


class Difference(NamedTuple):
    """How a step ends, by label: with an exception of a class by name, `SAME`, `Apart`, or `Absent`."""

    ends: dict[str, str | Apart | Absent]
    reason: str


def _row(reason, vinefast, threads, htex):
    return Difference(dict(zip(LABELS, (vinefast, threads, htex), strict=True)), reason)


_IS_BACK = "what processes cannot bring back, threads have already"
_NOT_LOADED = (
    "made anew, it raises: vinefast has text and traceback, threads the object, and the thread of htex that takes "
    "results ends, and with it all that htex is at"
)
_NOT_INITIALIZED = (
    "tblib, by which it is pickled where its module imports Parsl, makes it anew without its __init__: its text or "
    "value is lost, but on threads"
)
_NOT_CAUGHT = "it is no Exception: a future of Parsl's that gets one never ends, and a worker of htex ends by it"

# By app and the first argument of the step.
TABLE = {
    ("give", "generator"): _row(_IS_BACK, "SerializationError", Apart(RETURNS), "TypeError"),
    ("give", "nested generator"): _row(_IS_BACK, "SerializationError", Apart(RETURNS), "TypeError"),
    ("give", "too deep"): _row(
        "it cannot be serialized; a worker of htex ends by the traceback of that, which is as deep",
        "SerializationError",
        Apart(RETURNS),
        Apart(WORKER_LOST),
    ),
    ("give", "memoryview"): _row("vinefast brings it back as bytes", SAME, Absent(RETURNS), Absent("TypeError")),
    ("give", "big endian"): _row("dill, as htex uses it, loses the order of bytes", SAME, SAME, Absent(RETURNS)),
    ("give", "read only"): _row("dill, as htex uses it, makes arrays writable", SAME, SAME, Absent(RETURNS)),
    ("give", "undumpable"): _row(_IS_BACK, "SerializationError", Apart(RETURNS), "Own"),
    ("give", "unloadable"): _row(_NOT_LOADED, "DeserializationError", Apart(RETURNS), Apart(NEVER)),
    ("echo", Value("generator")): _row(
        "threads need not send arguments", "SerializationError", Apart(RETURNS), "SerializationError"
    ),
    ("fail", "generator"): _row(_IS_BACK, "RemoteError", "Own", "TypeError"),
    ("fail_far_down", None): _row(
        "where it is too deep differs; a worker of htex ends by the traceback",
        "RecursionError",
        "RecursionError",
        Apart(WORKER_LOST),
    ),
    ("fail", "Odd"): _row(_NOT_LOADED, "RemoteError", "Odd", Apart(NEVER)),
    ("fail", "KeywordOnly"): _row(_NOT_LOADED, "RemoteError", "KeywordOnly", Apart(NEVER)),
    ("fail", "Nameless"): _row(
        "Parsl makes the representation of each exception, and never ends a future where that raises",
        "RemoteError",
        Apart(NEVER),
        Apart(NEVER),
    ),
    ("fail", "UnicodeDecodeError"): _row(_NOT_INITIALIZED, SAME, Apart("UnicodeDecodeError"), SAME),
    ("fail", "SyntaxError"): _row(_NOT_INITIALIZED, SAME, Apart("SyntaxError"), SAME),
    ("fail", "StopIteration"): _row(_NOT_INITIALIZED, SAME, Apart("StopIteration"), SAME),
    ("fail", "SystemExit"): _row(_NOT_CAUGHT, "RemoteError", Apart(NEVER), Apart(WORKER_LOST)),
    ("fail", "KeyboardInterrupt"): _row(_NOT_CAUGHT, "RemoteError", Apart(NEVER), Apart(WORKER_LOST)),
    ("fail", "GeneratorExit"): _row(_NOT_CAUGHT, "RemoteError", Apart(NEVER), Apart(WORKER_LOST)),
    ("crash", None): _row("its process ends", "CallDied", Apart(PROGRAM_ENDS), Apart(WORKER_LOST)),
    ("slow", 20): _row(
        "vinefast ends such a call itself, in C code too; its exception is an AppTimeout, and says where the call was",
        "CallTimedOut",
        "AppTimeout",
        "AppTimeout",
    ),
    ("change", None): _row(
        "the next try has the arguments that a try has changed on threads; processes have copies",
        SAME,
        Absent(RETURNS),
        SAME,
    ),
}


def end_apart(difference: Difference, label: str) -> str | None:
    """Give how a step ends on an executor on which programs do not run it, or None: they do."""
    end = difference.ends[label]
    return end.end if isinstance(end, Apart | Absent) else None


def step_of(row: tuple[str, object]) -> Step:
    """Give a step that a row of the table is about."""
    app, first = row
    if app == "change":
        return Step(app, ([1],))
    args = () if app == "crash" else (first,)
    return Step(app, args, {"walltime": 0.2} if app == "slow" else {})


# Rows for all steps of an app.
_BY_APP = ("crash", "change")


def difference_of(step: Step) -> Difference | None:
    """Give the row for a step, or None."""
    if step.kind == "join":  # join apps run in the program, whatever the executor
        return None
    first = step.args[0] if step.args else None
    if step.app in _BY_APP:
        return TABLE[step.app, None]
    return TABLE.get((step.app, first)) if isinstance(first, str | int | Value | None) else None


def labels_of(program: Program) -> list[str]:
    """Give the executors on which a program can be run."""
    rows = [row for row in map(difference_of, program.steps) if row]
    return [label for label in LABELS if not any(isinstance(row.ends[label], Absent) for row in rows)]
