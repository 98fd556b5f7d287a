"""The shell command that runs a Python program on a worker, and the files that the program needs there."""

from __future__ import annotations

import functools
import glob
import importlib.util
import io
import marshal
import os
import shlex
import sys
import sysconfig
import zipfile
from collections.abc import Iterator, Sequence
from importlib.machinery import SourceFileLoader

import cloudpickle

from vinefast import library
from vinefast.library.by_value import PACKAGES
from vinefast.library.protocol import VINEFAST_INIT_COMMAND, VINEFAST_INIT_STATUS
from vinefast.workers.environment import PYTHON, Environment

LIBRARY_PACKAGE = "vinefast_library"

# In the sandbox of a worker's task.
LIBRARY_ARCHIVE = f"{LIBRARY_PACKAGE}.zip"
SCRIPT_NAME = "vinefast_environment.sh"
ARCHIVE_NAME = "vinefast_environment"

# Of an archive that is run as a program.
_MAIN = b"from vinefast_library.checked import main\n\nmain()\n"

# The archive of one installation is the same bytes each time.
_NO_DATE = (1980, 1, 1, 0, 0, 0)

# Sent as they are: they tell a Python of another version that it is the wrong one (library/checked.py).
_FOR_ANY_PYTHON = ("__init__.py", "arguments.py", "checked.py", "protocol.py", "refusal.py")


def program_path() -> list[str]:
    """Give the directories where this program finds modules of its own, neither Python's nor installed ones."""
    installed = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})
    return [
        os.path.abspath(directory)
        for directory in sys.path
        if not directory.startswith(installed)
        and os.path.basename(directory) not in ("site-packages", "dist-packages")
        and os.path.isdir(os.path.abspath(directory))
    ]


def library_archive() -> bytes:
    """Give the program that runs calls on workers: a zip file that Python runs (`zipapp`), one file for any worker.

    It holds byte code, since a worker has no directory of its own where what it compiles would stay: it would compile
    all of it for each library, and in the regular mode for each call.

    Raises
    ------
    OSError
        If a file of the installation cannot be read.
    """
    archive = io.BytesIO()
    # Not compressed, which would take each start of a library longer than the network takes to send it once.
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as file:
        for content, name in _library_files():
            file.writestr(zipfile.ZipInfo(name, _NO_DATE), content)
    return archive.getvalue()


def _library_files() -> Iterator[tuple[bytes, str]]:
    yield _MAIN, "__main__.py"
    yield from _package(os.path.dirname(library.__file__), "", _FOR_ANY_PYTHON)
    yield from _package(os.path.dirname(cloudpickle.__file__), os.path.join(PACKAGES, "cloudpickle"), ())


def _package(directory: str, name: str, sources: Sequence[str]) -> Iterator[tuple[bytes, str]]:
    for path in sorted(glob.glob(os.path.join(glob.escape(directory), "*.py"))):
        module = os.path.basename(path)
        if module in sources:
            with open(path, "rb") as file:
                content = file.read()
        else:
            content, module = _byte_code(path), f"{module}c"
        yield content, os.path.join(LIBRARY_PACKAGE, name, module)


def library_program(module: str) -> str:
    """Give what follows ``python3`` in the shell command of a task that runs a module of the library.

    Its place is absolute, since a call may go to another directory before the library imports its last module.
    """
    return f'"$PWD/{LIBRARY_ARCHIVE}" {PYTHON} {module}'


@functools.cache
def _byte_code(path: str) -> bytes:
    """Give a module as a .pyc file that is taken as it is: nobody looks for its source, nor at the hash (PEP 552)."""
    code = SourceFileLoader(path, path).get_code(path)
    return importlib.util.MAGIC_NUMBER + (1).to_bytes(4, "little") + bytes(8) + marshal.dumps(code)


# Without it, a worker would try in vain to start the program, and say nothing of why.
_PYTHON_LEFT = """\
if [ -n "$vinefast_before" ] && ! command -v python3 >/dev/null; then
echo "There is no python3 on PATH after it: $PATH"
exit 127
fi"""


def environment_command(environment: Environment, program: str, init_command: str = "", keep_path: bool = False) -> str:
    """Give the shell command that runs a Python program in an environment on a worker; arguments may be appended.

    A ``PYTHONPATH`` of the worker's own would bring packages of another environment, so it goes unless `keep_path`.
    """
    # The directories of a worker's tasks lie side by side.
    run = environment.command(SCRIPT_NAME, ARCHIVE_NAME, parent="..")
    lines = ["" if keep_path else "unset PYTHONPATH", f"exec {run} python3 {program}"]
    return _after(init_command, [line for line in lines if line])


def python_command(program: str, init_command: str = "", python: str | None = sys.executable) -> str:
    """Give the shell command that runs a Python program on a worker; arguments may be appended.

    The submit side's interpreter is preferred where it exists, since it has the packages that the calls need; but a
    ``python3`` that `init_command` brings is there for a reason.
    """
    usable = f"[ -x {shlex.quote(python or '')} ]"
    if init_command:
        usable = f'[ "$vinefast_python" = "$vinefast_before" ] && {usable}'
    start = [
        # There may be none, which is to end no shell in which `init_command` has said `set -e`.
        'vinefast_python="$(command -v python3)" || :',
        f"if {usable}; then vinefast_python={shlex.quote(python or '')}; fi",
        f'exec "${{vinefast_python:-python3}}" {program}',
    ]
    return _after(init_command, start, _PYTHON_LEFT)


def _after(init_command: str, start: list[str], check: str = "") -> str:
    """Give the shell command that runs `init_command` and then `start`, the last line of which takes arguments.

    If `init_command` ends the shell, for which an error of syntax is enough, the program is started nevertheless, and
    answers calls with the reason (library/checked.py). A status other than 0 alone is no failure, since a test for
    something optional may be the last thing that it does; but it is one before ``&&``, as which stock takes it, and so
    is 127, by which a shell tells that there is no such command.
    `check` may end the shell as well, after `init_command`.
    """
    if not init_command:
        return "\n".join(start)
    required = init_command.rstrip().endswith("&&")
    init_command = init_command.rstrip().removesuffix("&&")
    return f"""\
vinefast_init={shlex.quote(init_command)}
vinefast_start() {{
unset IFS
cd "$vinefast_home"
{chr(10).join(start)} $vinefast_arguments
}}
vinefast_refuse() {{
{VINEFAST_INIT_STATUS}=$?
{VINEFAST_INIT_COMMAND}="$vinefast_init"
trap - EXIT
PATH="$vinefast_path"
export PATH {VINEFAST_INIT_STATUS} {VINEFAST_INIT_COMMAND}
vinefast_start
}}
vinefast_run() {{
vinefast_home="$PWD" vinefast_path="$PATH" vinefast_arguments="$*"
vinefast_before="$(command -v python3)"
trap vinefast_refuse EXIT
eval "$vinefast_init"{" || exit" if required else f"{chr(10)}[ $? != 127 ] || exit 127"}
{check}
trap - EXIT
vinefast_start
}}
vinefast_run"""
