"""What csrc/vf_hooks.h and csrc/taskvine_private.h assume of TaskVine's archives, and the proof of it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from debug_info import DebugInfo

CSRC = Path(__file__).resolve().parent.parent / "csrc"
LIBC = "libc"


@dataclass(frozen=True)
class Hook:
    """A function that the linker replaces: a row of `VF_HOOKS`."""

    name: str
    first: int
    last: int
    definer: str
    callers: tuple[str, ...]
    why: str

    def is_in(self, release: int) -> bool:
        """Whether it is replaced in that release."""
        return self.first <= release <= self.last


_TABLE = (CSRC / "vf_hooks.h").read_text().replace("\\\n", " ")
_ROW = re.compile(r'\b_\((\w+), (\d+), (\d+), "(\w+)",\s+"([\w ]+)",\s+"([^"]+)"\)')
HOOKS = tuple(
    Hook(name, int(first), int(last), definer, tuple(callers.split()), why)
    for name, first, last, definer, callers, why in _ROW.findall(_TABLE)
)
# What is not read here would be replaced nowhere, and nobody would notice.
assert len(HOOKS) == len(re.findall(r"\s_\(", _TABLE)), "csrc/vf_hooks.h has rows that are not read"

_PRIVATE = (CSRC / "taskvine_private.h").read_text()
# What is called or replaced without a header of TaskVine's.
PROTOTYPES = tuple(dict.fromkeys(re.findall(r"^[a-z][\w ]*[ *](\w+)\(", _PRIVATE, re.M)))
FORMATS = tuple(re.findall(r'^#define VINE_FORMAT_\w+ "(.*)"$', _PRIVATE, re.M))
STRUCTURES = tuple(re.findall(r"^struct (\w+) \{$", _PRIVATE, re.M))
COMPARED = tuple(re.findall(r'^#define VINE_COMPARED "(.*)"$', _PRIVATE, re.M)[0].split())


def release_of(version: str) -> int:
    """Return 714 for 7.14.5, as the rows have it."""
    major, minor = version.split(".")[:2]
    return 100 * int(major) + int(minor)


def wrap_args(version: str) -> list[str]:
    """Return the linker's flags for a version of TaskVine."""
    return [f"-Wl,--wrap={hook.name}" for hook in HOOKS if hook.is_in(release_of(version))]


class Symbols:
    """Which objects in some archives define a global name, and which need it from elsewhere."""

    def __init__(self, nm: str, archives: Sequence[Path]) -> None:
        self.definers: dict[str, list[str]] = {}
        self.callers: dict[str, list[str]] = {}
        run = subprocess.run([nm, "-A", "-P", "-g", *archives], capture_output=True, text=True, check=True)
        # archive[object.o]: name type value size
        for member, name, kind in re.findall(r"\[([^]]+)\]: (\S+) (\w)\b", run.stdout):
            table = self.callers if kind in "Uwv" else self.definers
            table.setdefault(name, []).append(member.removesuffix(".o"))


def misfits(version: str, archives: Sequence[Path], nm: str) -> Iterator[str]:
    """Yield a sentence for each assumption that the archives of this version do not meet."""
    release = release_of(version)
    symbols = Symbols(nm, archives)
    hooks = [hook for hook in HOOKS if hook.is_in(release)]
    for hook in hooks:
        if trouble := _misfit(hook, symbols):
            yield f"{hook.name}(), where {hook.why}: {trouble}"
    replaced = {hook.name for hook in HOOKS}
    for name in PROTOTYPES:
        if name not in replaced and name not in symbols.definers:
            yield f"{name}(), which vinefast calls: no object defines it"
    words = b"".join(path.read_bytes() for path in archives)
    for text in FORMATS:
        if text.encode() + b"\0" not in words:
            yield f'the message "{text}", which vinefast listens for: no object says it'


def _misfit(hook: Hook, symbols: Symbols) -> str | None:
    definers = symbols.definers.get(hook.name, [])
    if hook.definer == LIBC:
        if definers:
            return f"it is the C library's no more, {_listed(definers)} defines it"
    elif not definers:
        return "no object defines it"
    elif len(definers) > 1:
        return f"{_listed(definers)} define it"
    deaf = [caller for caller in hook.callers if caller not in symbols.callers.get(hook.name, [])]
    if not deaf:
        return None
    where = f", which {definers[0]} defines" if definers else ""
    return f"{_listed(deaf)} does not call it from another object{where}; the linker replaces no other calls"


def _listed(names: Sequence[str]) -> str:
    return " and ".join(dict.fromkeys(names))


def types_source() -> str:
    """Return a C program whose debugging information tells the types in taskvine_private.h."""
    pointers = (f"__typeof__({name}) *{name}_;" for name in PROTOTYPES)
    objects = (f"struct {name} {name}_;" for name in STRUCTURES)
    return "\n".join(['#include "taskvine_private.h"', *pointers, *objects])


def type_misfits(archive: Path, ours: str, tools: dict[str, str], directory: Path) -> Iterator[str]:
    """Yield a sentence for each type that differs, as far as the archive's objects have debugging information.

    `ours` is the object that `types_source` makes; `directory` gets those of the archive.
    """
    symbols = Symbols(tools["nm"], [archive])
    expected = DebugInfo(tools["readelf"], ours)
    for definer in sorted({symbols.definers[name][0] for name in PROTOTYPES if name in symbols.definers}):
        subprocess.run([tools["ar"], "x", archive, f"{definer}.o"], cwd=directory, capture_output=True, check=True)
        found = DebugInfo(tools["readelf"], directory / f"{definer}.o")
        for name in PROTOTYPES:
            mine = expected.functions[f"{name}_"]
            theirs = found.functions.get(name, mine)
            if theirs != mine:
                yield f"{name}(): it is {theirs}, not {mine}"
        for name in STRUCTURES:
            members = expected.layouts[name]
            others = found.layouts.get(name, members)[: len(members)]
            if others != members:
                yield f"struct {name}: it begins with {', '.join(others)}, not {', '.join(members)}"
