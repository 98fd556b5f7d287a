"""Resource specifications: what is refused, and what the core is told."""

import logging

import pytest
from parsl.executors.errors import InvalidResourceSpecification

from vinefast.settings.resources import CallSpec, SpecReader

READER = SpecReader()


def spec(**specification):
    return READER.read(specification)


def test_equal_specifications_are_the_same_object():
    got = spec(cores=2, memory=100, priority=1)
    assert got == CallSpec(cores=2.0, memory=100, priority=1.0)
    assert got is spec(priority=1.0, memory=100.0, cores=2)
    assert got is not spec(cores=2)


def test_asking_for_nothing_gives_nothing():
    assert spec() is None
    assert spec(cores=None, priority=0) is None
    assert spec(exec_mode="serverless") is None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("cores", -1),
        ("cores", True),
        ("cores", "2"),
        ("cores", [2]),
        ("memory", 1.5),
        ("disk", float("inf")),
        ("priority", 10**400),
        ("memory", 10**400),
        ("gpus", -1),
        ("priority", "high"),
        ("priority", float("nan")),
        ("category", ""),
        ("category", "a\nb"),
        ("running_time_min", -5),
        ("exec_mode", "regular"),
    ],
)
def test_a_bad_resource_is_named_with_its_value(key, value):
    with pytest.raises(InvalidResourceSpecification) as caught:
        spec(**{key: value})
    assert caught.value.invalid_keys == {key}
    assert repr(value) in str(caught.value)


def test_true_is_no_number_even_after_one():
    assert spec(cores=1) is not None
    with pytest.raises(InvalidResourceSpecification):
        spec(cores=True)


def test_a_specification_is_a_dict():
    with pytest.raises(InvalidResourceSpecification, match="accepted: a dict"):
        READER.read(["cores"])


def test_an_unknown_resource_is_refused_with_the_nearest():
    with pytest.raises(InvalidResourceSpecification, match="Did you mean 'cores'\\?") as caught:
        spec(core=1)
    assert caught.value.invalid_keys == {"core"}
    assert "strict_resources=False" in str(caught.value)


def test_an_unknown_resource_is_ignored_with_one_warning_where_that_is_asked_for(caplog):
    reader = SpecReader(strict=False)
    with caplog.at_level(logging.WARNING):
        assert reader.read({"bananas": 1}) is None
        assert reader.read({"bananas": 2, "cores": 1}) == CallSpec(cores=1.0)
        # Of two executors in a program each warns for itself.
        for label in ("x", "y", "x"):
            assert SpecReader(strict=False, label=label).read({"core": 1}) is None
    assert [record.getMessage().count("bananas") for record in caplog.records] == [1, 0, 0]
    assert [getattr(record, "parsl.executor", None) for record in caplog.records] == [None, "x", "y"]
    assert "Ignoring 'core' in a resource specification of executor y. Did you mean 'cores'? Known: " in caplog.text


def test_priorities_may_be_lowest_first():
    assert SpecReader(lowest_first=True).read({"priority": 3}) == CallSpec(priority=-3.0)


def test_memory_is_enforced_where_somebody_says_so():
    reader = SpecReader(enforce_memory=True)
    assert not spec(memory=100).enforce_memory
    assert (
        spec(memory=100, enforce_memory=True)
        == reader.read({"memory": 100})
        == CallSpec(memory=100, enforce_memory=True)
    )
    assert reader.read({"memory": 100, "enforce_memory": False}) == spec(memory=100)
    assert reader.read({"cores": 1}) == spec(cores=1) and reader.read({"memory": 0}) == spec(memory=0)
    assert reader.read({"cores": 1, "enforce_memory": False}) == spec(cores=1, enforce_memory=False) == spec(cores=1)
    for wrong in ({"enforce_memory": True}, {"enforce_memory": True, "memory": 0}, {"enforce_memory": 1, "memory": 9}):
        with pytest.raises(InvalidResourceSpecification, match="enforce_memory"):
            reader.read(wrong)
