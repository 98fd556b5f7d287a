"""Which lines of OpenSSL's configuration keep all workers out."""

import pytest

from vinefast.doctor.openssl import configuration_files, what_keeps_workers_out

HEAD = "openssl_conf = one\n[ one ]\nssl_conf = two # a comment\n[two]\nsystem_default = three\n[three]\n"


@pytest.mark.parametrize(
    ("line", "keeps_out"),
    [
        ("MaxProtocol = TLSv1.2", True),
        ("1.MaxProtocol = TLSv1.2", True),
        ("MaxProtocol = TLSv1.3", False),
        ("MinProtocol = TLSv1.2", False),
        ("Protocol = ALL,-TLSv1.3", True),
        ("Protocol = -ALL, TLSv1.2", True),
        ("Protocol = -ALL, TLSv1.3", False),
        ("VerifyMode = Require", True),
        ("VerifyMode = Peer,Once", True),
        ("CipherString = DEFAULT@SECLEVEL=2", False),
    ],
)
def test_lines(tmp_path, line, keeps_out):
    path = tmp_path / "openssl.cnf"
    path.write_text(HEAD + line + "\n[other]\nMaxProtocol = TLSv1\n")
    assert what_keeps_workers_out(str(path)) == ([line] if keeps_out else [])


def test_what_no_program_reads_does_not_count(tmp_path):
    path = tmp_path / "openssl.cnf"
    path.write_text("[three]\nMaxProtocol = TLSv1.2\n")
    assert what_keeps_workers_out(str(path)) == []


def test_the_file_that_is_chosen_is_the_only_one(monkeypatch, tmp_path):
    monkeypatch.setenv("OPENSSL_CONF", str(tmp_path / "mine"))
    assert configuration_files() == [str(tmp_path / "mine")]
    monkeypatch.delenv("OPENSSL_CONF")
    assert str(tmp_path / "mine") not in configuration_files()
