"""What the documents name is there: files, headings and targets of the Makefile."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [path for pattern in ("*.md", "docs/*.md", "tests/**/*.md", "benches/*.md") for path in ROOT.glob(pattern)]

LINK = re.compile(r"\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```", re.M | re.S)
TARGET = re.compile(r"(?:^|`)make ([a-z-]+)", re.M)
# Of what has a suffix; others may be words.
NAMED = re.compile(r"`((?:vinefast|csrc|tests|benches|conf|docs|examples|scripts)/[\w/.-]+\.\w+)`")


def anchors(document):
    """Give the names that headings get."""
    titles = re.findall(r"^#+ +(.+)$", FENCE.sub("", document.read_text()), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.fixture(params=DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def document(request):
    return request.param


def test_links_lead_somewhere(document):
    dead = []
    for link in LINK.findall(FENCE.sub("", document.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = document.parent / path if path else document
        if not target.exists() or (anchor and anchor not in anchors(target)):
            dead.append(link)
    assert not dead


def test_files_are_where_they_are_said_to_be(document):
    # What a changelog names may be gone since.
    if document.name != "CHANGELOG.md":
        assert [name for name in NAMED.findall(document.read_text()) if not (ROOT / name).exists()] == []


def targets():
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))


def test_targets_are_in_the_makefile(document):
    assert set(TARGET.findall(document.read_text())) <= targets()


def test_workflows_run_targets_and_nothing_else():
    for path in (ROOT / ".github/workflows").glob("*.yml"):
        steps = re.findall(r"run: (.+)", path.read_text())
        named = [step.split()[1] for step in steps if step.startswith("make ")]
        assert named and set(named) <= targets(), path
        assert all(step.startswith(("make ", "apt-get ")) for step in steps), path


def test_help_tells_of_every_target():
    told = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    phony = re.search(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.M)[1].split()
    assert sorted(re.findall(r"^make ([a-z-]+) +\S", told, re.M)) == sorted(phony)
