"""Find TaskVine and probe what it offers: shared by setup.py, scripts/install-taskvine and the Makefile."""

from __future__ import annotations

import argparse
import ctypes
import os
import re
import shlex
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import border

CHECKOUT = Path(__file__).resolve().parent.parent
PRIVATE_PREFIX = CHECKOUT / ".taskvine"
SYSTEM_PREFIX = Path("/usr")
GLIBC_SHIM = CHECKOUT / "csrc" / "vf_glibc_shim.c"
ENV_PREFIX = "VINEFAST_TASKVINE_PREFIX"
ARCHIVES = ("libtaskvine.a", "libdttools.a")
# In the prefix that wheels/build.py makes, and nowhere else: what is linked by wheels/link.py alone.
LIBRARY_ARCHIVES = ("libssl.a", "libcrypto.a", "libz.a")
ENGINE_INSIDE_VARIABLE = "VINEFAST_ENGINE_INSIDE"
OLDEST = (7, 14)

# Whatever CFLAGS say: when the linker compiles (LTO), it replaces no function (--wrap) that it sees whole.
NO_LTO = "-fno-lto"
COMPILE_ARGS = [
    *("-std=gnu11", "-Werror=implicit-function-declaration", "-O3", "-g1", "-fvisibility=hidden", "-pthread"),
    NO_LTO,
]

HOW_TO_INSTALL = """\
TaskVine is part of cctools, which is not on PyPI. Install it in one of these ways:
  conda:                       conda install -c conda-forge ndcctools
  Debian 13, recent Ubuntu:    sudo apt install coop-computing-tools coop-computing-tools-dev
  older Debian, or no root:    scripts/install-taskvine    (in the sources of vinefast)
An installation elsewhere is found through VINEFAST_TASKVINE_PREFIX=PREFIX; scripts/install-taskvine --prefix PREFIX
makes one."""

# What some supported releases lack: the macro VF_HAVE_<key> is defined where the line links.
FEATURES = {
    "RESULT_SANDBOX_EXHAUSTION": "vine_result_t r = VINE_RESULT_SANDBOX_EXHAUSTION; (void)r;",
    "RESULT_MISSING_LIBRARY": "vine_result_t r = VINE_RESULT_MISSING_LIBRARY; (void)r;",
    "SCHEDULE_DISK": "vine_schedule_t s = VINE_SCHEDULE_DISK; (void)s;",
    "PROPORTIONAL_RESOURCES": "vine_enable_proportional_resources(0);",
    "CANCEL_ALL_BY_TAG": 'vine_cancel_all_by_tag(0, "");',
    "RUNTIME_DIRECTORY": "vine_get_runtime_directory(0);",
    "PRUNE_FILE_COUNT": "int n = vine_prune_file(0, 0); (void)n;",
    "STATS_TASKS_RECOVERY": "struct vine_stats s; (void)s.tasks_recovery;",
}

MACHINES = {3: "i386", 40: "arm", 21: "ppc64", 62: "x86_64", 183: "aarch64", 243: "riscv64"}


class TaskVineError(Exception):
    """TaskVine, or what is needed to link it, is missing or unfit; the message says what to do."""


@dataclass(frozen=True)
class Installation:
    """A prefix with everything that vinefast links and runs."""

    prefix: Path
    origin: str
    include: Path
    libdir: Path
    worker: Path

    @property
    def archives(self) -> list[Path]:
        """The archives in link order."""
        return [self.libdir / name for name in ARCHIVES]


@dataclass(frozen=True)
class Engine:
    """A probed installation: what a build against it needs."""

    installation: Installation
    version: str
    features: list[str]
    macros: list[tuple[str, str]]
    wrap_args: list[str]
    link_args: list[str]

    @property
    def is_known(self) -> bool:
        """Whether the border was compared with the sources of this release."""
        return border.release_of(self.version) in map(border.release_of, border.COMPARED)


