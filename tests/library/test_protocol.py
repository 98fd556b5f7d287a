"""The wire has one home for each language, and both say the same."""

from __future__ import annotations

import ast
import re
import struct
from pathlib import Path

import pytest

from vinefast.library import protocol

ROOT = Path(__file__).parents[2]
WIRE_H = (ROOT / "csrc/vf_wire.h").read_text()
VARIABLE = re.compile(r"VINEFAST_[A-Z_]+")
# Those of the program alone, which no library sees.
PROGRAMS_OWN = {
    "VINEFAST_AUDIT",
    "VINEFAST_DEBUG",
    "VINEFAST_TASKVINE_PREFIX",
    "VINEFAST_CHILD_MARK",
    "VINEFAST_LISTEN",
}

OURS = {name: value for name, value in vars(protocol).items() if name[0].isalpha() and name.isupper()}
VARIABLES = {name for name in OURS if VARIABLE.fullmatch(name)}


def of_c(text: str) -> dict[str, bytes | int]:
    """Give the constants of csrc/vf_wire.h, without the prefix."""
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    found: dict[str, bytes | int] = {}
    for name, value in re.findall(r'^#define VF_(\w+) "(.*)"$', text, re.M):
        found[name] = value.encode()
    for body in re.findall(r"^enum \w*\s*\{(.*?)^\};", text, re.M | re.DOTALL):
        for entry in filter(None, map(str.strip, body.split(","))):
            name, value = re.fullmatch(r"VF_(\w+) = (\d+|'.')", entry).groups()
            found[name] = value[1].encode() if value[0] == "'" else int(value)
    # What is not read here could differ.
    defined = {name for name in re.findall(r"#\s*(?:define|undef)\s+(\w+)", text) if name != "VF_WIRE_H"}
    assert {f"VF_{name}" for name in re.findall(r"\bVF_(\w+)(?= = | \")", text)} | defined == {f"VF_{n}" for n in found}
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
    constants = of_c(WIRE_H)
    assert len(constants) > 30
    variables = {name: constants.pop(name) for name in VARIABLES & constants.keys()}
    assert constants == of_python()
    assert variables == {name: OURS[name].encode() for name in variables}


@pytest.mark.parametrize(
    "line", ["#define VF_NEW 5", "# define VF_NEW (5)", "#define NEW 5", "#define VF_NEW(x) x", "#undef VF_NEW"]
)
def test_a_constant_that_is_not_read_is_found(line):
    with pytest.raises(AssertionError):
        of_c(f"{WIRE_H}\n{line}\n")


@pytest.mark.parametrize("headline", ["payload kind", "status"])
def test_the_tables_of_the_document_say_it_too(headline):
    prefix = headline.partition(" ")[0].upper() + "_"
    text = (ROOT / "docs/architecture.md").read_text()
    table = re.search(rf"^\| {headline} \|.*\n((?:\|.*\n)+)", text, re.M)[1]
    rows = {name: int(value) for value, name in re.findall(r"^\| (\d+) \| (\w+) \|", table, re.M)}
    assert rows == {name.removeprefix(prefix): value for name, value in OURS.items() if name.startswith(prefix)}


FIELD = re.compile(r"(?:(?P<nbytes>\d+) bytes|u(?P<bits>32|64)(?: x (?P<times>\d))?) +\w")


def layout_of(text: str) -> str:
    """Write fields that the document lists as a format of `struct`."""
    letters = {"32": "I", "64": "Q"}
    return "".join(
        f"{field['nbytes']}s" if field["nbytes"] else letters[field["bits"]] * int(field["times"] or 1)
        for field in FIELD.finditer(text)
    )


@pytest.mark.parametrize(
    ("headline", "header", "records"),
    [
        (
            "Bundle frame",
            protocol.BUNDLE_HEADER,
            [protocol.BUNDLE_FUNCTION, protocol.BUNDLE_CALL, protocol.BUNDLE_NUMBER],
        ),
        ("Result frame", protocol.RESULT_HEADER, [protocol.RESULT_RECORD]),
    ],
)
def test_fields_stand_in_the_order_of_the_document(headline, header, records):
    block = (ROOT / "docs/architecture.md").read_text().split(f"### {headline}\n", 1)[1].split("```")[1]
    rows = re.findall(r"^(?:offset)? +(\d+) +((?:u32|u64|4 bytes)\b.*)$", block, re.M)
    # The last of a result header is there to fill it up.
    layout = "<" + layout_of("\n".join(fields for _, fields in rows))
    assert layout == header.format.replace("4x", "I")
    offset = 0
    for said, fields in rows:
        assert int(said) == offset
        offset += struct.calcsize(f"<{layout_of(fields)}")
    assert [f"<{layout_of(fields)}" for fields in re.findall(r"\{(.*?)\}", block)] == [each.format for each in records]


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
