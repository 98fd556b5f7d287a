"""What travels with calls, and what stays on workers."""
