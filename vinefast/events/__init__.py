"""What happened in a run, read from its event log while it goes on or when it has ended."""
