"""The units of csrc: each is small, and includes or calls only those that are lower (docs/architecture.md)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CSRC = ROOT / "csrc"
HEADLINE = "## The units of csrc"
MAX_LINES = 500
MAX_COLUMNS = 100

ROW = re.compile(r"^(?:\w+)? +(vf_\w+)(?: \(([\w, ]+)\))?  +\S", re.M)
INCLUDE = re.compile(r'^#include "(vf_\w+)\.h"', re.M)
# What stands at the beginning of a line is declared or defined there, calls are further in.
DECLARED = re.compile(r"^(?!static (?!inline)|typedef )[a-z][\w ]*[ *](vf_\w+)\(", re.M)
NAME = re.compile(r"\bvf_\w+\b")
BESIDES_CODE = re.compile(r'/\*.*?\*/|"(?:[^"\\\n]|\\.)*"', re.S)


def units_of(page: str) -> dict[str, tuple[str, ...]]:
    """Read the units, the lowest first, and what the names of each begin with besides its own."""
    block = page.split(HEADLINE, 1)[1].split("```")[1]
    units = {unit: tuple(others.split(", ")) if others else () for unit, others in ROW.findall(block)}
    assert len(units) == len(ROW.findall(block)), "a unit is listed twice"
    return units


UNITS = units_of((ROOT / "docs/architecture.md").read_text())


def sources_of(directory: Path) -> dict[str, dict[str, str]]:
    """Read the files of each unit, by their suffix."""
    units: dict[str, dict[str, str]] = {}
    for path in sorted(directory.glob("vf_*.[ch]")):
        units.setdefault(path.stem, {})[path.suffix] = path.read_text()
    return units


def code_of(source: str) -> str:
    """Leave out comments and strings, but not what is included."""
    return "\n".join(
        line if line.startswith("#include") else BESIDES_CODE.sub("", line)
        for line in re.sub(r"/\*.*?\*/", "", source, flags=re.S).split("\n")
    )


def upward(order: Sequence[str], sources: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    """Tell of each unit that includes or uses one that does not stand before it."""
    rank = {unit: place for place, unit in enumerate(order)}
    owner = {name: unit for unit, files in sources.items() for name in DECLARED.findall(code_of(files.get(".h", "")))}
    for unit, files in sources.items():
        for suffix, source in files.items():
            code = code_of(source)
            used = {name: f"calls {name}()" for name in NAME.findall(code) if name in owner}
            for other in INCLUDE.findall(code):
                if rank[other] > rank[unit]:
                    yield f"{unit}{suffix} includes {other}.h"
            for name, what in used.items():
                if rank[owner[name]] > rank[unit]:
                    yield f"{unit}{suffix} {what} of {owner[name]}"


def test_every_unit_has_its_place():
    assert set(UNITS) == set(sources_of(CSRC))


def test_no_unit_knows_a_higher_one():
    assert list(upward(list(UNITS), sources_of(CSRC))) == []


def test_an_include_and_a_call_upwards_are_found():
    low = "int vf_low_get(void)"
    high = "int vf_high_get(void)"
    sources = {
        "vf_low": {".h": f"{low};\n", ".c": f'#include "vf_low.h"\n{low}\n{{\n\treturn 1;\n}}\n'},
        "vf_high": {".h": f'#include "vf_low.h"\n{high};\n', ".c": "\treturn vf_low_get();\n"},
    }
    assert list(upward(["vf_low", "vf_high"], sources)) == []
    assert list(upward(["vf_high", "vf_low"], sources)) == [
        "vf_high.h includes vf_low.h",
        "vf_high.c calls vf_low_get() of vf_low",
    ]
    sources["vf_low"][".c"] += '/* vf_high_get() */\n\tputs("vf_high_get()");\n\tcall = vf_high_get;\n'
    assert list(upward(["vf_low", "vf_high"], sources)) == ["vf_low.c calls vf_high_get() of vf_high"]


def test_what_a_header_declares_is_in_its_file_and_begins_with_its_name():
    for unit, files in sources_of(CSRC).items():
        declared = set(DECLARED.findall(code_of(files.get(".h", ""))))
        defined = set(DECLARED.findall(code_of(files.get(".c", ""))))
        inline = set(re.findall(r"^static inline [\w *]*[ *](vf_\w+)\(", code_of(files.get(".h", "")), re.M))
        assert declared == defined | inline, unit
        # vf_workers has vf_workers_find(), and vf_worker_begin().
        begins = tuple(f"{name}_" for name in (unit, f"{unit}s", unit.removesuffix("s"), *UNITS[unit]))
        assert all(name == unit or name.startswith(begins) for name in declared), unit


def test_files_and_lines_are_short():
    for path in sorted([*CSRC.glob("*.[ch]"), *(CSRC / "tests").glob("*.[ch]")]):
        lines = path.read_text().expandtabs(8).split("\n")
        assert len(lines) <= MAX_LINES, path
        assert [line for line in lines if len(line) > MAX_COLUMNS] == [], path
