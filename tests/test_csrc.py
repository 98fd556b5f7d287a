"""The units of csrc: each is small, and includes or calls only those that are lower (docs/architecture.md)."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from tests.helpers.prefixes import taskvine

ROOT = Path(__file__).resolve().parent.parent
CSRC = ROOT / "csrc"
HEADLINE = "## The units of csrc"
# What is no unit: any may include it, and it includes none.
PRIVATE = "taskvine_private"
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


def output_of(*command: str | Path, cwd: Path) -> str:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=True, timeout=300).stdout


def compiler(directory: Path, flags: Sequence[str]) -> list[str]:
    return ["gcc", "-std=gnu11", f"-I{directory}", *flags]


def symbols_of(directory: Path, build: Path, flags: Sequence[str] = ()) -> list[tuple[str, str, bool]]:
    """Compile all files: each unit, a name that the linker sees there, and whether it is defined there."""
    output_of(*compiler(directory, flags), "-O0", "-w", "-c", *sorted(directory.glob("*.c")), cwd=build)
    listed = output_of("nm", "-A", "-P", "-g", *(path.name for path in sorted(build.glob("*.o"))), cwd=build)
    return [(unit, name, kind != "U") for unit, name, kind in re.findall(r"^(\w+)\.o: (\S+) (\w)\b", listed, re.M)]


def included_upward(order: Sequence[str], directory: Path, flags: Sequence[str] = ()) -> Iterator[str]:
    """Tell of each file that the compiler reads for one of a unit below it, however the line is written."""
    rank = {unit: place for place, unit in enumerate(order)} | {PRIVATE: -1}
    listed = output_of(*compiler(directory, flags), "-MM", *sorted(directory.glob("*.[ch]")), cwd=directory)
    for rule in listed.replace("\\\n", " ").splitlines():
        path, *others = (Path(name).resolve() for name in rule.split()[1:])
        for other in others:
            if other.is_relative_to(directory) and rank.get(other.stem, len(order)) > rank[path.stem]:
                yield f"{path.name} includes {other.relative_to(directory)}"


def needed_upward(order: Sequence[str], symbols: Sequence[tuple[str, str, bool]]) -> Iterator[str]:
    """Tell of each name of a higher unit that the linker would look for."""
    rank = {unit: place for place, unit in enumerate(order)}
    owner = {name: unit for unit, name, is_defined in symbols if is_defined}
    for unit, name, _ in symbols:
        if rank[owner.get(name, unit)] > rank[unit]:
            yield f"{unit}.c needs {name} of {owner[name]}"


def test_every_unit_has_its_place():
    assert set(UNITS) == {path.stem for path in CSRC.glob("*.[ch]")} - {PRIVATE}
    # The build does not look into a directory.
    assert {path.name for path in CSRC.iterdir() if path.is_dir()} == {"fuzz", "preload", "simulation", "tests"}


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


@pytest.fixture(scope="module")
def flags():
    engine = taskvine.find()
    release = taskvine.border.release_of(taskvine.worker_version(engine.worker))
    return [f"-I{engine.include}", f"-DVF_TASKVINE={release}"]


@pytest.fixture(scope="module")
def symbols(flags, tmp_path_factory):
    return symbols_of(CSRC, tmp_path_factory.mktemp("objects"), flags)


@pytest.mark.processes
@pytest.mark.timeout(600)
def test_the_compiler_sees_no_unit_that_uses_a_higher_one(flags, symbols):
    assert list(included_upward(list(UNITS), CSRC, flags)) == []
    assert list(needed_upward(list(UNITS), symbols)) == []


def undeclared(symbols: Sequence[tuple[str, str, bool]], archives: Sequence[Path], headers: str) -> list[str]:
    """Name what TaskVine's archives define and neither its headers nor the private one declare."""
    theirs = taskvine.border.Symbols("nm", archives).definers
    ours = {name for _, name, is_defined in symbols if is_defined}
    needed = {name.removeprefix("__real_") for _, name, is_defined in symbols if not is_defined} - ours
    declared = {*re.findall(r"\w+", headers), *taskvine.border.PROTOTYPES}
    return sorted(name for name in needed if name in theirs and name not in declared)


@pytest.mark.processes
@pytest.mark.timeout(600)
def test_what_is_private_to_taskvine_is_declared_where_the_build_proves_it(symbols):
    engine = taskvine.find()
    headers = "".join(path.read_text() for path in sorted(engine.include.glob("*.h")))
    assert undeclared(symbols, engine.archives, headers) == []
    smuggled = ("vf_ring", "vine_current_transfers_wipe_worker", False)
    assert undeclared([*symbols, smuggled], engine.archives, headers) == ["vine_current_transfers_wipe_worker"]


INCLUDED = ["vf_low.c includes vf_high.h"]
NEEDED = ["vf_low.c needs vf_high_get of vf_high"]


@pytest.mark.processes
@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("int vf_low_get(void) { return 1; }", []),
        ('# include "vf_high.h"', INCLUDED),
        ("#include <vf_high.h>", INCLUDED),
        ('/* */ #include "../csrc/vf_high.h"', INCLUDED),
        ('#define UP "vf_high.h"\n#include UP', INCLUDED),
        ("int vf_high_get(void); int vf_low_get(void) { return '\"' + vf_high_get() + '\"'; }", NEEDED),
        ("#define UP(name) vf_##name()\nint UP(high_get); int vf_low_get(void) { return UP(high_get); }", NEEDED),
        ('int up(void) __asm__("vf_high_get"); int vf_low_get(void) { return up(); }', NEEDED),
        (
            "extern int vf_high_state; int vf_low_get(void) { return vf_high_state; }",
            ["vf_low.c needs vf_high_state of vf_high"],
        ),
    ],
)
def test_no_way_of_writing_it_hides_a_use_of_a_higher_unit(code, found, tmp_path):
    directory = tmp_path / "csrc"
    directory.mkdir()
    (directory / "vf_high.h").write_text("int vf_high_get(void);\n")
    (directory / "vf_high.c").write_text("int vf_high_state;\nint vf_high_get(void) { return 2; }\n")
    (directory / "vf_low.c").write_text(f"{code}\n")
    order = ["vf_low", "vf_high"]
    assert [*included_upward(order, directory), *needed_upward(order, symbols_of(directory, tmp_path))] == found


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
    for path in sorted(CSRC.rglob("*.[ch]")):
        lines = path.read_text().expandtabs(8).split("\n")
        assert len(lines) <= MAX_LINES, path
        assert [line for line in lines if len(line) > MAX_COLUMNS] == [], path
