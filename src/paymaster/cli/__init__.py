"""The command line: turns arguments into calls of the library and results into text; knows terminals, and decides nothing."""

from paymaster.cli.process import main

__all__ = ["main"]
