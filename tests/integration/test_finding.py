"""Files among a call's arguments say so while they are pickled, for that call alone."""

import types

import pytest

from vinefast import CachedFile, TempFile, mark
from vinefast.errors import InputMissing


@mark(keep=True)
def keep(value):
    return value


def read(*wrapped, more=None):
    """The text of a file in a list, a dictionary or an object."""
    (found,) = [*wrapped, *([more["file"]] if more else [])]
    file = getattr(found, "file", found)
    with open(file[0] if isinstance(file, list) else file) as opened:
        return opened.read()


def write(text, outputs=()):
    with open(outputs[0], "w") as file:
        file.write(text)


@pytest.fixture
def counted(executor, monkeypatch):
    """An executor, and the plans that it makes."""
    plans = []
    plan = executor._parts.plan

    def counting(*args):
        plans.append(plan(*args))
        return plans[-1]

    monkeypatch.setattr(executor._parts, "plan", counting)
    # The engine has a weak reference to the method that was.
    monkeypatch.setattr(executor._parts.engine.submitter, "make_plan", lambda: counting)
    return executor, plans


def test_calls_without_files_have_no_plan(counted):
    executor, plans = counted
    file = TempFile("a")
    executor.submit(write, {}, "text", outputs=[file]).result(30)
    executor.submit(keep, {}, 1).result(30)
    assert len(plans) == 2
    assert [executor.submit(pow, {}, 2, i).result(30) for i in range(3)] == [1, 2, 4]
    assert list(executor.map(abs, [-1, -2])) == [1, 2]
    assert len(plans) == 2
    assert executor.submit(read, {}, file).result(30) == "text"
    assert len(plans) == 3


def test_a_cached_file_may_lie_anywhere_among_arguments(executor, tmp_path):
    (tmp_path / "data").write_text("there")
    file = CachedFile(tmp_path / "data")
    nested = types.SimpleNamespace(file=file)
    futures = [
        executor.submit(read, {}, file),
        executor.submit(read, {}, [file]),
        executor.submit(read, {}, nested),
        executor.submit(read, {}, more={"file": file}),
    ]
    assert [future.result(30) for future in futures] == ["there"] * 4


def test_what_pickle_is_not_up_to_finds_them_as_well(executor, tmp_path):
    """dill asks for them a second time."""
    (tmp_path / "data").write_text("there")
    file, made = CachedFile(tmp_path / "data"), TempFile("a")
    executor.submit(write, {}, "text", outputs=[made]).result(30)

    def join(cached, temporary, function):
        return function(open(cached).read() + open(temporary).read())

    assert executor.submit(join, {}, file, made, lambda text: text.upper()).result(30) == "THERETEXT"
    with pytest.raises(InputMissing, match="'none'"):
        executor.submit(join, {}, file, TempFile("none"), lambda text: text)


def test_a_missing_file_is_told_whatever_becomes_of_the_error_in_pickling(executor):
    class Swallows:
        def __reduce__(self):
            try:
                CachedFile("gone").__reduce_ex__(5)
            except InputMissing:
                pass
            return str, ("swallowed",)

    with pytest.raises(InputMissing, match="gone"):
        executor.submit(abs, {}, Swallows())
    assert executor.submit(abs, {}, -1).result(30) == 1
