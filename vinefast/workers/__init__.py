"""Where workers come from, and what they run in."""
