"""What OpenSSL's own configuration says of TLS, by which it can keep all workers out without a word to anybody."""

from __future__ import annotations

import os
import re
import ssl

_SECTION = re.compile(r"\[\s*([^\]]+?)\s*\]")
_OLDER = ("SSLv3", "TLSv1", "TLSv1.0", "TLSv1.1", "TLSv1.2")
# Where distributions have it, besides the place of the OpenSSL that Python was built with.
_PLACES = ("/usr/lib/ssl/openssl.cnf", "/etc/ssl/openssl.cnf", "/etc/pki/tls/openssl.cnf")


def configuration_files() -> list[str]:
    """Give the files that programs on this machine read: that of ``OPENSSL_CONF`` alone, if it is set."""
    chosen = os.environ.get("OPENSSL_CONF")
    if chosen is not None:
        return [chosen]
    own = os.path.join(os.path.dirname(ssl.get_default_verify_paths().openssl_cafile), "openssl.cnf")
    real = {os.path.realpath(path): path for path in (own, *_PLACES) if os.path.exists(path)}
    return list(real.values())


def what_keeps_workers_out(path: str) -> list[str]:
    """Give the lines of a configuration file that forbid TLS 1.3, or have the ends of a connection prove who they are.

    Raises
    ------
    OSError
        If the file cannot be read.
    """
    with open(path, errors="replace") as file:
        sections = _sections(file.read())
    section = ""
    for name in ("openssl_conf", "ssl_conf", "system_default"):
        section = sections.get(section, {}).get(name, "")
        if not section:
            return []
    return [f"{name} = {value}" for name, value in sections.get(section, {}).items() if _keeps_out(name, value)]


def _keeps_out(name: str, value: str) -> bool:
    # OpenSSL takes "1.MaxProtocol" for "MaxProtocol", so that a section may have several.
    name, words = name.rpartition(".")[2].lower(), [word.strip() for word in value.split(",")]
    if name == "maxprotocol":
        return value in _OLDER
    if name == "protocol":
        return "-TLSv1.3" in words or ("-ALL" in words and "TLSv1.3" not in words)
    if name == "verifymode":
        return any(word in ("Peer", "Require") for word in words)
    return name == "ciphersuites" and value == ""


def _sections(text: str) -> dict[str, dict[str, str]]:
    current: dict[str, str] = {}
    sections = {"": current}
    for line in text.replace("\\\n", "").splitlines():
        line = line.partition("#")[0].strip()
        if found := _SECTION.fullmatch(line):
            current = sections.setdefault(found[1], {})
        elif "=" in line:
            name, _, value = line.partition("=")
            current[name.strip()] = value.strip()
    return sections
