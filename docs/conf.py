"""How Sphinx makes the site: `make docs`."""

from __future__ import annotations

import sys
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.util import logging

sys.path.insert(0, str(Path(__file__).parent))

import pages

from vinefast import __version__

project = "vinefast"
author = "The vinefast maintainers"
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "index"
myst_heading_anchors = 4
# Blocks without a language are drawings.
highlight_language = "none"
# What stands between single backticks in a docstring is a name.
default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_default_options = {"members": True, "exclude-members": "with_traceback"}
napoleon_google_docstring = False
napoleon_use_rtype = False

html_theme = "furo"
html_title = f"vinefast {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False

logger = logging.getLogger(__name__)


def _fill(app: Sphinx, name: str, source: list[str]) -> None:
    source[0] = pages.filled(source[0])


def _look_for_strangers(app: Sphinx, failure: Exception | None) -> None:
    """A page that loads something from elsewhere tells others who reads it, and is not whole without a network."""
    for page in sorted(Path(app.outdir).rglob("*.html")):
        for address in pages.loaded_from_elsewhere(page.read_text(encoding="utf-8")):
            logger.warning("%s loads %s", page, address)


def _shorten(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Of `stats`, the numbers have a page of their own."""
    if name.endswith(".VineFastExecutor.stats"):
        del lines[lines.index("Notes") + 2 :]
        lines.append("What each number is: :doc:`stats`.")


def setup(app: Sphinx) -> None:
    """Connect what is ours."""
    app.connect("autodoc-process-docstring", _shorten, priority=400)  # before napoleon
    app.connect("source-read", _fill)
    app.connect("build-finished", _look_for_strangers)
