"""The version of this package, which pyproject.toml names once."""

from importlib.metadata import PackageNotFoundError, version

try:
    VERSION = version("vinefast")
except PackageNotFoundError:  # run from a source tree
    VERSION = "unknown"
