"""What documents have in blocks of code, and how a page's Python becomes a program.

A page's blocks are one program, in their order. A comment above a block may say otherwise:

``<!-- not run: REASON -->``
    The block cannot run here, and is only compiled.
``<!-- needs: MODULE -->``
    It runs where that can be imported, and is compiled elsewhere.

``<!-- test: setup`` begins a comment with code that readers do not need, and that runs where it stands.
"""

import importlib.util
import re
import textwrap
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/*.md"), ROOT / "SECURITY.md", ROOT / "CONTRIBUTING.md"])

_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_SETUP = re.compile(r"^<!-- test: setup\n(.*?)^-->$", re.MULTILINE | re.DOTALL)
_MARK = re.compile(r"<!-- (not run|needs): ([^>]+) -->\n+ *$")


class Block(NamedTuple):
    """A block of code: where its first line is, its language, its text, and what is said above it."""

    line: int
    language: str
    code: str
    not_run: str | None = None
    needs: str | None = None


def blocks_of(text: str) -> list[Block]:
    """List the blocks of a page."""
    blocks = []
    for fence in _FENCE.finditer(text):
        mark = _MARK.search(text, 0, fence.start())
        says = {mark[1].replace(" ", "_"): mark[2]} if mark is not None else {}
        code = textwrap.dedent(fence[3])
        blocks.append(Block(text.count("\n", 0, fence.start(3)) + 1, fence[2], code, **says))
    return blocks


def program_of(text: str) -> str:
    """Make the program of a page: each line has the number that it has in the page."""
    pieces = [(block.line, block.code) for block in blocks_of(text) if block.language == "python" and _runs(block)]
    if not pieces:
        return ""
    pieces += [(text.count("\n", 0, setup.start(1)) + 1, setup[1]) for setup in _SETUP.finditer(text)]
    lines = [""] * (text.count("\n") + 1)
    for first, code in pieces:
        for number, line in enumerate(code.splitlines(), first - 1):
            lines[number] = line
    return "\n".join(lines)


def _runs(block: Block) -> bool:
    return block.not_run is None and (block.needs is None or _is_installed(block.needs))


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # what it is in
        return False
