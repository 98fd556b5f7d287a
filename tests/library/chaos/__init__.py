"""What `test_state_machine.py` sends to a library and does to it, and the model of what must come of that."""
