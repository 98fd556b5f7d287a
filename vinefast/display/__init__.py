"""What a program shows of its calls while it runs, in a terminal or in a notebook."""