def candidates() -> Iterator[tuple[str, Path]]:
    """Yield (origin, prefix) in search order."""
    if prefix := os.environ.get(ENV_PREFIX):
        # An explicit choice is never silently replaced by another installation.
        yield ENV_PREFIX, Path(prefix).expanduser().absolute()
        return
    if prefix := os.environ.get("CONDA_PREFIX"):
        yield "CONDA_PREFIX", Path(prefix)
    if worker := shutil.which("vine_worker"):
        yield "vine_worker on PATH", Path(worker).absolute().parent.parent
    yield "system", SYSTEM_PREFIX
    yield "scripts/install-taskvine", PRIVATE_PREFIX


def inspect(origin: str, prefix: Path) -> tuple[Installation | None, list[str]]:
    """Return the installation at prefix, or None and the files that it lacks, relative to prefix."""
    # Debian may move the archives to the multiarch directory, which comes last as plain lib has them today.
    libdirs = [prefix / "lib", prefix / "lib64", *sorted(prefix.glob("lib/*-linux-gnu*"))]
    libdir = next((path for path in libdirs if all((path / name).is_file() for name in ARCHIVES)), None)
    needed = ["include/cctools/taskvine.h", "bin/vine_worker"]
    if libdir is None:
        needed += [f"lib/{name}" for name in ARCHIVES]
    missing = [name for name in needed if not (prefix / name).is_file()]
    if missing or libdir is None:
        return None, missing
    return Installation(prefix, origin, prefix / "include/cctools", libdir, prefix / "bin/vine_worker"), []


def find() -> Installation:
    """Return the first usable installation, or raise with every path tried."""
    tried = []
    for origin, prefix in candidates():
        found, missing = inspect(origin, prefix)
        if found:
            return found
        tried.append(f"  {prefix} ({origin}): no {', '.join(missing)}")
    raise TaskVineError("No usable TaskVine was found. Tried:\n" + "\n".join(tried) + "\n\n" + HOW_TO_INSTALL)


