"""The documents: what they link to and name is there, and the lines of docs/ can be read side by side."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PATTERNS = ("*.md", "docs/*.md", "tests/**/*.md", "benches/*.md")
PAGES = sorted(path for pattern in PATTERNS for path in ROOT.glob(pattern))
DIRECTORIES = ("csrc", "vinefast", "conf", "tests", "benches", "examples", "scripts", "docs")
SOURCES = (".c", ".h", ".py", ".pyi", ".pyx", ".pxd", ".pxi", ".sh", ".md", ".toml")
LINE_LENGTH = 100
# Pages of the site that are documents of the clone's top: those are linked.
OF_THE_TOP = {"security.md", "contributing.md", "changelog.md"}

CODE_SPAN = re.compile(r"(`+)(.+?)\1", re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
PATH = re.compile(r"[\w.*-]+(/[\w.*-]+)*/?")
TARGET = re.compile(r"(?:^|`)make ([a-z-]+)", re.M)
LIST_MARK = re.compile(r"\s*(?:[*-]|\d+\.)?\s*")


def lines_of(text: str) -> Iterator[tuple[int, str, bool]]:
    """Give each line with its number, and whether it is part of a block of code."""
    fenced = False
    for number, line in enumerate(text.split("\n"), 1):
        is_fence = line.lstrip().startswith("```")
        yield number, line, fenced or is_fence
        fenced ^= is_fence


def without_code(text: str) -> str:
    """Give what is neither a block of code nor a span of it."""
    return CODE_SPAN.sub("", "\n".join(line for _, line, is_code in lines_of(text) if not is_code))


def anchors_of(text: str) -> set[str]:
    """Name the headlines as GitHub does."""
    anchors: set[str] = set()
    seen: Counter[str] = Counter()
    for _, line, is_code in lines_of(text):
        if is_code or not (headline := re.match(r"#{1,6}\s+(.*?)\s*#*$", line)):
            continue
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", headline[1]).lower()
        anchor = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        anchors.add(f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor)
        seen[anchor] += 1
    return anchors


def broken_links(text: str, page: Path) -> list[str]:
    """List the relative links of a page that lead nowhere."""
    broken = []
    for target in LINK.findall(without_code(text)):
        if re.match(r"[a-z][a-z0-9+.-]*:", target):
            continue
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        if not file.exists():
            broken.append(target)
        elif anchor and anchor not in anchors_of(text if file == page else file.read_text(encoding="utf-8")):
            broken.append(target)
    return broken


@cache
def our_paths() -> tuple[str, ...]:
    """List all files and directories of the repository, with a slash at the beginning, and one behind directories."""
    paths = [path for path in ROOT.iterdir() if path.is_file()]
    for name in DIRECTORIES:
        paths += [ROOT / name, *(ROOT / name).rglob("*")]
    return tuple(f"/{path.relative_to(ROOT).as_posix()}{'/' if path.is_dir() else ''}" for path in paths)


def is_there(path: str) -> bool:
    """Tell whether a path leads somewhere: from the root, or, if it does not begin there, from any directory."""
    root = "^" if path.startswith(tuple(f"{name}/" for name in DIRECTORIES)) else ""
    pattern = re.compile(root + re.escape(f"/{path.rstrip('/')}").replace(r"\*", "[^/]*") + "/?$")
    return any(pattern.search(ours) for ours in our_paths())


def lost_paths(text: str) -> list[str]:
    """List what a page names like a file of ours, in code, and is none."""
    blocks = [line for _, line, is_code in lines_of(text) if is_code]
    spans = [span for _, span in CODE_SPAN.findall("\n".join(line for _, line, code in lines_of(text) if not code))]
    lost = []
    for code in (*blocks, *spans):
        words = [word.strip("\"'()[],;:") for word in code.split()]
        for word in words:
            is_ours = word.startswith(tuple(f"{name}/" for name in DIRECTORIES))
            if not is_ours and not (code in spans and len(words) == 1 and word.endswith(SOURCES)):
                continue
            if PATH.fullmatch(word) and Path(word).suffix != word and not is_there(word):
                lost.append(word)
    return lost


def long_lines(text: str) -> list[str]:
    """List the lines of prose that are too long and could be broken."""
    return [
        f"{number}: {line}"
        for number, line, is_code in lines_of(text)
        if len(line) > LINE_LENGTH
        and not is_code
        and not line.lstrip().startswith(("|", "#", "!["))
        and " " in LIST_MARK.sub("", line, count=1)
    ]


def identity(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", PAGES, ids=identity)
def test_links_and_anchors_lead_somewhere(page):
    assert broken_links(page.read_text(encoding="utf-8"), page) == []


# What a changelog names may be gone since.
@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=identity)
def test_files_that_are_named_exist(page):
    assert lost_paths(page.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("page", sorted(ROOT.glob("docs/*.md")), ids=identity)
def test_lines_of_prose_are_no_longer_than_100_characters(page):
    assert long_lines(page.read_text(encoding="utf-8")) == []


def test_every_page_is_in_the_index():
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    named = {target.partition("#")[0] for target in LINK.findall(without_code(index))}
    assert {page.name for page in ROOT.glob("docs/*.md")} - {"index.md", *OF_THE_TOP} <= named


def test_what_leads_nowhere_is_found():
    page = ROOT / "docs" / "index.md"
    text = "# One's `two`\n[a](#ones-two) [b](#one) [c](data.md#files) [d](../README.md#no)\n[e\nf](no.md) `[g](no.md)`"
    assert broken_links(text, page) == ["#one", "../README.md#no", "no.md"]


def test_files_that_do_not_exist_are_found():
    text = (
        "`vinefast/executor.py` `library/run.py` `csrc/` `tests/*.py` `vf_no.c` `a b.py`\n```\nx  csrc/vf_no.h,\n```\n"
    )
    assert lost_paths(text) == ["csrc/vf_no.h", "vf_no.c"]


def test_long_lines_are_found_but_in_tables_and_code():
    line = "word " * 30
    assert long_lines(f"{line}\n| {line}|\n```\n{line}\n```\n* [x]({'a' * 120})") == [f"1: {line}"]


def targets():
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))


@pytest.mark.parametrize("page", PAGES, ids=identity)
def test_targets_are_in_the_makefile(page):
    assert set(TARGET.findall(page.read_text(encoding="utf-8"))) <= targets()


def test_workflows_run_targets_and_nothing_else():
    for path in (ROOT / ".github/workflows").glob("*.yml"):
        steps = re.findall(r"run: (.+)", path.read_text())
        named = [step.split()[1] for step in steps if step.startswith("make ")]
        assert named and set(named) <= targets(), path
        # How a release is told of stands in the workflow itself.
        others = ("scripts/cut-release ", "gh release ") if path.name == "release.yml" else ()
        assert all(step.startswith(("make ", "apt-get ", *others)) for step in steps), path


def test_help_tells_of_every_target():
    told = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    phony = re.search(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.M)[1].split()
    assert sorted(re.findall(r"^make ([a-z-]+) +\S", told, re.M)) == sorted(phony)
