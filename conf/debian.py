"""Unpack Debian's packages where they are needed, without root and without touching those of the machine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


class DebianError(Exception):
    """The packages cannot be had on this machine; the message says why."""


def run(*command: str | Path, **kwargs) -> str:
    """Run a command; its last words become the error if it fails."""
    # apt's messages are parsed and shown, so they must not be translated.
    env = {**os.environ, "LC_ALL": "C"}
    done = subprocess.run(command, capture_output=True, text=True, env=env, **kwargs)
    if done.returncode:
        words = (done.stderr or done.stdout).strip().splitlines()[-6:]
        words = [line for line in words if line.startswith("E: ")] or words
        raise DebianError(f"{Path(command[0]).name} failed:\n  " + "\n  ".join(words))
    return done.stdout


class PrivateApt:
    """An apt that shares with the machine its transport settings, its sources and keys, and nothing else."""

    def __init__(self, home: Path) -> None:
        self.home = home
        for directory in ("state/lists/partial", "cache/archives/partial", "debs", "none"):
            (home / directory).mkdir(parents=True)
        (home / "status").touch()
        # Hooks such as Docker's clean the machine's cache, and its pins may hide the packages.
        self.config = home / "apt.conf"
        self.config.write_text(
            "#clear APT::Update::Pre-Invoke;\n"
            "#clear APT::Update::Post-Invoke;\n"
            "#clear APT::Update::Post-Invoke-Success;\n"
            f'Dir::State "{home}/state";\n'
            f'Dir::State::status "{home}/status";\n'
            f'Dir::Cache "{home}/cache";\n'
            f'Dir::Etc::preferences "{home}/none/none";\n'
            f'Dir::Etc::preferencesparts "{home}/none";\n'
            'APT::Sandbox::User "root";\n'
            'APT::Get::AllowUnauthenticated "false";\n'
            'APT::Update::Error-Mode "any";\n'
            'Acquire::AllowInsecureRepositories "false";\n'
            'Acquire::Languages "none";\n'
        )

    def get(self, *arguments: str) -> str:
        return run("apt-get", "-q", "-c", self.config, *arguments, cwd=self.home / "debs")

    def mirrors(self) -> list[str]:
        """Return the archives in the machine's own sources; apt itself reads every source format."""
        uris = re.findall(r"^'(\S+?)/dists/(\S+)/InRelease'", self.get("update", "--print-uris"), re.M)
        bases = [base for base, suite in uris if "security" not in suite and not base.startswith("cdrom:")]
        # Third parties fail the signature check; this only spares trying them first.
        return sorted(dict.fromkeys(bases), key=lambda base: "debian" not in base)

    def use(self, mirror: str, suite: str, keyring: Path, kind: str = "deb") -> None:
        """Replace the machine's sources by one release of Debian; kind is deb-src for the sources of packages."""
        sources = self.home / "sources.list"
        sources.write_text(f"{kind} [signed-by={keyring}] {mirror} {suite} main\n")
        with self.config.open("a") as config:
            config.write(f'Dir::Etc::sourcelist "{sources}";\nDir::Etc::sourceparts "{self.home}/none";\n')

    def download(self, packages: Sequence[str]) -> list[Path]:
        try:
            self.get("update")
            trouble = ""
        except DebianError as error:
            # One of several sources may be out of order without being needed.
            trouble = f"{error}\n"
        try:
            self.get("download", *packages)
        except DebianError as error:
            raise DebianError(f"{trouble}{error}") from None
        return sorted((self.home / "debs").glob("*.deb"))

    def download_all(self, packages: Sequence[str]) -> list[Path]:
        """Download the packages and what they depend on."""
        self.get("update")
        self.get("install", "-y", "--no-install-recommends", "--download-only", *packages)
        return sorted((self.home / "cache/archives").glob("*.deb"))

    def download_source(self, package: str, wanted: str) -> tuple[str, Path]:
        """Return Debian's version and what upstream published for the newest release that begins as wanted."""
        self.get("update")
        shown = run("apt-cache", "-c", self.config, "showsrc", "--only-source", package)
        versions = re.findall(r"^Version: (.+)$", shown, re.M)
        fitting = [version for version in versions if version.split(":")[-1].startswith(wanted)]
        failures = [f"it has the versions {', '.join(versions) or 'of none'}"]
        # A mirror may lack some of the files that its index names.
        for version in reversed(fitting):
            try:
                self.get("source", "--download-only", "--tar-only", f"{package}={version}")
            except DebianError as error:
                failures.append(str(error))
                continue
            return version, next((self.home / "debs").glob(f"{package}_*.orig.tar.?z*"))
        raise DebianError(f"no sources of {package} {wanted}: " + "\n".join(failures))


