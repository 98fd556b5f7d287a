"""What can be chosen: checked once, and turned into what the core takes."""
