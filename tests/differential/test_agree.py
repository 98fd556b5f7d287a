"""Random programs of dependent apps have the same outcome on vinefast as on executors of Parsl's.

`make differential SECONDS=600 SEED=1 MODE=regular`, which are `VINEFAST_DIFFERENTIAL_SECONDS` and so on in the
environment.
"""

import itertools
import json
import os
import random
import subprocess
import sys
import time

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.differential.agreement import disagreements
from tests.differential.apps import CRASH_STATUS, MADE
from tests.differential.differences import (
    HARMFUL,
    LABELS,
    PROGRAM_ENDS,
    RETURNS,
    SAME,
    TABLE,
    THREADS,
    difference_of,
    end_apart,
    step_of,
)
from tests.differential.executors import ROOT, Executors, all_three
from tests.differential.program import Program, Step, Value
from tests.differential.programs import PROGRAMS
from tests.differential.run import Hung, Run, run_all
from tests.differential.values import EXCEPTIONS, RESULTS, VALUES

SECONDS = float(os.environ.get("VINEFAST_DIFFERENTIAL_SECONDS") or 0)
SEED = int(os.environ.get("VINEFAST_DIFFERENTIAL_SEED") or random.SystemRandom().randrange(1 << 31))
MODE = os.environ.get("VINEFAST_DIFFERENTIAL_MODE") or "serverless"
# Examples, each of up to four programs.
N_OF_A_SEED = 50
# Programs of one step.
N_AT_ONCE = 30
_numbers = itertools.count()

pytestmark = [pytest.mark.processes, pytest.mark.skipif(not SECONDS, reason="make differential runs this")]


@pytest.fixture(scope="module")
def executors(tmp_path_factory):
    """All that are compared."""
    with Executors(tmp_path_factory.mktemp("differential"), lambda: all_three(MODE)) as executors:
        yield executors


def agree(made, executors):
    """Run programs at the same time, and fail with the code of those on which executors disagree."""
    found = []
    try:
        told = run_all(made, executors.directory / f"programs-{next(_numbers)}")
    except Hung as hung:
        # It may have taken all that comes later with it.
        executors.unload()
        executors.load()
        found = [str(hung), *map(repr, made)]
    else:
        for program, each in zip(made, told, strict=True):
            if lines := disagreements(program, each):
                found += [*lines, f"{program!r}\nPut that into FILE, and: .venv/bin/python -m tests.differential FILE"]
    assert not found, "\n".join(found)


def look(executors, number, n_examples, end=float("inf")):
    """Run programs of a seed, as long as there is time; gives how many programs and steps that were."""
    n_run, n_steps, has_failed = 0, 0, False

    @seed(number)
    @settings(
        max_examples=n_examples,
        deadline=None,
        database=None,
        print_blob=False,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )
    @given(st.lists(PROGRAMS, min_size=1, max_size=4))
    def check(made):
        nonlocal n_run, n_steps, has_failed
        # What has been found is shrunk however long that takes.
        if time.monotonic() > end and not has_failed:
            return
        try:
            agree(made, executors)
        except BaseException:
            has_failed = True
            raise
        n_run += len(made)
        n_steps += sum(len(program.steps) for program in made)

    try:
        check()
    except BaseException:
        print(f"\nThis again: make differential SEED={number} MODE={MODE} SECONDS=60")
        raise
    return n_run, n_steps


@pytest.mark.timeout(900)
def test_each_row_of_the_table(executors):
    """Alone, a step ends as its row says; and where programs do not run it, it ends otherwise than elsewhere indeed."""
    steps = {row: step_of(row) for row in TABLE}
    assert [difference_of(step) for step in steps.values()] == [*TABLE.values()]
    agree([Program((step,)) for step in steps.values()], executors)
    for row, difference in TABLE.items():
        same = [label for label, end in difference.ends.items() if end == SAME]
        for label in LABELS:
            end = end_apart(difference, label)
            if end and end not in HARMFUL:
                ends = {each: alone(steps[row], each, executors) for each in [label, *same[:1]]}
                assert ends[label].get("class", RETURNS) == end, (row, ends)
                assert not same or ends[label] != ends[same[0]], (row, ends)


def alone(step, label, executors):
    """Tell how a step ends, also where no program runs it."""
    run = Run(Program((step,)), label, executors.directory / f"alone-{next(_numbers)}", is_real=True)
    return run.run()[0][0]


@pytest.mark.timeout(600)
def test_what_is_never_run_elsewhere():
    """As the table says, it does not end, takes a worker along, or the program."""
    command = [sys.executable, "-m", "tests.differential.apart"]
    told = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=500, check=True).stdout
    found = {(label, row): end for label, row, end in map(json.loads, told.splitlines())}
    ends = {(label, repr(row)): end_apart(TABLE[row], label) for row in TABLE for label in LABELS}
    assert found == {key: end for key, end in ends.items() if end in HARMFUL and end != PROGRAM_ENDS}
    assert [row for row in TABLE if end_apart(TABLE[row], THREADS) == PROGRAM_ENDS] == [("crash", None)]
    assert subprocess.run([*command, "--ends"], cwd=ROOT, timeout=100).returncode == CRASH_STATUS


@pytest.mark.timeout(900)
def test_each_value_alone(executors):
    """What is seldom drawn is seen, too: what has no row is given, returned, raised, and raised within a join_app."""
    steps = [Step("give", (name,)) for name in RESULTS] + [Step("tell_arguments", (Value(name),)) for name in VALUES]
    steps += [Step("fail", (name,), kind=kind) for name in EXCEPTIONS for kind in ("python", "join")]
    steps += [Step("made", (name, 1, [2])) for name in MADE]
    alone = [Program((step,)) for step in steps if (step.app, step.args[0]) not in TABLE]
    for start in range(0, len(alone), N_AT_ONCE):
        agree(alone[start : start + N_AT_ONCE], executors)


@pytest.mark.timeout(int(SECONDS + 1800))
def test_random_programs(executors):
    start = time.monotonic()
    n_run = n_steps = 0
    for number in itertools.count(SEED):
        if time.monotonic() > start + SECONDS:
            break
        ran, steps = look(executors, number, N_OF_A_SEED, start + SECONDS)
        n_run, n_steps = n_run + ran, n_steps + steps
    print(f"\n{MODE} mode, seeds {SEED} to {number - 1}: {n_run} programs, {n_steps} steps")
