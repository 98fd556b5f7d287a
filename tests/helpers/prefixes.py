"""conf/taskvine.py, and prefixes like the one that it finds, for tests to change."""

import importlib.machinery
import importlib.util
import shutil
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CHECKOUT / "conf"))


def load(path):
    name = f"vinefast_setup_{path.stem}"
    spec = importlib.util.spec_from_loader(name, importlib.machinery.SourceFileLoader(name, str(path)))
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


taskvine = load(CHECKOUT / "conf" / "taskvine.py")


def copy_prefix(real, prefix):
    (prefix / "include").mkdir(parents=True)
    (prefix / "lib").mkdir()
    (prefix / "bin").mkdir()
    shutil.copytree(real.include, prefix / "include" / "cctools")
    for archive in real.archives:
        (prefix / "lib" / archive.name).symlink_to(archive)
    # A wrapper and not a link: vine_worker may be one that finds its libraries beside itself.
    program(prefix / "bin" / "vine_worker", f'exec "{real.worker}" "$@"')
    return prefix


def program(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path
