"""Measures vinefast and the executors beside it, for ``vinefast bench`` and for ``benches/`` in the source tree."""
