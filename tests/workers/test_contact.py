"""How workers find the manager."""

import re
import socket
import time

import pytest

from vinefast.errors import EngineStartError
from vinefast.workers import contact


@pytest.fixture
def listening():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_addresses():
    assert contact.manager_address(None, local=True) == "127.0.0.1"
    assert contact.manager_address("localhost", local=False) == "localhost"
    assert contact.manager_address(None, local=False)
    with pytest.raises(EngineStartError, match=r"no.such.host.invalid"):
        contact.manager_address("no.such.host.invalid", local=False)


def test_the_manager_listens_where_its_workers_are():
    at = contact.listening_address
    assert at(None, True, None) == at("localhost", False, None) == at("127.0.0.1", False, None) == "127.0.0.1"
    assert at("127.0.0.2", True, None) == "127.0.0.2"
    assert at(None, False, None) is None
    # Who goes by name may be anywhere.
    assert at(None, True, "melting") is None
    assert at("127.0.0.1", False, "melting") == "127.0.0.1"
    # A name, which may mean another address elsewhere; any; and one that is not of this machine.
    for elsewhere in (socket.gethostname() + ".invalid", "0.0.0.0", "::", "192.0.2.1"):
        assert at(elsewhere, True, None) is None


def test_a_resolver_that_hangs_is_not_waited_for():
    began = time.monotonic()
    (error,) = contact._try_all([lambda: time.sleep(3)], timeout_s=0.1)
    assert "no answer in 0.1 s" in str(error)
    assert time.monotonic() - began < 2


def test_one_catalog_that_answers_is_enough(monkeypatch, caplog, listening):
    monkeypatch.setenv("CATALOG_HOST", f"127.0.0.1:1,{listening}")
    assert contact.name_in_catalog("melting", "x") == "melting"
    assert contact.catalog_hosts() == f"127.0.0.1:1,{listening}"
    assert not caplog.records


def test_a_catalogs_port_may_be_given_apart(monkeypatch, listening):
    host, port = listening.split(":")
    monkeypatch.setenv("CATALOG_HOST", host)
    monkeypatch.setenv("CATALOG_PORT", port)
    assert contact.name_in_catalog("melting", "x") == "melting"


@pytest.mark.parametrize(
    ("hosts", "words"),
    [("127.0.0.1:1,localhost:1", "127.0.0.1:1: .*refused; localhost:1: .*refused"), ("127.0.0.1:high", "high")],
)
def test_without_a_catalog_there_is_no_name_but_a_warning(monkeypatch, caplog, hosts, words):
    monkeypatch.setenv("CATALOG_HOST", hosts)
    assert contact.name_in_catalog("melting", "x") is None
    (record,) = caplog.records
    assert record.levelname == "WARNING" and getattr(record, "parsl.executor") == "x"
    for text in ("'melting'", "project_name", "CATALOG_HOST"):
        assert text in record.getMessage()
    assert re.search(words, record.getMessage())


def test_who_has_no_name_asks_no_catalog(monkeypatch, caplog):
    monkeypatch.setenv("CATALOG_HOST", "127.0.0.1:1")
    assert contact.name_in_catalog(None, "x") is None
    assert not caplog.records


@pytest.mark.parametrize(
    ("address", "is_it"),
    [("127.0.0.1", True), ("127.0.0.2", True), ("::1", True), ("192.0.2.1", False), ("0.0.0.0", False), (None, False)],
)
def test_which_managers_can_be_reached_from_this_machine_alone(address, is_it):
    assert contact.is_loopback(address) == is_it
