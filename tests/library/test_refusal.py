"""Answers from a Python that can do nothing else; tests/integration/test_python_versions.py has them for real."""

from vinefast.library import frame, refusal


def test_what_is_written_twice_agrees():
    # The modules that have it cannot be imported by an old Python.
    assert refusal._RESULT_HEADER.format == frame.RESULT_HEADER.format
    assert refusal._RECORD.format == frame.RECORD.format
    assert (refusal._FAILED, refusal._INLINE_NBYTES) == (frame.FAILED, frame.INLINE_NBYTES)
