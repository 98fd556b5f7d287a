"""What vinefast assumes of TaskVine's inside is proved by the build: with archives that fit, and with others."""

import re
import subprocess

import pytest

from tests.helpers.prefixes import CHECKOUT, copy_prefix, taskvine
from vinefast import _core

pytestmark = pytest.mark.processes

border = taskvine.border


@pytest.fixture(scope="module")
def real():
    """The installation that vinefast itself was built with."""
    return taskvine.find()


@pytest.fixture
def archive(real, tmp_path):
    """TaskVine's archive in a prefix of its own, to be changed."""
    path = copy_prefix(real, tmp_path / "prefix") / "lib" / "libtaskvine.a"
    path.unlink()
    path.write_bytes(real.archives[0].read_bytes())
    return path


def run(*command, **kwargs):
    subprocess.run(command, check=True, capture_output=True, **kwargs)


def probe(archive):
    installation = taskvine.inspect("test", archive.parent.parent)[0]
    return taskvine.probe(taskvine.default_compiler(), installation, taskvine.python_include())


def refusal(archive):
    with pytest.raises(taskvine.TaskVineError) as info:
        probe(archive)
    message = str(info.value)
    version = taskvine.worker_version(taskvine.find().worker)
    assert message.startswith(f"TaskVine {version} at {archive.parent.parent} is not as vinefast needs it")
    assert "use one of these" in message and "conda install" in message
    return message


def rename(archive, name):
    """Rename a function wherever it is defined or called, as a new release might."""
    for path in archive.parent.glob("*.a"):
        copy = path.read_bytes()
        path.unlink()
        path.write_bytes(copy)
        run("objcopy", "--redefine-sym", f"{name}={name}_v2", path)


def merge(archive, *names):
    """Make one object of several, as a new release might."""
    objects = [f"{name}.o" for name in names]
    run("ar", "x", archive, *objects, cwd=archive.parent)
    run("ar", "d", archive, *objects)
    run("ld", "-r", "-o", "merged.o", *objects, cwd=archive.parent)
    run("mv", "merged.o", objects[0], cwd=archive.parent)
    run("ar", "rs", archive, objects[0], cwd=archive.parent)


# The build's proof


def test_the_engine_that_we_are_built_with_fits(archive):
    engine = probe(archive)
    release = border.release_of(engine.version)
    assert engine.wrap_args == [f"-Wl,--wrap={hook.name}" for hook in border.HOOKS if hook.is_in(release)]
    assert engine.is_known == any(release == border.release_of(version) for version in border.COMPARED)


def test_an_object_that_calls_its_own_function_is_found(archive):
    merge(archive, "vine_manager", "vine_schedule")
    message = refusal(archive)
    assert "vine_schedule_task_to_worker(), where a task gets a worker" in message
    assert "vine_manager does not call it from another object, which vine_manager defines" in message
    assert message.count("(), where") == 1


def test_a_renamed_function_that_is_replaced_is_found(archive):
    rename(archive, "vine_worker_delete")
    assert "vine_worker_delete(), where a connection has ended: no object defines it." in refusal(archive)


def test_a_renamed_function_that_is_called_is_found(archive):
    rename(archive, "vine_manager_lookup_file")
    assert "vine_manager_lookup_file(), which vinefast calls: no object defines it." in refusal(archive)


def test_a_function_of_the_c_library_that_is_not_called_any_more_is_found(archive):
    rename(archive, "listen")
    # Nothing else could link such an archive.
    (archive.parent / "extra.c").write_text(
        "int listen(int, int); int listen_v2(int f, int n) { return listen(f, n); }"
    )
    run("cc", "-c", "-fPIC", "extra.c", cwd=archive.parent)
    run("ar", "rs", archive.parent / "libdttools.a", archive.parent / "extra.o")
    assert "link does not call it from another object" in refusal(archive)


def test_a_message_with_other_words_is_found(archive):
    data = archive.read_bytes()
    assert data.count(b") invalidated %s") == 1
    archive.write_bytes(data.replace(b") invalidated %s", b") disregarded %s"))
    assert 'the message "%s (%s) invalidated %s with error: %s"' in refusal(archive)


def test_a_function_or_structure_of_another_type_is_found(real, tmp_path):
    (tmp_path / "vine_task.c").write_text(
        "struct vine_task; enum type { A }; typedef long size;\n"
        "struct vine_file_replica { enum type type; size size; int level; } replica;\n"
        "int vine_task_set_result(struct vine_task *task, const char *why) { return !task + !why; }\n"
        "void vine_worker_delete(struct vine_worker_info *worker) { (void)worker; }\n"
    )
    run("cc", "-g", "-c", "vine_task.c", cwd=tmp_path)
    run("ar", "rcs", "libtaskvine.a", "vine_task.o", cwd=tmp_path)
    release = border.release_of(taskvine.worker_version(real.worker))
    (tmp_path / "ours.c").write_text(border.types_source())
    includes = [f"-I{border.CSRC}", f"-I{real.include}"]
    run("cc", "-g", *includes, f"-DVF_TASKVINE={release}", "-c", "ours.c", cwd=tmp_path)
    tools = {name: name for name in ("nm", "ar", "readelf")}
    assert list(border.type_misfits(tmp_path / "libtaskvine.a", tmp_path / "ours.o", tools, tmp_path)) == [
        "vine_task_set_result(): it is int (struct vine_task *, const char *), not int (struct vine_task *, int)",
        "struct vine_file_replica: it begins with 0 int, 8 long int, 16 int, not 0 int, 4 int, 8 long int",
    ]


def test_every_function_that_replaces_another_has_its_row():
    sources = "".join(path.read_text() for path in sorted((CHECKOUT / "csrc").glob("*.c")))
    replaced = re.findall(r"^\w[^;\n]*?__wrap_(\w+)\(", sources, re.M)
    fired = re.findall(r"VF_FIRED\((\w+)\)", sources)
    rows = {hook.name for hook in border.HOOKS}
    assert set(replaced) == rows == set(fired)
    releases = {border.release_of(version) for version in border.COMPARED}
    assert all(hook.first in releases and hook.last in releases | {999} for hook in border.HOOKS)


def test_nothing_private_is_declared_outside_its_header():
    declaration = re.compile(r"^[a-z][\w ]*[ *](?:vine|link|cctools|check)_\w+\([^;{]*\);", re.M)
    for path in sorted((CHECKOUT / "csrc").glob("*.[ch]")):
        assert bool(declaration.search(path.read_text())) == (path.name == "taskvine_private.h"), path


# The self-test


def test_every_function_that_is_replaced_is_seen_at_work(tmp_path):
    assert _core.check_border(str(tmp_path)) == []


def test_the_self_test_says_what_is_wrong(tmp_path):
    (tmp_path / "file").touch()
    assert _core.check_border(str(tmp_path / "file")) == [f"No manager can be made in {tmp_path}/file"]