def check_tools(*names: str) -> None:
    if absent := [name for name in names if not shutil.which(name)]:
        raise DebianError(f"This machine has no {' and no '.join(absent)}, so it is no Debian.")


def unpack(packages: Sequence[str], root: Path, home: Path, suite: str | None = None) -> dict[str, str]:
    """Unpack the packages into root and return their versions; home, for apt's files, must be new.

    They come from the release that the machine runs, from its own sources, or from the suite of Debian named, from
    the first mirror in the machine's sources that carries it.
    """
    check_tools("apt-get", "dpkg-deb")
    versions = {}
    for deb in download(packages, home, suite) if suite else PrivateApt(home).download(packages):
        run("dpkg-deb", "-x", deb, root)
        name, version = run("dpkg-deb", "-f", deb, "Package", "Version").split("\n")[:2]
        versions[name.removeprefix("Package: ")] = version.removeprefix("Version: ")
    return versions


def install_into(root: Path, packages: Sequence[str], home: Path, suite: str) -> None:
    """Unpack the packages, and all that they depend on, into root, which has no packages; no script of theirs is run.

    They come from the first mirror in the machine's sources that has them; home, for apt's files, must be new.
    """
    check_tools("apt-get", "dpkg-deb")
    what = f"{', '.join(packages)} of {suite}"
    for deb in _first_mirror(home, [suite], "deb", lambda apt: apt.download_all(packages), what):
        contents = home / "contents.tar"
        with contents.open("wb") as file:
            subprocess.run(["dpkg-deb", "--fsys-tarfile", deb], stdout=file, check=True)
        # /bin is a link to /usr/bin, and stays one.
        run("tar", "xf", contents, "-C", root, "--keep-directory-symlink")


def download(packages: Sequence[str], home: Path, suite: str) -> list[Path]:
    return _first_mirror(home, [suite], "deb", lambda apt: apt.download(packages), f"the packages of {suite}")


def download_source(package: str, wanted: str, home: Path, suites: Sequence[str]) -> tuple[str, Path]:
    """Return the version of a Debian source package, and the archive of upstream's sources in it.

    They are of the newest release that begins as wanted, from the first mirror in the machine's sources, and the first
    of the suites, that has them; home, for apt's files and the archive, must be new.
    """
    check_tools("apt-get")
    what = f"the sources of {package} {wanted}"
    return _first_mirror(home, suites, "deb-src", lambda apt: apt.download_source(package, wanted), what)


def _first_mirror(home: Path, suites: Sequence[str], kind: str, get: Callable[[PrivateApt], T], what: str) -> T:
    keyrings = [Path("/usr/share/keyrings/debian-archive-keyring" + ext) for ext in (".gpg", ".pgp")]
    keyring = next((path for path in keyrings if path.is_file()), None)
    if keyring is None:
        raise DebianError(
            "This machine lacks Debian's signing keys (package debian-archive-keyring), so Debian's packages"
            " cannot be verified."
        )
    failures = []
    for number, mirror in enumerate(PrivateApt(home / "sources").mirrors()):
        for suite in suites:
            apt = PrivateApt(home / f"{number}-{suite}")
            apt.use(mirror, suite, keyring, kind)
            try:
                return get(apt)
            except DebianError as error:
                failures.append(f"{mirror} {suite}: {error}")
    if not failures:
        raise DebianError("The apt configuration of this machine names no Debian mirror.")
    raise DebianError(f"No mirror in the apt configuration of this machine gave {what}:\n" + "\n".join(failures))
