"""scripts/cut-release, and that the version stands in one place."""

import datetime
import re
import subprocess
import sys

import pytest

from tests.helpers.prefixes import CHECKOUT, load
from vinefast._version import VERSION

TODAY = datetime.date(2026, 2, 3)

cut_release = load(CHECKOUT / "scripts/cut-release")


@pytest.fixture
def project(tmp_path):
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "vinefast"\nversion = "0.1.0"\n[tool.x]\nversion = "9"\n'
    )
    (tmp_path / "CHANGELOG.md").write_text(
        "# Changelog\n\n## Unreleased\n\n### Added\n\n- That.\n\n## 0.1.0 (2026-01-01)\n\n- All.\n"
    )
    return tmp_path


def test_what_is_unreleased_gets_version_and_day(project):
    cut_release.cut(project, "0.2.0", TODAY)
    changelog = (project / "CHANGELOG.md").read_text()
    assert changelog.startswith(
        "# Changelog\n\n## Unreleased\n\n## 0.2.0 (2026-02-03)\n\n### Added\n\n- That.\n\n## 0.1.0 ("
    )
    assert (project / "pyproject.toml").read_text().count('version = "0.2.0"') == 1
    assert 'version = "9"' in (project / "pyproject.toml").read_text()
    assert cut_release.notes(project, "v0.2.0") == "### Added\n\n- That."
    with pytest.raises(SystemExit, match="nothing under Unreleased"):
        cut_release.cut(project, "0.3.0", TODAY)


@pytest.mark.parametrize(
    ("version", "words"), [("0.1.0", "is not newer than 0.1.0"), ("0.0.9", "not newer"), ("1.0", "no version")]
)
def test_versions_only_grow(project, version, words):
    before = (project / "CHANGELOG.md").read_text()
    with pytest.raises(SystemExit, match=words):
        cut_release.cut(project, version, TODAY)
    assert (project / "CHANGELOG.md").read_text() == before


def test_a_first_release_is_a_version_as_well(project):
    (project / "CHANGELOG.md").write_text("# Changelog\n\n## Unreleased\n\n- All.\n")
    with pytest.raises(SystemExit, match="'v0.1.0' is no version"):
        cut_release.cut(project, "v0.1.0", TODAY)
    cut_release.cut(project, "0.1.0", TODAY)
    assert cut_release.notes(project, "v0.1.0") == "- All."


def test_a_version_that_was_not_cut_has_no_notes(project):
    (project / "pyproject.toml").write_text('version = "0.2.0"\n')
    with pytest.raises(SystemExit, match="says nothing of 0.2.0: cut the release first"):
        cut_release.notes(project, "v0.2.0")


def test_a_tag_is_of_the_version_that_was_cut(project):
    with pytest.raises(SystemExit, match="the tag is v0.2.0, but pyproject.toml has the version 0.1.0"):
        cut_release.notes(project, "v0.2.0")


def test_this_project_can_be_cut(tmp_path):
    for name in ("CHANGELOG.md", "pyproject.toml"):
        (tmp_path / name).write_text((CHECKOUT / name).read_text())
    changelog = tmp_path / "CHANGELOG.md"
    # Nothing is under it in the commit of a release.
    changelog.write_text(
        changelog.read_text().replace(cut_release.UNRELEASED, f"{cut_release.UNRELEASED}\n- More of the same.\n", 1)
    )
    cut_release.cut(tmp_path, "99.0.0", TODAY)
    assert len(cut_release.notes(tmp_path, "v99.0.0")) > 10
    run = subprocess.run([sys.executable, CHECKOUT / "scripts/cut-release"], capture_output=True, text=True)
    assert run.returncode == 2 and "usage:" in run.stderr


def test_the_version_stands_in_one_place():
    places = [
        path
        for path in CHECKOUT.glob("*.*")
        if path.is_file() and re.search(rf"\b{re.escape(VERSION)}\b", path.read_text())
    ]
    assert [path.name for path in places if path.name != "CHANGELOG.md"] == ["pyproject.toml"]
