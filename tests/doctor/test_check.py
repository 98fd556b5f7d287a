"""A message, as what was seen and what to do."""

import pytest

from vinefast.doctor.check import refusal


@pytest.mark.parametrize(
    ("text", "seen", "advice"),
    [
        ("It is gone. Get it. Or not.", "It is gone", "Get it. Or not."),
        ("TLS 1.3 is off; is it forbidden? ssl=False does without", "TLS 1.3 is off; is it forbidden?", "ssl=False"),
        ("port is 3; accepted: 4\n", "port is 3; accepted: 4", "look"),
    ],
)
def test_a_message_is_taken_apart(text, seen, advice):
    found = refusal("name", text, "look")
    assert (found.level, found.seen) == ("error", seen) and found.advice.startswith(advice)
