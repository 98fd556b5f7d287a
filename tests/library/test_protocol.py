"""The wire has one home for each language, and both say the same."""

from __future__ import annotations

import ast
import re
import struct
from pathlib import Path

import pytest

from vinefast.library import protocol

ROOT = Path(__file__).parents[2]
VARIABLE = re.compile(r"VINEFAST_[A-Z_]+")
# Those of the program alone, which no worker sees.
PROGRAMS_OWN = {"VINEFAST_DEBUG", "VINEFAST_TASKVINE_PREFIX", "VINEFAST_BENCH_MARK"}

OURS = {name: value for name, value in vars(protocol).items() if name[0].isalpha() and name.isupper()}
VARIABLES = {name for name in OURS if VARIABLE.fullmatch(name)}


def of_c() -> dict[str, bytes | int]:
    """Give the constants of csrc/vf_wire.h, without the prefix."""
    text = (ROOT / "csrc/vf_wire.h").read_text()
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    found: dict[str, bytes | int] = {}
    for name, value in re.findall(r'^#define VF_(\w+) "(.*)"$', text, re.M):
        found[name] = value.encode()
    for body in re.findall(r"^enum \w*\s*\{(.*?)^\};", text, re.M | re.DOTALL):
        for entry in filter(None, map(str.strip, body.split(","))):
            name, value = re.fullmatch(r"VF_(\w+) = (\d+|'.')", entry).groups()
            found[name] = value[1].encode() if value[0] == "'" else int(value)
    # What is not read here could differ.
    assert set(re.findall(r"\bVF_(\w+)(?= = | \")", text)) == set(found)
    return found


def of_python() -> dict[str, bytes | int]:
    """Give those of protocol.py as C has them."""
    found: dict[str, bytes | int] = {}
    for name in OURS.keys() - VARIABLES:
        value = OURS[name]
        if isinstance(value, struct.Struct):
            assert value.format[0] == "<"
            found[f"{name}_NBYTES"] = value.size
        else:
            found[name] = value.encode() if isinstance(value, str) else value
    return found


def test_both_homes_say_the_same():
    assert len(of_c()) > 30
    assert of_c() == of_python()


@pytest.mark.parametrize("headline", ["payload kind", "status"])
def test_the_tables_of_the_document_say_it_too(headline):
    prefix = headline.partition(" ")[0].upper() + "_"
    text = (ROOT / "docs/architecture.md").read_text()
    table = re.search(rf"^\| {headline} \|.*\n((?:\|.*\n)+)", text, re.M)[1]
    rows = {name: int(value) for value, name in re.findall(r"^\| (\d+) \| (\w+) \|", table, re.M)}
    assert rows == {name.removeprefix(prefix): value for name, value in OURS.items() if name.startswith(prefix)}


def test_no_variable_is_written_out_anywhere_else():
    assert {name: OURS[name] for name in VARIABLES} == {name: name for name in VARIABLES}
    for path in (ROOT / "vinefast").rglob("*.py"):
        if path.name == "protocol.py":
            continue
        tree = ast.parse(path.read_text())
        constants = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
        found = {value.decode("latin-1") if isinstance(value, bytes) else str(value) for value in constants}
        assert {text for text in found if VARIABLE.fullmatch(text)} <= PROGRAMS_OWN, path


def test_what_the_shell_says_is_one_of_them():
    found = set(VARIABLE.findall((ROOT / "vinefast/library/environment.sh").read_text()))
    assert found and found <= VARIABLES
