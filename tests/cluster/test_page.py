"""docs/clusters.md has nothing of Slurm that is not run, and who has no Slurm is told what to install."""

import os
import re

from tests.cluster import slurm
from tests.cluster.page import PAGE, blocks
from tests.helpers.markdown import ROOT


def test_all_that_the_page_shows_of_slurm_is_run():
    page = PAGE.read_text(encoding="utf-8")
    about_slurm = page[page.index("## Slurm\n") : page.index("## HTCondor")]
    shown = [block for block in blocks() if block in about_slurm]
    tests = (ROOT / "tests/cluster/test_slurm_page.py").read_text(encoding="utf-8")
    files, run = re.findall(r'"(\w+\.(?:py|sbatch))"', tests), re.findall(r'command\("([^"]+)"\)', tests)
    for block in shown:
        name = re.search(r"^# (\S+)$", block, re.M)
        if name and "\n" in block.strip():
            assert name[1] in files
        else:
            assert all(line.startswith(tuple(run)) for line in block.splitlines())
    assert len(shown) == 8


def test_what_is_missing_is_named(monkeypatch):
    monkeypatch.setattr(slurm, "PROGRAMS", ("no-such-program",))
    assert slurm.why_missing() == f"no no-such-program here: apt-get install --no-install-recommends {slurm.PACKAGES}"
    monkeypatch.setattr(slurm, "PROGRAMS", ())
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "as root" in slurm.why_missing()


def test_the_check_of_a_clone_installs_it():
    assert slurm.PACKAGES in (ROOT / ".ci/run").read_text()
