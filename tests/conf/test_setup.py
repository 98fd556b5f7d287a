"""The build's own probe and the installer, against real compilers and made-up prefixes."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.helpers.prefixes import CHECKOUT, copy_prefix, load, program, taskvine

pytestmark = pytest.mark.processes

INSTALLER = CHECKOUT / "scripts" / "install-taskvine"


@pytest.fixture(scope="module")
def real():
    """The installation that vinefast itself was built with."""
    return taskvine.find()


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """An environment in which no TaskVine is found."""
    monkeypatch.delenv("VINEFAST_TASKVINE_PREFIX", raising=False)
    monkeypatch.delenv("CONDA_PREFIX", raising=False)
    monkeypatch.setenv("PATH", "/nonesuch")
    monkeypatch.setattr(taskvine, "SYSTEM_PREFIX", tmp_path / "usr")
    monkeypatch.setattr(taskvine, "PRIVATE_PREFIX", tmp_path / "private")
    return tmp_path


@pytest.fixture
def prefix(real, tmp_path):
    """A prefix like the real one, whose parts a test may replace."""
    return copy_prefix(real, tmp_path / "prefix")


def compiler(monkeypatch, tmp_path, text):
    """Let CC be a wrapper around the real compiler."""
    monkeypatch.setenv("CC", str(program(tmp_path / "cc", text)))


def probe(prefix=None):
    installation = taskvine.inspect("test", prefix)[0] if prefix else None
    return taskvine.probe(taskvine.default_compiler(), installation, taskvine.python_include())


def refusal(prefix=None):
    with pytest.raises(taskvine.TaskVineError) as info:
        probe(prefix)
    return str(info.value)


# Finding


def test_search_order(monkeypatch, nowhere, real):
    for name in ("private", "usr", "path", "conda", "chosen"):
        copy_prefix(real, nowhere / name)
    found = [taskvine.find().prefix.name]
    shutil.rmtree(nowhere / "private")
    for change in (
        lambda: None,
        lambda: monkeypatch.setenv("PATH", str(nowhere / "path" / "bin")),
        lambda: monkeypatch.setenv("CONDA_PREFIX", str(nowhere / "conda")),
        lambda: monkeypatch.setenv("VINEFAST_TASKVINE_PREFIX", str(nowhere / "chosen")),
    ):
        change()
        found.append(taskvine.find().prefix.name)
    assert found == ["usr", "usr", "path", "conda", "chosen"]


def test_private_prefix_is_the_last_resort(nowhere, real):
    copy_prefix(real, nowhere / "private")
    assert taskvine.find().prefix == nowhere / "private"


def test_unusable_prefix_is_passed_over(monkeypatch, nowhere, real):
    (copy_prefix(real, nowhere / "conda") / "lib" / "libdttools.a").unlink()
    copy_prefix(real, nowhere / "usr")
    monkeypatch.setenv("CONDA_PREFIX", str(nowhere / "conda"))
    assert taskvine.find().prefix == nowhere / "usr"


def test_chosen_prefix_is_never_replaced_by_another(monkeypatch, nowhere, real):
    copy_prefix(real, nowhere / "usr")
    monkeypatch.setenv("VINEFAST_TASKVINE_PREFIX", str(nowhere / "chosen"))
    with pytest.raises(taskvine.TaskVineError, match="chosen"):
        taskvine.find()


def test_miss_names_paths_and_commands(monkeypatch, nowhere):
    monkeypatch.setenv("CONDA_PREFIX", str(nowhere / "conda"))
    message = refusal()
    for part in (
        f"{nowhere / 'conda'} (CONDA_PREFIX): no include/cctools/taskvine.h, bin/vine_worker, lib/libtaskvine.a",
        f"{nowhere / 'usr'} (system)",
        f"{nowhere / 'private'} (scripts/install-taskvine)",
        "conda install -c conda-forge ndcctools",
        "sudo apt install coop-computing-tools coop-computing-tools-dev",
        "scripts/install-taskvine",
        "VINEFAST_TASKVINE_PREFIX",
    ):
        assert part in message


def test_multiarch_library_directory(prefix, real):
    multiarch = prefix / "lib" / "x86_64-linux-gnu"
    multiarch.mkdir()
    for archive in real.archives:
        (prefix / "lib" / archive.name).rename(multiarch / archive.name)
    assert taskvine.inspect("test", prefix)[0].libdir == multiarch


# Probing


def test_probe_reports_version_and_features(real):
    engine = probe()
    assert engine.version == taskvine.worker_version(real.worker)
    header = (real.include / "taskvine.h").read_text()
    assert ("RESULT_MISSING_LIBRARY" in engine.features) == ("VINE_RESULT_MISSING_LIBRARY" in header)
    release = "".join(f"{int(part):02}" for part in engine.version.split(".")[:2]).lstrip("0")
    assert engine.macros == [("VF_TASKVINE", release), *((f"VF_HAVE_{name}", "1") for name in engine.features)]


def test_feature_that_only_the_header_has_is_absent(prefix):
    header = prefix / "include" / "cctools" / "taskvine.h"
    text = header.read_text().replace("vine_cancel_all_by_tag(", "vine_renamed(")
    header.write_text(text + "\nint vine_cancel_all_by_tag(struct vine_manager *m, const char *tag);\n")
    # The archive has it only from 7.17 on.
    expected = tuple(map(int, probe().version.split(".")[:2])) >= (7, 16)
    assert ("CANCEL_ALL_BY_TAG" in probe(prefix).features) == expected


def test_compiler_without_c11(monkeypatch, tmp_path):
    compiler(monkeypatch, tmp_path, 'exec gcc "$@" -std=gnu99')
    assert "does not know C11" in refusal()


def test_compiler_that_is_absent(monkeypatch):
    monkeypatch.setenv("CC", "/nonesuch/cc")
    assert "The C compiler /nonesuch/cc cannot be run" in refusal()


def test_compiler_that_is_broken(monkeypatch, tmp_path):
    compiler(monkeypatch, tmp_path, "echo 'cc1: out of order' >&2; exit 1")
    message = refusal()
    assert "does not compile an empty program" in message and "cc1: out of order" in message


@pytest.mark.parametrize(
    "linker",
    [
        # As lld does: also what an object calls that is its own.
        'exec gcc -shared "$@" -Wl,--defsym=inner=__wrap_inner -Wl,-z,muldefs',
        # Not at all.
        'for w; do shift; case $w in -Wl,--wrap=*) ;; *) set -- "$@" "$w" ;; esac; done; exec gcc -shared "$@"',
    ],
    ids=["own calls", "nothing"],
)
def test_linker_that_replaces_functions_otherwise(monkeypatch, tmp_path, linker):
    monkeypatch.setenv("LDSHARED", str(program(tmp_path / "ld", linker)))
    message = refusal()
    assert "otherwise than GNU ld" in message and "-fuse-ld=bfd" in message and str(tmp_path / "ld") in message


def test_link_time_optimization_is_switched_off(monkeypatch):
    monkeypatch.setenv("CFLAGS", "-flto")
    monkeypatch.setenv("LDFLAGS", "-flto")
    assert probe().version


def test_libraries_that_cannot_be_loaded(monkeypatch, tmp_path):
    # As from a directory where nothing may be executed.
    linker = 'for w; do before=$last last=$w; [ "$before" = -o ] && echo nothing > "$w"; done'
    monkeypatch.setenv("LDSHARED", str(program(tmp_path / "ld", linker)))
    message = refusal()
    assert "cannot be loaded" in message and "TMPDIR" in message and str(tmp_path / "ld") in message


def test_python_headers_missing(monkeypatch, tmp_path):
    monkeypatch.setattr(taskvine, "python_include", lambda: [tmp_path])
    # CFLAGS of a conda Python, and CPATH, may point to other Python headers.
    monkeypatch.delenv("CPATH", raising=False)
    message = refusal()
    assert "Python.h" in message and "python3-dev" in message


def test_only_an_environment_has_headers_of_its_own(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "base_prefix", str(tmp_path))
    assert Path(sys.prefix, "include") in taskvine.python_include()
    # The directory would be /usr/include, with the headers of another C library than the compiler may be for.
    monkeypatch.setattr(sys, "base_prefix", sys.prefix)
    assert Path(sys.prefix, "include") not in taskvine.python_include()


def test_taskvine_header_missing(prefix):
    (prefix / "include" / "cctools" / "taskvine.h").unlink()
    installation, missing = taskvine.inspect("test", prefix)
    assert installation is None and missing == ["include/cctools/taskvine.h"]


def test_taskvine_header_incomplete(prefix):
    (prefix / "include" / "cctools" / "taskvine.h").write_text('#include "category_gone.h"\n')
    message = refusal(prefix)
    assert "taskvine.h does not compile" in message and "category_gone.h" in message


def test_archive_of_another_architecture(prefix, real):
    theirs = {"x86_64": 183, "aarch64": 62}[taskvine.elf_machine(real.archives[0].read_bytes())]
    data = bytearray(real.archives[0].read_bytes())
    start = data.find(b"\x7fELF")
    data[start + 18 : start + 20] = theirs.to_bytes(2, "little")
    archive = prefix / "lib" / "libtaskvine.a"
    archive.unlink()
    archive.write_bytes(data)
    message = refusal(prefix)
    assert f"{archive} is built for {taskvine.MACHINES[theirs]}, but this compiler makes" in message


def test_archive_that_is_no_archive(prefix):
    archive = prefix / "lib" / "libdttools.a"
    archive.unlink()
    archive.write_bytes(b"!<arch>\n")
    assert "libdttools.a is built for no architecture known here" in refusal(prefix)


def test_archive_that_lacks_functions(prefix, real):
    archive = prefix / "lib" / "libdttools.a"
    archive.unlink()
    archive.write_bytes(real.archives[0].read_bytes())
    message = refusal(prefix)
    assert "does not link" in message and "undefined reference" in message


def test_worker_that_does_not_run(prefix):
    program(prefix / "bin" / "vine_worker", "exec /moved/ld-linux.so.2 vine_worker")
    message = refusal(prefix)
    assert "vine_worker does not run" in message and "scripts/install-taskvine" in message


def test_worker_of_another_release(prefix):
    program(prefix / "bin" / "vine_worker", "echo vine_worker version 7.14.2 FINAL")
    assert "mixes two releases" in refusal(prefix)


def test_library_without_development_package(monkeypatch, tmp_path):
    compiler(
        monkeypatch,
        tmp_path,
        'for arg; do [ "$arg" = -lssl ] && { echo "cannot find -lssl" >&2; exit 1; }; done\nexec gcc "$@"',
    )
    assert "-l:libssl.so.3" in probe().link_args


def test_library_that_is_absent(monkeypatch, tmp_path):
    compiler(
        monkeypatch,
        tmp_path,
        'for arg; do case $arg in -lz|*libz.so*) echo "cannot find $arg" >&2; exit 1;; esac; done\nexec gcc "$@"',
    )
    message = refusal()
    assert "neither libz.so nor libz.so.1" in message and "apt install zlib1g-dev" in message


def test_libraries_of_a_conda_prefix_are_found_at_run_time(prefix):
    host = sorted(Path("/").glob("usr/lib/*/libcrypto.so.3"))
    if not host:
        pytest.skip("no libcrypto.so.3 to borrow")
    (prefix / "lib" / "libcrypto.so").symlink_to(host[0])
    link_args = probe(prefix).link_args
    assert f"-L{prefix}/lib" in link_args and f"-Wl,-rpath,{prefix}/lib" in link_args


def test_setup_ends_in_the_advice_without_traceback(tmp_path):
    env = {**os.environ, "VINEFAST_TASKVINE_PREFIX": str(tmp_path)}
    command = [sys.executable, "setup.py", "-q", "build_ext", "--build-temp", tmp_path, "--build-lib", tmp_path]
    run = subprocess.run(command, cwd=CHECKOUT, env=env, capture_output=True, text=True)
    assert run.returncode
    assert "Traceback" not in run.stderr
    assert run.stderr.rstrip().endswith("makes one.") and "vinefast cannot be built" in run.stderr


# The installer


def install(*arguments, **env):
    return subprocess.run(
        [sys.executable, INSTALLER, *arguments], env={**os.environ, **env}, capture_output=True, text=True
    )


def test_installer_leaves_a_usable_taskvine_alone(prefix, real):
    before = {path: path.lstat().st_ctime_ns for path in prefix.rglob("*")}
    run = install(VINEFAST_TASKVINE_PREFIX=str(prefix), PATH="/nonesuch:/bin")
    assert run.returncode == 0, run.stderr
    assert f"Found {prefix}" in run.stdout and taskvine.worker_version(real.worker) in run.stdout
    assert {path: path.lstat().st_ctime_ns for path in prefix.rglob("*")} == before


def test_installer_refuses_an_unusable_choice(tmp_path):
    run = install(VINEFAST_TASKVINE_PREFIX=str(tmp_path))
    assert run.returncode == 1 and f"--prefix {tmp_path}" in run.stderr


def test_installer_never_overwrites_what_it_did_not_make(tmp_path):
    (tmp_path / "precious").touch()
    run = install("--prefix", str(tmp_path))
    assert run.returncode == 1 and "was not made by this script" in run.stderr
    assert (tmp_path / "precious").exists()


def test_installer_off_debian_names_conda(tmp_path):
    run = install("--prefix", str(tmp_path / "new"), PATH=str(tmp_path))
    assert run.returncode == 1 and "conda install" in run.stderr
    assert list(tmp_path.iterdir()) == []


def fake_apt(tmp_path, text, unpack="exit 1"):
    tools = tmp_path / "tools"
    tools.mkdir()
    program(tools / "apt-get", text)
    program(tools / "dpkg-deb", unpack)
    return f"{tools}:{os.environ['PATH']}"


def has_debian_keys():
    return any(Path("/usr/share/keyrings").glob("debian-archive-keyring.*"))


@pytest.mark.skipif(not has_debian_keys(), reason="needs Debian's keyring")
def test_installer_without_a_mirror_says_so(tmp_path):
    run = install("--prefix", str(tmp_path / "new"), PATH=fake_apt(tmp_path, "exit 0"))
    assert run.returncode == 1 and "names no Debian mirror" in run.stderr


@pytest.mark.skipif(not has_debian_keys(), reason="needs Debian's keyring")
def test_installer_passes_on_what_apt_says_and_cleans_up(tmp_path):
    path = fake_apt(
        tmp_path,
        'case "$*" in *--print-uris) echo "\'mirror:/dists/stable/InRelease\' x 0 ";;'
        ' *) echo "E: the signatures are invalid" >&2; exit 100;; esac',
    )
    run = install("--prefix", str(tmp_path / "new"), PATH=path)
    assert (
        run.returncode == 1
        and "mirror: trixie: apt-get failed:" in run.stderr
        and "signatures are invalid" in run.stderr
    )
    assert not list(tmp_path.glob("new*"))


def test_installer_mends_a_moved_prefix(real, tmp_path):
    stamp = real.prefix / "vinefast-install.json"
    if not stamp.exists():
        pytest.skip("this TaskVine was not made by scripts/install-taskvine")
    moved = tmp_path / "moved"
    shutil.copytree(real.prefix, moved, symlinks=True)
    run = install("--prefix", str(moved))
    assert run.returncode == 0, run.stderr
    assert "rewriting its wrappers" in run.stdout
    wrapper = (moved / "bin" / "vine_worker").read_text()
    assert f"{moved}/debian" in wrapper and f"{real.prefix}/" not in wrapper
    again = install(VINEFAST_TASKVINE_PREFIX=str(moved))
    assert again.returncode == 0 and "rewriting" not in again.stdout


# The environment


@pytest.fixture
def make_venv(monkeypatch, tmp_path):
    """make-venv on a Python as Debian has it, without headers and ensurepip."""
    script = load(CHECKOUT / "scripts" / "make-venv")
    monkeypatch.setattr(sys, "argv", ["make-venv", str(tmp_path / "venv")])
    monkeypatch.setattr(sys, "base_prefix", "/usr")
    monkeypatch.setattr(script.sysconfig, "get_path", lambda name: str(tmp_path / "none"))
    monkeypatch.setitem(sys.modules, "ensurepip", None)
    monkeypatch.setenv("CC", shutil.which("cc"))
    return script


def words_of_exit(make_venv):
    with pytest.raises(SystemExit) as info:
        make_venv.main()
    return str(info.value)


def test_environment_on_a_bare_python(make_venv, monkeypatch, tmp_path):
    python, package, asked = make_venv.PYTHON, tmp_path / "package", tmp_path / "asked"
    headers = [Path(python, "Python.h"), Path("triplet", python, "pyconfig.h")]
    wheel = package / "usr/share/python-wheels/pip-1-py3-none-any.whl"
    for path in (*(package / "usr/include" / header for header in headers), wheel):
        path.parent.mkdir(parents=True)
        path.touch()
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("pip/__main__.py", "import sys; open(sys.prefix + '/ran', 'w').write(sys.argv[-1])")
    path = fake_apt(
        tmp_path,
        f'case "$*" in *download*) touch one.deb; echo "$@" > {asked};; esac',
        f"case $1 in -x) cp -r {package}/. $3;; *) printf 'Package: one\\nVersion: 1\\n';; esac",
    )
    monkeypatch.setenv("PATH", path)
    make_venv.main()
    assert asked.read_text().split()[-2:] == [f"lib{python}-dev", "python3-pip-whl"]
    venv = tmp_path / "venv"
    assert (venv / "include/Python.h").exists() and (venv / "include" / headers[1]).exists()
    assert (venv / "ran").read_text().endswith(wheel.name)


def test_environment_that_cannot_be_made_names_the_command(make_venv, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    message = words_of_exit(make_venv)
    assert "sudo apt install python3-dev python3-venv\n" in message and "no apt-get" in message
    monkeypatch.setattr(sys, "base_prefix", "/opt/python")
    assert "not Debian's own Python" in words_of_exit(make_venv)
    assert not (tmp_path / "venv").exists()


def test_environment_without_a_compiler_names_all_that_is_missing(make_venv, monkeypatch, tmp_path):
    monkeypatch.setenv("CC", "/nonesuch/cc")
    assert "sudo apt install gcc libc6-dev python3-dev python3-venv" in words_of_exit(make_venv)
    compiler(monkeypatch, tmp_path, "exit 1")
    assert "sudo apt install libc6-dev python3-dev python3-venv" in words_of_exit(make_venv)
