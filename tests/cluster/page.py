"""What docs/clusters.md shows: its programs, scripts and commands, which the tests run as they stand there."""

import re

from tests.helpers.markdown import ROOT, blocks_of

PAGE = ROOT / "docs" / "clusters.md"


def blocks():
    """Give all blocks of code of the page."""
    return [block.code for block in blocks_of(PAGE.read_text(encoding="utf-8"))]


def program(name):
    """Give the program or script that has its name in a comment."""
    (found,) = [block for block in blocks() if re.search(rf"^# {re.escape(name)}$", block, re.M)]
    return found


def command(first_words):
    """Give the only command of the page that begins so."""
    lines = [line for block in blocks() for line in block.splitlines()]
    (found,) = [line for line in lines if line.startswith(first_words)]
    return found
