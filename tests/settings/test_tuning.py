"""The table of tune parameters: its rows, what it refuses, and that it and the engine know the same names."""

import copy
import json
import pickle
import re
import subprocess

import pytest
from parsl.executors.taskvine import TaskVineManagerConfig

from tests.helpers.prefixes import CHECKOUT, taskvine
from vinefast import Tuning, VineFastExecutor
from vinefast.errors import InvalidConfiguration
from vinefast.settings import parameter
from vinefast.settings.parameter import Choice, Flag, Proportion

ALL = list(Tuning.parameters.values())
NEWEST = "8.0.0"

TUNE = """
#include <stdio.h>
#include "taskvine.h"
int main(void) {
    struct vine_manager *manager = vine_create(0);
    char name[256];
    double value;
    while (manager && scanf("%255s %lf", name, &value) == 2)
        printf("%s %d\\n", name, vine_tune(manager, name, value));
    return !manager;
}
"""


@pytest.fixture
def newest(monkeypatch):
    """The table as if vinefast were built with the newest TaskVine."""
    monkeypatch.setattr(parameter, "TASKVINE_VERSION", NEWEST)


def another(parameter):
    """A value of a parameter that is not its default."""
    if isinstance(parameter, Flag):
        return not parameter.default
    if isinstance(parameter, Choice):
        return "worst"
    if isinstance(parameter, Proportion):
        return 0.5
    return parameter.least if parameter.least != parameter.default else parameter.least + 1


@pytest.mark.parametrize("parameter", ALL, ids=lambda p: p.name)
def test_a_row_is_whole(newest, parameter):
    assert re.fullmatch(r"[A-Z].{15,}[.]", parameter.doc)
    assert re.fullmatch(r"\d+\.\d+\.\d+", parameter.since)
    assert parameter.name.replace("-", "_") == parameter.attribute
    assert (
        parameter.unit
        or isinstance(parameter, (Flag, Choice, Proportion))
        or "factor" in parameter.name
        or ("multiplier" in parameter.name)
    )
    assert getattr(Tuning(), parameter.attribute) == parameter.default
    # TaskVine has a default that it does not let anybody set.
    if parameter.name != "max-library-retries":
        assert parameter.checked(parameter.default) == parameter.default
    value = another(parameter)
    tuning = Tuning.of({parameter.attribute: value})
    assert getattr(tuning, parameter.attribute) == value != parameter.default
    assert tuning == {parameter.name: value}


def test_the_table_is_in_order():
    assert [p.name for p in ALL] == sorted(p.name for p in ALL)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("hungry-minimum", 0),
        ("hungry-minimum", 1.5),
        ("hungry-minimum", True),
        ("hungry-minimum", "many"),
        ("hungry-minimum", None),
        ("hungry-minimum", float("nan")),
        ("hungry-minimum", float("inf")),
        ("hungry-minimum", 2**31),
        ("prefer-dispatch", 2),
        ("prefer-dispatch", "yes"),
        ("resource-submit-multiplier", 0.9),
        ("sandbox-grow-factor", 1),
        ("transient-error-interval", 0.5),
        ("disconnect-slow-worker-factor", 0.5),
        ("disk-proportion-available-to-task", 1),
        ("disk-proportion-available-to-task", 0),
        ("max-library-retries", 15),
        ("max-retrievals", -2),
        ("max-losses", 255),
        ("bandwidth-limit", "fast"),
        ("bandwidth-limit", "-1MB"),
        ("bandwidth-limit", -1),
        ("bandwidth-limit", "9" * 400),
        ("bandwidth-limit", 10**400),
        ("scheduler", "best"),
        ("scheduler", 1),
    ],
)
def test_a_wrong_value_is_refused_with_the_range(name, value):
    with pytest.raises(InvalidConfiguration) as caught:
        Tuning.of({name: value})
    assert str(caught.value) == (
        f"tune parameter {name!r} is {value!r}; accepted: {Tuning.find(name).kind}, {Tuning.find(name).range}"
    )


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("bandwidth-limit", "100MB", 100 << 20),
        ("bandwidth-limit", "1.5 kB/s", 1536),
        ("bandwidth-limit", 7, 7),
        ("bundle-nbytes", "2m", 2 << 20),
        ("hungry-minimum", 2.0, 2),
        ("prefer-dispatch", 1, True),
        ("disconnect-slow-worker-factor", 0, 0.0),
        ("asynchrony-multiplier", 2, 2.0),
    ],
)
def test_how_values_are_kept(name, value, kept):
    (found,) = Tuning.of({name: value}).values()
    assert found == kept and type(found) is type(kept)


