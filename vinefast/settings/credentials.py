"""What a run's workers show who they are with, and what encrypts what they say: the user's files, or the run's own."""

from __future__ import annotations

import os

from vinefast._core import make_certificate
from vinefast._teardown import Teardown
from vinefast.errors import EngineStartError
from vinefast.settings import checks
from vinefast.settings.arguments import SSL
from vinefast.workers.contact import is_loopback
from vinefast.workers.run_files import RunFiles, remove


def password_file(chosen: str | None, is_required: bool, files: RunFiles, teardown: Teardown) -> str | None:
    """Give the file with the password of a run; None: it has none.

    Parameters
    ----------
    chosen : str or None
        The user's.
    is_required : bool
        Whether one is made for the run if there is no such file; `teardown` removes it.
    """
    if chosen is not None:
        path = os.path.abspath(chosen)
        checks.check_password_file(path)
        return path
    if not is_required:
        return None
    path = files.make_password()
    teardown.callback(remove, path)
    return path


def key_and_certificate(
    ssl: SSL, listen_address: str | None, files: RunFiles, teardown: Teardown
) -> tuple[str, str] | None:
    """Give the files of a run's key and certificate; None: it has no TLS.

    Those that are made for the run, `teardown` removes.

    Parameters
    ----------
    listen_address : str or None
        Where the manager listens; None: on all addresses.

    Raises
    ------
    EngineStartError
        If TLS 1.3 cannot be spoken with a key that is made here.
    """
    if isinstance(ssl, tuple):
        key, certificate = (os.path.abspath(os.fspath(path)) for path in ssl)
        checks.check_key_and_certificate(key, certificate)
        return key, certificate
    if ssl is False or (ssl is None and is_loopback(listen_address)):
        return None
    made = make_certificate()
    paths = files.make_private("key-", made[0]), files.make_private("certificate-", made[1])
    for path in paths:
        teardown.callback(remove, path)
    why_not = checks.why_no_handshake(*paths)
    if why_not is not None:
        raise EngineStartError(
            f"TLS 1.3 cannot be spoken with a key made for this run: {why_not}; does OpenSSL's configuration "
            "(openssl.cnf, OPENSSL_CONF) forbid it? ssl=False does without"
        )
    return paths
