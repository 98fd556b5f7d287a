"""docs/troubleshooting.md quotes messages; each is one that the code can emit."""

import ast
import re

import pytest

from tests.helpers.markdown import ROOT

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
VARIABLE = "..."
FORMAT = re.compile(r"%(?:\(\w+\))?[-+ #0]*\d*(?:\.\d+)?[sdrgxf]")


def texts_of(tree):
    """Give all strings of a module but its docstrings, with dots for what is put in."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr):
            node.value = ast.Pass()
        if isinstance(node, ast.JoinedStr):
            parts = [part.value if isinstance(part, ast.Constant) else VARIABLE for part in node.values]
            yield "".join(map(str, parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield FORMAT.sub(VARIABLE, node.value)


def texts_of_core(source):
    """Give all strings of a Cython source, likewise; those that follow each other are one."""
    for literals in re.finditer(r"(?:\bf?\"(?:[^\"\\\n]|\\.)*\"\s*)+", source):
        yield re.sub(r"\{[^}]*\}", VARIABLE, "".join(re.findall(r"\"((?:[^\"\\]|\\.)*)\"", literals[0])))


def emitted():
    sources = [path for path in (ROOT / "vinefast").rglob("*.py") if path.name != "_build_info.py"]
    texts = [text for path in sources for text in texts_of(ast.parse(path.read_text(encoding="utf-8")))]
    for path in (ROOT / "vinefast").rglob("*.pxi"):
        texts += texts_of_core(path.read_text(encoding="utf-8"))
    # Sentences that several strings make have a mark between them, so that no message is found across two.
    return "\0".join(re.sub(r"\s+", " ", text) for text in texts)


def quoted(page):
    """Give what stands in code in the first cell of each row below "By message"."""
    return re.findall(r"^\| `([^`]+)` \|", page.split("## By message", 1)[1], re.MULTILINE)


def is_emitted(message, texts):
    """Tell whether one string has all parts of a message, in their order."""
    parts = [part.strip() for part in message.split(VARIABLE)]
    pattern = r"[^\0]*".join(re.escape(part) for part in parts if part)
    return re.search(pattern, texts) is not None


def test_messages_are_quoted():
    assert len(quoted(PAGE)) > 30


@pytest.fixture(scope="module")
def texts():
    return emitted()


@pytest.mark.parametrize("message", quoted(PAGE))
def test_a_quoted_message_is_emitted(texts, message):
    assert is_emitted(message, texts)


def test_a_message_that_nobody_emits_is_found(texts):
    assert is_emitted("Executor ... cannot go on: ...", texts)
    assert not is_emitted("Executor ... cannot get on: ...", texts)
    assert not is_emitted("The run of ... has been started before", texts)