def worker_version(worker: Path) -> str:
    """Return the version that vine_worker reports, such as '7.14.5'."""
    try:
        run = subprocess.run([worker, "--version"], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TaskVineError(f"{worker} does not run: {error}") from error
    match = re.search(r"\bversion (\d+\.\d+\.\d+)", run.stdout)
    if run.returncode or not match:
        words = (run.stderr or run.stdout).strip() or f"exit status {run.returncode}"
        raise TaskVineError(
            f"{worker} does not run: {words}\nIf scripts/install-taskvine made it and it was moved, run that again."
        )
    return match[1]


def elf_machine(data: bytes) -> str | None:
    """Return the architecture of the first ELF object in data."""
    start = data.find(b"\x7fELF")
    if start < 0 or len(data) < start + 20:
        return None
    order = "<" if data[start + 5] == 1 else ">"
    (machine,) = struct.unpack_from(order + "H", data, start + 18)
    return MACHINES.get(machine, f"ELF machine {machine}")


class Trial:
    """Compiles and links small programs with the commands of a setuptools compiler, in a directory of its own."""

    def __init__(self, compiler, directory: Path) -> None:
        self.compile_command: list[str] = compiler.compiler_so
        self.link_command: list[str] = compiler.linker_exe
        self.share_command: list[str] = compiler.linker_so
        self.directory = directory
        self.words = ""
        self.count = 0

    def compile(self, source: Path | str, include_dirs: Sequence[Path] = (), options: Sequence[str] = ()) -> str | None:
        """Return the object file, or None; then self.words is what the compiler said."""
        if isinstance(source, str):
            path = self._fresh(".c")
            path.write_text(source + "\n")
            source = path
        includes = [f"-I{path}" for path in include_dirs]
        strict = [*COMPILE_ARGS, "-O0", *options]
        return self._make(".o", [*self.compile_command, *includes, "-c", str(source), *strict])

    def link(self, objects: Sequence[str], args: Sequence[str]) -> str | None:
        """Return the program, or None; then self.words is what the linker said."""
        return self._make(".out", [*self.link_command, *objects, *args, "-pthread"])

    def share(self, objects: Sequence[str], args: Sequence[str]) -> str | None:
        """Return the shared library, or None; then self.words is what the linker said."""
        return self._make(".so", [*self.share_command, *objects, *args, "-pthread"])

    def find_tool(self, name: str) -> str:
        """Return the binary tool that goes with the compiler, unless the environment names one."""
        if chosen := os.environ.get(name.upper()):
            return chosen
        command = [*self.link_command[:1], f"-print-prog-name={name}"]
        return subprocess.run(command, capture_output=True, text=True).stdout.strip() or name

    def last_words(self, lines: int = 6) -> str:
        return "\n".join("  " + line for line in self.words.splitlines()[:lines])

    def _fresh(self, suffix: str) -> Path:
        self.count += 1
        return self.directory / f"trial{self.count}{suffix}"

    def _make(self, suffix: str, command: list[str]) -> str | None:
        target = self._fresh(suffix)
        env = {**os.environ, "LC_ALL": "C"}
        try:
            run = subprocess.run([*command, "-o", target], capture_output=True, text=True, errors="replace", env=env)
        except OSError as error:
            raise TaskVineError(
                f"The C compiler {command[0]} cannot be run ({error.strerror}): install one, on Debian and Ubuntu with"
                " sudo apt install gcc libc6-dev, or name yours with CC=."
            ) from error
        self.words = run.stderr.strip()
        return None if run.returncode else str(target)


def library_args(trial: Trial, installation: Installation) -> list[str]:
    """Return the linker arguments for the libraries under the engine: of the prefix, or what this machine has."""
    if os.environ.get(ENGINE_INSIDE_VARIABLE) == "1":
        return [*(str(installation.libdir / name) for name in LIBRARY_ARCHIVES), "-lm"]
    args = []
    if installation.prefix != SYSTEM_PREFIX and any(installation.libdir.glob("libcrypto.so*")):
        # Such as conda, whose libraries no default search path knows.
        args += [f"-L{installation.libdir}", f"-Wl,-rpath,{installation.libdir}"]
    main = trial.compile("int main(void) { return 0; }")
    for name, soname, package in (
        ("ssl", "libssl.so.3", "libssl-dev"),
        ("crypto", "libcrypto.so.3", "libssl-dev"),
        ("z", "libz.so.1", "zlib1g-dev"),
        ("m", "libm.so.6", "libc6-dev"),
    ):
        # Without -dev packages there is no lib*.so, but the runtime library links as well.
        choice = next((arg for arg in (f"-l{name}", f"-l:{soname}") if trial.link([main], [*args, arg])), None)
        if choice is None:
            raise TaskVineError(
                f"The linker finds neither lib{name}.so nor {soname}, which TaskVine needs:"
                f" install it, on Debian and Ubuntu with sudo apt install {package}.\n{trial.last_words()}"
            )
        args.append(choice)
    return args


def check_compiler(trial: Trial, python_include: Sequence[Path]) -> str:
    """Raise the sentence that fits if C11 or Python.h is missing; return the object file of a C11 program."""
    if not trial.compile("int main(void) { return 0; }"):
        raise TaskVineError(f"The C compiler does not compile an empty program:\n{trial.last_words()}")
    c11 = trial.compile(
        "#if !defined __STDC_VERSION__ || __STDC_VERSION__ < 201112L\n#error C11 is needed\n#endif\n"
        '#include <stdatomic.h>\n_Static_assert(1, "");\natomic_int n; int main(void) { return n; }'
    )
    if not c11:
        command = trial.compile_command[0]
        raise TaskVineError(
            f"The C compiler ({command}) does not know C11 with atomics: use gcc 4.9, clang 3.6 or newer,"
            f" for example with CC=gcc.\n{trial.last_words()}"
        )
    if not trial.compile("#include <Python.h>", python_include):
        raise TaskVineError(
            f"Python.h does not compile for {sys.executable}: install Python's headers, on Debian and Ubuntu"
            f" with sudo apt install python3-dev.\n{trial.last_words()}"
        )
    return c11


def check_linker(trial: Trial) -> None:
    """Raise unless the linker replaces functions (--wrap) as GNU ld does: where another object calls them alone."""
    seen = '__attribute__((visibility("default"))) int'
    inner = trial.compile(f"int inner(void) {{ return 1; }} {seen} own(void) {{ return inner(); }}", [], ["-fPIC"])
    outer = trial.compile(
        f"int inner(void); {seen} other(void) {{ return inner(); }} int __wrap_inner(void) {{ return 2; }}",
        [],
        ["-fPIC"],
    )
    linked = inner and outer and trial.share([inner, outer], ["-Wl,--wrap=inner"])
    command = " ".join(trial.share_command)
    if not linked:
        raise TaskVineError(f"The linker ({command}) makes no shared library:\n{trial.last_words()}")
    try:
        library = ctypes.CDLL(linked)
    except OSError as error:
        raise TaskVineError(
            f"What the linker ({command}) makes cannot be loaded: {error}\nIf files in {trial.directory.parent} must"
            " not be executed (noexec), name another directory with TMPDIR."
        ) from error
    if (library.other(), library.own()) != (2, 1):
        raise TaskVineError(
            f"The linker ({command}) replaces functions otherwise than GNU ld does, or not at all (--wrap), and"
            " vinefast would hang: link with GNU ld, for example with LDFLAGS=-fuse-ld=bfd."
        )


def check_architecture(installation: Installation, sample: str) -> None:
    ours = elf_machine(Path(sample).read_bytes())
    for archive in installation.archives:
        theirs = elf_machine(archive.read_bytes())
        if ours and theirs != ours:
            raise TaskVineError(
                f"{archive} is built for {theirs or 'no architecture known here'}, but this compiler makes {ours}:"
                f" install a TaskVine for {ours}.\n\n{HOW_TO_INSTALL}"
            )


def probe(compiler, installation: Installation | None = None, python_include: Sequence[Path] = ()) -> Engine:
    """Compile and link against the installation that is found; raise TaskVineError with the reason if that fails."""
    installation = installation or find()
    with tempfile.TemporaryDirectory(prefix="vinefast-probe-") as directory:
        trial = Trial(compiler, Path(directory))
        check_architecture(installation, check_compiler(trial, python_include))
        check_linker(trial)

        include = [installation.include]
        if not trial.compile('#include "taskvine.h"', include):
            raise TaskVineError(f"{installation.include}/taskvine.h does not compile:\n{trial.last_words()}")
        main = trial.compile(
            '#include "taskvine.h"\n#include "cctools.h"\n'
            # Never called, but it draws in the whole manager.
            "void *keep[] = {(void *)vine_create, (void *)vine_wait};\n"
            "int main(void) { puts(cctools_version_string()); return !keep[0]; }",
            include,
        )
        shim = trial.compile(GLIBC_SHIM)
        if not main or not shim:
            raise TaskVineError(f"A program for TaskVine does not compile:\n{trial.last_words()}")
        link_args = [*map(str, installation.archives), *library_args(trial, installation)]
        program = trial.link([main, shim], link_args)
        if not program:
            raise TaskVineError(f"A program for TaskVine at {installation.prefix} does not link:\n{trial.last_words()}")
        version = subprocess.run([program], capture_output=True, text=True).stdout.strip()
        if not version:
            raise TaskVineError(f"A program linked with TaskVine at {installation.prefix} does not run.")
        if tuple(map(int, version.split(".")[:2])) < OLDEST:
            raise TaskVineError(
                f"TaskVine {version} at {installation.prefix} is too old: {OLDEST[0]}.{OLDEST[1]} or newer is needed."
                f"\n\n{HOW_TO_INSTALL}"
            )
        if (worker := worker_version(installation.worker)) != version:
            raise TaskVineError(
                f"{installation.prefix} mixes two releases: its archives are {version}, its vine_worker is {worker}."
            )
        check_border(trial, installation, version)
        features = [name for name, line in FEATURES.items() if has_feature(trial, line, include, [shim], link_args)]
    macros = [("VF_TASKVINE", str(border.release_of(version))), *((f"VF_HAVE_{name}", "1") for name in features)]
    return Engine(installation, version, features, macros, border.wrap_args(version), link_args)


def check_border(trial: Trial, installation: Installation, version: str) -> None:
    tools = {name: trial.find_tool(name) for name in ("nm", "ar", "readelf")}
    release = border.release_of(version)
    types = trial.compile(
        border.types_source(), [border.CSRC, installation.include], ["-g2", f"-DVF_TASKVINE={release}"]
    )
    if not types:
        raise TaskVineError(f"csrc/taskvine_private.h does not compile for TaskVine {version}:\n{trial.last_words()}")
    try:
        misfits = [
            *border.misfits(version, installation.archives, tools["nm"]),
            *border.type_misfits(installation.archives[0], types, tools, trial.directory),
        ]
    except (OSError, subprocess.CalledProcessError) as error:
        words = getattr(error, "stderr", "") or ""
        raise TaskVineError(
            f"What the archives of TaskVine hold cannot be read: {error}\n{words}Install what reads them, on Debian"
            " and Ubuntu with sudo apt install binutils, or name yours with NM=, AR= and READELF=."
        ) from error
    if misfits:
        lines = "\n".join(f"  {misfit}." for misfit in misfits)
        raise TaskVineError(
            f"TaskVine {version} at {installation.prefix} is not as vinefast needs it inside:\n{lines}\n"
            f"vinefast was compared with the releases {', '.join(border.COMPARED)}: use one of these, or a newer"
            f" vinefast.\n\n{HOW_TO_INSTALL}"
        )


def has_feature(trial: Trial, line: str, include: Sequence[Path], objects: list[str], link_args: list[str]) -> bool:
    # Linked too, since headers have declared functions that the archive lacks.
    program = trial.compile(f'#include "taskvine.h"\nint main(void) {{ {line} return 0; }}', include)
    return program is not None and trial.link([program, *objects], link_args) is not None


def default_compiler():
    """Return the compiler that setuptools would use, which obeys CC."""
    import setuptools  # noqa: F401, I001 (it provides distutils where Python no longer does)
    from distutils.ccompiler import new_compiler
    from distutils.sysconfig import customize_compiler

    compiler = new_compiler()
    customize_compiler(compiler)
    return compiler


def main() -> int:
    """Print the flags of the engine, for the Makefile."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("what", choices=["version", "cflags", "libs"])
    what = parser.parse_args().what
    try:
        engine = probe(default_compiler(), python_include=python_include())
    except TaskVineError as error:
        print(error, file=sys.stderr)
        return 1
    if what == "version":
        print(engine.version)
    elif what == "cflags":
        print(shlex.join([f"-I{engine.installation.include}", *(f"-D{k}={v}" for k, v in engine.macros)]))
    else:
        print(shlex.join([*engine.wrap_args, *engine.link_args]))
    return 0


def python_include() -> list[Path]:
    import sysconfig

    # In a virtual environment, setuptools looks in the environment's own headers first. Elsewhere those would be the
    # system's, which a compiler for another C library must not see.
    own = [Path(sys.prefix, "include")] if sys.prefix != sys.base_prefix else []
    return [*own, *(Path(sysconfig.get_path(name)) for name in ("include", "platinclude"))]


if __name__ == "__main__":
    sys.exit(main())
