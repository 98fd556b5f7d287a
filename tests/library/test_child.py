"""What a slot's child is made of."""

from __future__ import annotations

import os
import socket

import pytest

from vinefast.library import child


@pytest.fixture(params=[child._SO_COOKIE, 9999], ids=["cookie", "without cookies"])
def own(request, monkeypatch):
    monkeypatch.setattr(child, "_SO_COOKIE", request.param)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield child.OwnSocket(ours)


def test_a_socket_that_is_there(own):
    assert own.is_there()
    other = os.dup(own.socket.fileno())
    os.dup2(other, own.socket.fileno())  # the same once more
    os.close(other)
    assert own.is_there()


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_another_socket_of_its_number(own, kind):
    pair = socket.socketpair(socket.AF_UNIX, kind)
    with pair[0], pair[1]:
        os.dup2(pair[0].fileno(), own.socket.fileno())
    assert not own.is_there()


def test_a_file_of_its_number(own, tmp_path):
    with open(tmp_path / "file", "wb") as file:
        os.dup2(file.fileno(), own.socket.fileno())
    assert not own.is_there()


def test_a_closed_socket(own):
    fd = own.socket.fileno()
    kept = os.dup(fd)
    os.close(fd)
    assert not own.is_there()
    os.dup2(kept, fd)
    os.close(kept)


def unread(ours, theirs):
    ours.send(b"lost")
    theirs.close()


def read(ours, theirs):
    theirs.close()


@pytest.mark.parametrize("end", [read, unread])
@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_SEQPACKET])
def test_nobody_is_left_at_the_other_end(end, kind):
    ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
    with ours, theirs:
        end(ours, theirs)
        own = child.OwnSocket(ours)
        with pytest.raises(child.SupervisorEnded):
            own.receive(memoryview(bytearray(8)))
        with pytest.raises(child.SupervisorEnded):
            own.send(b"answer")
