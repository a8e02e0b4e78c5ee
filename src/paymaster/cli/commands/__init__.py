"""One module per command: its flags, and what it prints. Heavy imports happen when the command runs."""
