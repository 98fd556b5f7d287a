"""Answers from a Python that can do nothing else; tests/integration/test_python_versions.py has them for real."""

import ast
import types
from pathlib import Path

import pytest

from vinefast import library
from vinefast.library import refusal

from .encode import Call, decode_result, encode_command, encode_frame

# What runs, or is imported, before it is known whether this Python will do, and if it will not.
FOR_ANY_PYTHON = ("__init__", "arguments", "checked", "protocol", "refusal")


def imported_by(tree):
    """Name the modules of the library that a file imports, wherever it does."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            yield from [node.module] if node.module else [alias.name for alias in node.names]


@pytest.mark.parametrize("name", FOR_ANY_PYTHON)
def test_any_python_reads_what_tells_that_it_will_not_do(name):
    source = Path(library.__file__).with_name(f"{name}.py").read_text()
    tree = ast.parse(source, feature_version=(3, 6))
    assert {*imported_by(tree)} <= {*FOR_ANY_PYTHON}
    assert "__future__" not in source  # which has what no older one knows


def test_there_is_nothing_to_stop(tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(refusal, "_tell", lambda arguments, body: told.append(body))
    arguments = types.SimpleNamespace(children=2, library_cores=0)
    message = b"7 S 5:0,1 6:3 %s %s/output" % (2 * (str(tmp_path).encode(),))
    refusal._refuse_bundle(arguments, message, "another Python")
    assert told == [b"7 0"]
    assert decode_result((tmp_path / "output").read_bytes()).records == []


def test_a_limit_is_no_part_of_the_frame():
    frame = encode_frame([Call(len, ("x",))])
    assert refusal._decode(b"M100 " + encode_command(frame), "/") == frame