@pytest.mark.parametrize(
    "use",
    [
        lambda: Tuning(hungry_minimun=2),
        lambda: Tuning.of({"hungry-minimun": 2}),
        lambda: Tuning.of({"hungry_minimun": 2}),
        lambda: setattr(Tuning(), "hungry_minimun", 2),
        lambda: Tuning().update({"hungry-minimun": 2}),
        lambda: Tuning().setdefault("hungry-minimun", 2),
        lambda: VineFastExecutor(manager_config=TaskVineManagerConfig(tune_parameters={"hungry-minimun": 2})),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(use):
    with pytest.raises(InvalidConfiguration, match="no tune parameter 'hungry.minimun'; the nearest: 'hungry-minimum'"):
        use()


def test_what_is_vinefasts_own_is_read():
    sources = [path for suffix in ("py", "pxi") for path in (CHECKOUT / "vinefast").rglob(f"*.{suffix}")]
    text = "".join(path.read_text() for path in sources)
    own = [p for p in ALL if not p.tuned]
    assert [p.name for p in own if not re.search(rf"\btun(?:ing|ed)\.{p.attribute}\b", text)] == []


def test_a_name_like_no_other():
    with pytest.raises(InvalidConfiguration, match="no tune parameter 'xyz'; 'vinefast tune' lists all"):
        Tuning.of({"xyz": 1})
    with pytest.raises(InvalidConfiguration, match="no tune parameter 3"):
        Tuning.of({3: 1})


def test_a_name_given_twice():
    for other in ("hungry_minimum", "hungry-minimum"):
        assert Tuning.of({other: 2}) == {"hungry-minimum": 2}
    with pytest.raises(InvalidConfiguration, match="names a parameter twice"):
        Tuning.of({"hungry-minimum": 1, "hungry_minimum": 2})


def test_a_name_that_this_engine_lacks(monkeypatch):
    monkeypatch.setattr(parameter, "TASKVINE_VERSION", "7.14.5")
    with pytest.raises(
        InvalidConfiguration, match="'max-workers' needs TaskVine 7.15.5 or newer; .* built with 7.14.5"
    ):
        Tuning(max_workers=3)
    with pytest.raises(InvalidConfiguration, match=r"'scheduler' is 'disk'; .* disk \(TaskVine 7.15.5 or newer\)"):
        Tuning(scheduler="disk")
    monkeypatch.setattr(parameter, "TASKVINE_VERSION", "7.15.10")
    assert Tuning(max_workers=3, scheduler="disk") == {"max-workers": 3, "scheduler": "disk"}


def test_attributes_and_items_are_the_same():
    tuning = Tuning(hungry_minimum=20)
    tuning.keepalive_interval = 60
    tuning["prefer-dispatch"] = True
    tuning |= {"worker_retrievals": False}
    assert (tuning.hungry_minimum, tuning.keepalive_interval, tuning.prefer_dispatch) == (20, 60, True)
    assert tuning == {
        "hungry-minimum": 20,
        "keepalive-interval": 60,
        "prefer-dispatch": True,
        "worker-retrievals": False,
    }
    del tuning["hungry-minimum"]
    assert tuning.hungry_minimum == 10
    assert eval(repr(tuning)) == tuning
    assert json.loads(json.dumps(tuning)) == tuning
    for other in (copy.deepcopy(tuning), pickle.loads(pickle.dumps(tuning))):
        assert other == tuning and type(other) is Tuning
    with pytest.raises(InvalidConfiguration):
        tuning.worker_retrievals = 2


def test_facts_are_seen_by_help():
    assert "10" in repr(Tuning.hungry_minimum)
    assert Tuning.hungry_minimum.__doc__.startswith(Tuning.hungry_minimum.doc)
    assert "1 or more" in Tuning.hungry_minimum.__doc__


def test_what_the_engine_is_told():
    # What is vinefast's own, and a default of TaskVine, stays here.
    assert Tuning(bundle_ms=10, scheduler="files").for_vine_tune() == {"transient-error-interval": 1.0}
    assert Tuning(prefer_dispatch=True, transient_error_interval=15).for_vine_tune() == {
        "prefer-dispatch": 1.0,
        "transient-error-interval": 15.0,
    }
    # From 7.15 the first sets the second too.
    names = list(Tuning(proportional_whole_tasks=False, proportional_resources=True).for_vine_tune())
    assert names.index("proportional-resources") < names.index("proportional-whole-tasks")


@pytest.mark.processes
def test_the_engine_knows_these_names_and_no_others(tmp_path):
    """Ask a real manager about every string in the engine that looks like a name."""
    engine = taskvine.probe(taskvine.default_compiler(), python_include=taskvine.python_include())
    trial = taskvine.Trial(taskvine.default_compiler(), tmp_path)
    objects = [trial.compile(TUNE, [engine.installation.include]), trial.compile(taskvine.GLIBC_SHIM)]
    program = trial.link(objects, engine.link_args)
    assert program, trial.words

    archive = b"".join(path.read_bytes() for path in engine.installation.archives)
    strings = {string.decode() for string in re.findall(rb"(?<=\0)[a-z]+(?:-[a-z]+)+(?=\0)", archive)}
    table = {name for p in ALL if p.tuned and p.available for name in (p.name, *p.aliases)}
    assert table < strings
    questions = "".join(f"{name} 1\n" for name in sorted(strings))
    run = subprocess.run(
        [program], input=questions, cwd=tmp_path, capture_output=True, text=True, timeout=30, check=True
    )
    answers = dict(line.split() for line in run.stdout.splitlines())
    assert answers.keys() == strings
    assert {name for name, answer in answers.items() if answer == "0"} == table
