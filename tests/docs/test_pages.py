"""What docs/tables.py and docs/pages.py make: whole tables, and links that lead somewhere."""

import inspect
import re
import sys

import pytest

from tests.helpers.markdown import ROOT
from vinefast import Tuning, VineFastExecutor
from vinefast.calls.counters import COUNTERS, documented

sys.path.insert(0, str(ROOT / "docs"))

import pages  # noqa: E402
import tables  # noqa: E402

COUNTER_NAMES = [counter.name for counters in COUNTERS.values() for counter in counters]


def firsts(table):
    """Give what stands in code in the first cell of each row."""
    return re.findall(r"^\| `([^`]+)`", table, re.MULTILINE)


def test_every_option_of_the_executor_is_in_its_table():
    parameters = inspect.signature(VineFastExecutor).parameters
    assert firsts(tables.executor_options()) == list(parameters)
    row = '| `worker_launch_method`<br>`\'factory\'` | *"factory", "provider" or "manual"*: Who starts workers: '
    assert row in tables.executor_options()


def test_every_tune_parameter_is_in_the_table_once():
    assert sorted(firsts(tables.tune_parameters())) == sorted(Tuning.parameters)


def test_the_tables_of_fields_and_keys_have_what_is_accepted():
    assert "| `max_retries`<br>`1` | a whole number, 0 or more, or None |" in tables.manager_fields()
    assert "| `min_workers`<br>`1` | a whole number, 0 or more |" in tables.factory_fields()
    assert "| `cores` | a number, 0 or more |" in tables.specification_keys()


def test_every_number_of_stats_is_in_the_table_and_in_its_docstring():
    assert firsts(tables.counters()) == COUNTER_NAMES
    assert len(set(COUNTER_NAMES)) == len(COUNTER_NAMES)
    help_text = inspect.getdoc(VineFastExecutor.stats)
    assert help_text.endswith(documented().strip())
    assert re.findall(r"^(\w+) : \S", help_text, re.MULTILINE) == COUNTER_NAMES


def test_the_manager_s_counters_are_described():
    counted = re.search(r"#define VF_COUNTERS\(_\)(.*?)\n/\*", (ROOT / "csrc/vf_counters.h").read_text(), re.DOTALL)
    assert set(re.findall(r"_\((\w+)\)", counted[1])) <= set(COUNTER_NAMES)


@pytest.mark.parametrize("page", sorted(ROOT.glob("docs/*.md")), ids=lambda page: page.name)
def test_marks_are_filled_in(page):
    text = page.read_text(encoding="utf-8")
    assert re.findall("^<!-- (?:table|document): .*", pages.filled(text), re.MULTILINE) == []


def test_links_lead_to_pages_and_those_to_other_files_become_words():
    text = "[a](../SECURITY.md#report) [b](data.md) [c](../examples/inference.py) [d](https://x.y) ![e](pictures/f.png)"
    linked = "[a](security.md#report) [b](data.md) c [d](https://x.y) ![e](pictures/f.png)"
    assert pages.filled(text) == linked


def test_a_link_by_a_file_s_name_has_the_title_of_the_page():
    assert pages.filled("[data.md](data.md) [data.md: values](data.md#values) [SECURITY.md](../SECURITY.md)") == (
        "[](data.md) [values](data.md#values) [](security.md)"
    )


def test_a_part_of_a_document_is_what_is_between_its_marks():
    part = pages.filled("<!-- document: README.md, about -->")
    assert part.startswith("A drop-in [Parsl]") and "## Install" not in part and "[](performance.md)" in part


def test_what_a_page_would_load_from_elsewhere_is_found():
    html = (
        '<script async src="https://a.b/c.js"></script><img alt="" src="//d.e/f.png"><link rel="x" href="http://g.h">'
    )
    assert pages.loaded_from_elsewhere(html) == ["https://a.b/c.js", "//d.e/f.png", "http://g.h"]
    assert pages.loaded_from_elsewhere('<a href="https://a.b"><img src="_images/c.png"><script src="d.js">') == []
