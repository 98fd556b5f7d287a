"""What the site has beside the pages of docs/: tables made from the code, and documents of the clone's top."""

from __future__ import annotations

import re
from pathlib import Path

import tables

ROOT = Path(__file__).resolve().parent.parent

# Documents that are pages of the site, too.
PAGES = {"SECURITY.md": "security.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}

_LINK = re.compile(r"\[([^\]]*)\]\((?![a-z]+:|#)([^)\s#]+)(#[^)\s]*)?\)")
_FILE_NAME = re.compile(r"(?:docs/)?[\w-]+\.md(?:: *|$)")
_TABLE = re.compile(r"^<!-- table: (\w+) -->$", re.MULTILINE)
_DOCUMENT = re.compile(r"^<!-- document: ([\w.]+)(?:, (\w+))? -->$", re.MULTILINE)
_FROM_ELSEWHERE = re.compile(r"<(?:script|link|img|iframe)\b[^>]*?\b(?:src|href)=\"((?:https?:)?//[^\"]*)")


def filled(text: str) -> str:
    """Put in what a page of docs/ has only a mark for, and let its links lead to pages of the site."""
    text = _TABLE.sub(lambda mark: getattr(tables, mark[1])(), text)
    return _DOCUMENT.sub(lambda mark: _document(*mark.groups()), _linked(text, ROOT / "docs"))


def _document(name: str, part: str | None) -> str:
    """Give a document, or what stands between two marks in it."""
    text = (ROOT / name).read_text(encoding="utf-8")
    if part is not None:
        text = text.split(f"<!-- {part} -->\n", 1)[1].split(f"<!-- end of {part} -->\n", 1)[0]
    return _linked(text, ROOT)


def _linked(text: str, directory: Path) -> str:
    """Let links lead to pages; of other files of the clone only the name stays, since the site has none of them."""

    def link(found: re.Match[str]) -> str:
        words, target, anchor = found.groups()
        words = _FILE_NAME.sub("", words)  # without words, the page's title stands there
        path = (directory / target).resolve().relative_to(ROOT)
        if str(path) in PAGES:
            return f"[{words}]({PAGES[str(path)]}{anchor or ''})"
        if path.parts[0] == "docs":
            return f"[{words}]({path.relative_to('docs')}{anchor or ''})"
        return found[1]

    return _LINK.sub(link, text)


def loaded_from_elsewhere(html: str) -> list[str]:
    """List the addresses from which a browser would load something that a page shows or runs."""
    return _FROM_ELSEWHERE.findall(html)
