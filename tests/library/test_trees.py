"""Directories as one file, and back."""

import io
import os
import socket
import tarfile

import pytest

from vinefast.library import trees


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def make(*paths):
    for path in paths:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        with open(path, "w") as file:
            file.write(path.encode(errors="replace").hex())


def test_all_comes_back_but_what_is_no_data():
    deep = "d/" + "/".join("n" * 200 for _ in range(5))
    make("d/x", "d/\u00e9\n", f"{deep}/\udcff", "d/twice")
    os.link("d/twice", "d/again")
    os.symlink("/nowhere" * 30, "d/link")
    os.mkdir("d/closed")
    os.chmod("d/x", 0o4751)
    os.chmod("d/closed", 0o050)
    os.utime("d/x", (1, 1))
    os.mkfifo("d/pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("d/socket")
    trees.pack("d", "archive")
    trees.unpack("archive", "e")
    names = sorted(name for name, _ in trees.walk("d") if name not in ("pipe", "socket"))
    assert sorted(name for name, _ in trees.walk("e")) == names
    for name in names:
        before, after = f"d/{name}", f"e/{name}"
        if os.path.isfile(before):
            assert open(after, "rb").read() == open(before, "rb").read()
    assert os.readlink("e/link") == "/nowhere" * 30
    assert (os.stat("e/x").st_mode & 0o7777, os.stat("e/x").st_mtime) == (0o751, 1)
    assert os.stat("e/closed").st_mode & 0o777 == 0o750  # whoever has to remove it can


@pytest.mark.parametrize("name", ["/absolute", "../out", "in/../../out"])
def test_nothing_is_unpacked_elsewhere(name):
    with tarfile.open("archive", "w") as tar:
        tar.addfile(tarfile.TarInfo(name), io.BytesIO())
    with pytest.raises(ValueError, match="leads out of the directory"):
        trees.unpack("archive", "in")
    assert not os.path.exists("out")


@pytest.mark.parametrize("kind", [tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_other_kinds_are_not_unpacked(kind):
    member = tarfile.TarInfo("x")
    member.type, member.linkname = kind, "/etc/passwd"
    with tarfile.open("archive", "w") as tar:
        tar.addfile(member)
    with pytest.raises(ValueError, match="neither file, directory nor symbolic link"):
        trees.unpack("archive", "in")


def test_no_link_leads_what_is_unpacked_elsewhere():
    os.mkdir("out")
    link = tarfile.TarInfo("in")
    link.type, link.linkname = tarfile.SYMTYPE, os.path.abspath("out")
    with tarfile.open("archive", "w") as tar:
        tar.addfile(link)
        tar.addfile(tarfile.TarInfo("in/file"), io.BytesIO())
    with pytest.raises(OSError, match="in"):
        trees.unpack("archive", "here")
    assert os.listdir("out") == []


@pytest.mark.parametrize(
    ("name", "kind", "plain", "returns"),
    [
        ("sp ace~%", "file", True, True),
        ("\u00e9", "file", False, False),
        ("t\tab", "file", False, False),
        ("x", "link", False, False),
        ("x", "pipe", True, False),
        ("x", 0o755, True, True),
        ("x", 0o700, True, False),
        ("x", 0o555, False, False),
        (trees.PACKED, "file", True, False),
    ],
)
def test_what_is_left_to_taskvine(name, kind, plain, returns):
    os.mkdir("d")
    if kind == "file":
        make(f"d/{name}")
    elif kind == "link":
        os.symlink("y", f"d/{name}")
    elif kind == "pipe":
        os.mkfifo(f"d/{name}")
    else:
        os.mkdir(f"d/{name}")
        os.chmod(f"d/{name}", kind)
    assert trees.is_plain(name, os.lstat(f"d/{name}").st_mode) is plain
    assert trees.returns_as_it_is("d") is returns
