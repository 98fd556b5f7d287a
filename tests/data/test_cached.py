"""`CachedFile`: what it is elsewhere, what is noticed of a change, and how TaskVine is told."""

import copy
import os
import pickle
import subprocess
from pathlib import Path

import pytest
from parsl.data_provider.data_manager import default_staging
from parsl.data_provider.file_noop import NoOpFileStaging
from parsl.data_provider.files import File

from vinefast import CachedFile, InvalidConfiguration, URLStaging
from vinefast.data.plan import CallPlan
from vinefast.data.staging import WorkerPath
from vinefast.data.urls import Timeouts, curl_source
from vinefast.errors import InputMissing
from vinefast.library import files as on_worker

URL = "http://host/data/x.csv"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        (tmp_path / name).write_text("same")


def labels(*sources, cache="worker"):
    return [CachedFile(source, cache).caching().label for source in sources]


def test_elsewhere_it_is_a_plain_file():
    file = pickle.loads(pickle.dumps(CachedFile("a", "worker")))
    assert type(file) is File
    assert file.filepath == CachedFile("a").filepath == "a"
    assert type(pickle.loads(pickle.dumps(CachedFile(URL)))) is File
    with pytest.raises(ValueError, match=f"{URL} has a path on vinefast's workers only"):
        os.fspath(CachedFile(URL))


@pytest.mark.parametrize("make", [CachedFile.cleancopy, copy.copy, copy.deepcopy])
def test_copies_are_cached_alike(make):
    copied = make(CachedFile(URL, "forever", unpack=True))
    assert type(copied) is CachedFile
    assert (copied.url, copied.cache, copied.unpack, copied.is_remote) == (URL, "forever", True, True)


def test_parsl_stages_nothing():
    first = next(provider for provider in default_staging if provider.can_stage_in(CachedFile(URL)))
    assert isinstance(first, NoOpFileStaging)
    assert not URLStaging().can_stage_in(CachedFile(URL))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("globus://x/y",), "source"),
        ((3,), "source"),
        (("a", "always"), "cache"),
        (("a", "call", 1), "unpack"),
    ],
)
def test_what_cannot_work_is_refused_and_named(arguments, named):
    with pytest.raises(InvalidConfiguration, match=f"^{named} is "):
        CachedFile(*arguments)


@pytest.mark.parametrize("arguments", [{"connect_timeout_s": 0}, {"idle_timeout_s": 1.5}])
def test_times_of_url_staging_are_checked(arguments):
    with pytest.raises(InvalidConfiguration, match=next(iter(arguments))):
        URLStaging(**arguments)


def test_content_has_one_name():
    assert len(set(labels("a", "b"))) == 1
    assert labels("a", cache="workflow") == labels("a", cache="call") == [None]
    before = labels("a")
    with open("a", "w") as file:
        file.write("else")
    assert labels("a") != before
    assert labels(URL) == labels(URL, cache="forever") != labels(URL + "?x")


def test_directories_have_the_name_of_all_that_is_in_them():
    for name in ("d", "e"):
        os.makedirs(f"{name}/in")
        with open(f"{name}/in/x", "w") as file:
            file.write("x")
    assert len(set(labels("d", "e"))) == 1
    versions = [CachedFile("d").caching().version]
    for change in ("touch", "link", "remove"):
        if change == "touch":
            os.utime("d/in/x", (1, 1))
        elif change == "link":
            os.symlink("in/x", "d/y")
        else:
            os.unlink("d/in/x")
        versions.append(CachedFile("d").caching().version)
    assert len(set(versions)) == 4
    assert CachedFile("d").caching().linked
    assert not CachedFile("a").caching().linked


def test_workers_see_a_plain_file_in_a_directory_of_its_own():
    plan = CallPlan(shared=True)
    cached = [CachedFile("a"), CachedFile(URL), CachedFile("b", "worker")]
    files = [plan.seen(each) for each in cached]
    assert all(type(file) is File and isinstance(file.local_path, WorkerPath) for file in files)
    assert len({os.path.dirname(file.local_path) for file in files}) == 3
    assert [plan.seen(each) for each in cached] == files
    on_worker.enter(b"/sandbox")
    assert pickle.loads(pickle.dumps(files[1])).filepath == f"/sandbox/{files[1].local_path}"
    assert plan.files() is not None
    with pytest.raises(InputMissing, match="'gone' .*: No such file"):
        plan.seen(CachedFile("gone"))
    assert isinstance(plan.error, InputMissing)


@pytest.mark.parametrize("odd", ["\u00e9 x", "t\tab", "new\nline", "a#b?c", os.fsdecode(b"\xff"), "x" * 255])
def test_workers_see_a_file_under_its_name(odd):
    Path(odd).write_text("odd")
    file = CachedFile(odd)
    assert (file.filepath, file.filename) == (odd, odd)
    assert pickle.loads(pickle.dumps(file.cleancopy())).filepath == odd
    seen = CallPlan(shared=True).seen(file)
    assert (seen.filename, os.path.basename(seen.filepath)) == (odd, odd)
    assert CallPlan(shared=True).find((seen,), {}).files() is not None


@pytest.mark.parametrize("path", ["/..", "/d/..", "/d/" + "x" * 256])
def test_what_is_at_a_url_without_a_name_has_one_on_workers(path):
    assert WorkerPath.of_url(f"http://h{path}", Timeouts()).endswith("/file")
    assert WorkerPath.of_url("http://h/d/\u00e9 x?y=/z", Timeouts()).endswith("/\u00e9 x")


def test_what_a_shell_would_read_is_encoded():
    source = curl_source('http://h/$(x)`y`"\\ \u00e9%20[1]{2}?a=b&c#d', Timeouts(3, 4))
    url, quote, options = source.partition('"')
    assert url == "http://h/%24(x)%60y%60%22%5C%20%C3%A9%20[1]{2}?a=b&c#d"
    assert (quote + options).endswith('--fail --connect-timeout 3 --speed-limit 1 --speed-time "4')
    with pytest.raises(InputMissing, match="too long"):
        curl_source("http://h/" + "x" * 4000, Timeouts())


def test_why_a_url_failed_is_told_where_there_is_no_dev_stdout(tmp_path):
    source = curl_source("http://127.0.0.1:1/x", Timeouts())
    # As TaskVine's worker does, which names /dev/stdout.
    command = f'curl -sSL --stderr "{tmp_path}/no/stdout" -o "{tmp_path}/x" "{source}"'
    run = subprocess.run(command, shell=True, stdout=subprocess.PIPE, text=True)
    assert run.returncode == 7
    assert run.stdout.startswith("curl: (7)")
