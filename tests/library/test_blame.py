"""Who is to blame for a child's death: for each stage at which it may come, and for what came before."""

from __future__ import annotations

import pickle

import pytest

from vinefast.library.blame import Counted, Fate, History, Verdict, judge
from vinefast.library.memory import LOADING, OUTSIDE, RUNNING
from vinefast.library.protocol import STATUS_DIED
from vinefast.library.run import Resume

SERIAL = 7
EARLIER = Resume((STATUS_DIED, b"earlier"), 96, {5: b"earlier"})
STAGES = [OUTSIDE, RUNNING, LOADING, LOADING + 3]


def counted(stage, done=0, published=None, serial=SERIAL, finished=False):
    return Counted(serial, finished, done, done if published is None else published, stage)


def died(verdict: Verdict, code: int = 3) -> Resume:
    assert verdict.fate is Fate.RESUMED and verdict.begun
    return verdict.resume(code, "last words")


def words(code):
    return pickle.dumps((code, None, "last words", None), 5)


def test_the_call_that_was_running_is_blamed():
    # Of a record that is all in the file, the child had not yet counted its end.
    verdict = judge(SERIAL, counted(RUNNING, done=32, published=64), History(EARLIER))
    assert verdict.blamed == RUNNING
    assert died(verdict) == Resume((STATUS_DIED, words(3)), 64, {5: b"earlier"})


@pytest.mark.parametrize("index", [0, 3])
def test_the_function_that_was_being_loaded_is_blamed(index):
    verdict = judge(SERIAL, counted(LOADING + index, done=32), History(EARLIER))
    assert verdict.blamed == LOADING + index
    assert died(verdict) == Resume(EARLIER.record, 96, {5: b"earlier", index: words(3)})
    assert EARLIER.dead_functions == {5: b"earlier"}


def test_outside_of_user_code_nobody_is_blamed():
    verdict = judge(SERIAL, counted(OUTSIDE, done=32), History(EARLIER))
    assert verdict.blamed == OUTSIDE
    assert died(verdict) is EARLIER
    assert verdict.history == History(EARLIER, (32, 1), 0)


@pytest.mark.parametrize(("code", "expected"), [(0, (0, None)), (17, (17, None)), (-9, (None, 9))])
def test_exit_codes_and_signals(code, expected):
    status, payload = died(judge(SERIAL, counted(RUNNING), History()), code).record
    assert status == STATUS_DIED
    assert pickle.loads(payload) == (*expected, "last words", None)


@pytest.mark.parametrize("stage", STAGES)
def test_what_is_complete_is_finished(stage):
    history = History(EARLIER, (0, 1), 2)
    verdict = judge(SERIAL, counted(stage, finished=True), history)
    assert verdict == Verdict(Fate.FINISHED, history)


@pytest.mark.parametrize("finished", [False, True])
@pytest.mark.parametrize("stage", STAGES)
def test_what_is_told_of_another_bundle_blames_nobody(stage, finished):
    verdict = judge(SERIAL, counted(stage, 320, serial=SERIAL - 1, finished=finished), History())
    assert verdict == Verdict(Fate.RESUMED, History(Resume(), (0, 0), 0), begun=False)


@pytest.mark.parametrize("begun", [True, False])
def test_at_the_third_death_in_a_row_without_progress_a_bundle_is_given_up(begun):
    history = History()
    fates = []
    for _ in range(4):
        verdict = judge(SERIAL, counted(OUTSIDE, serial=SERIAL if begun else 0), history)
        history = verdict.history
        fates.append(verdict.fate)
        assert verdict.begun == begun
    # The first tells how far it has come.
    assert fates == 3 * [Fate.RESUMED] + [Fate.GIVEN_UP]


def test_progress_is_no_stall():
    history = History()
    for done in (0, 0, 0, 16, 16, 16, 32):
        verdict = judge(SERIAL, counted(OUTSIDE, done), history)
        assert verdict.fate is Fate.RESUMED
        history = verdict.history
    assert history == History(Resume(), (32, 0), 0)


def test_a_running_call_is_no_stall():
    verdict = judge(SERIAL, counted(RUNNING, 32), History(Resume(), (32, 0), 2))
    assert verdict.fate is Fate.RESUMED and verdict.history.stalled == 0


def test_each_function_that_kills_is_progress():
    history = History()
    for index in range(10):
        verdict = judge(SERIAL, counted(LOADING + index), history)
        history = verdict.history._replace(resume=died(verdict, -11))
        assert history.stalled == 0
    assert set(history.resume.dead_functions) == set(range(10))


def test_a_function_that_kills_again_though_it_is_known_is_a_stall():
    history = History(Resume(None, 0, {2: b"dead"}), (0, 1), 2)
    assert judge(SERIAL, counted(LOADING + 2), history).fate is Fate.GIVEN_UP
