"""The names of processes in a ledger, built and parsed here and nowhere else; knows no process.

4711-1f2e3d4c     the system's number of the process, which is used again, and digits that no other process has
"""

import re

_NAME = re.compile(r"(\d+)-[0-9a-f]{8}")


def name_process(number: int, digits: str) -> str:
    """The name of the process with this number; `digits` are 8 hexadecimal ones, drawn for it."""
    return f"{number}-{digits}"


def process_number(name: str) -> int | None:
    """The number in a process's name; None if it is no such name."""
    found = _NAME.fullmatch(name)
    return None if found is None else int(found[1])
