"""What a value that Paymaster did not write means to a user, and where in the ledger it is; knows no script and no connection."""

import json
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from paymaster.errors import LedgerUnusable

ADVICE = (
    "Restore the server's data from before the damage, look at it with `paymaster ledger verify`, and go on with it by "
    "`paymaster ledger accept`; or begin another ledger with ?name=…"
)
# How a script reports a damaged value: this word, then the kind and the name in JSON.
_MARK = "DAMAGED "
# What the server's scripting language and its commands answer to a value that no check foresaw.
_OF_SCRIPTS = ("attempt to ", "bad argument", "Bad data format", "Expected ", "Invalid stream ID", "Missing bytes", "not an integer")
_NOT_READ = (TypeError, ValueError, LookupError, ArithmeticError, AttributeError, struct.error)


class DamagedValue(Exception):
    """A value of the ledger that can't be read: its kind, such as `account`, and its name among those (empty: it has none)."""

    def __init__(self, kind: str, name: str = "") -> None:
        super().__init__(kind, name)
        self.kind = kind
        self.name = name

    def __str__(self) -> str:
        """The kind and the name."""
        return f"{self.kind} {self.name!r}" if self.name else self.kind


@contextmanager
def reading(kind: str, name: str = "") -> Iterator[None]:
    """Whatever goes wrong while the value is parsed in this block means that it is damaged."""
    try:
        yield
    except _NOT_READ as error:
        raise DamagedValue(kind, name) from error


def found_by_script(text: str) -> DamagedValue | None:
    """The damaged value that an error from within a script is about; None if it is about anything else."""
    _, mark, found = text.partition(_MARK)
    if mark:
        try:
            kind, *name = json.JSONDecoder().raw_decode(found)[0]
        except (ValueError, TypeError):  # cut off
            return DamagedValue("value")
        return DamagedValue(str(kind), str(name[0]) if name else "")
    if "user_script" in text and any(words in text for words in _OF_SCRIPTS):
        return DamagedValue("value")
    return None


def to_error(value: DamagedValue, location: str, reason: str = "") -> LedgerUnusable:
    """The message for it. `reason` is what the server reported, if the value has no better name."""
    match value.kind:
        case "state":
            found = "its state is not one that Paymaster wrote"
        case "key":
            found = f"the key {value.name} lacks what it had, or it is of another type"
        case "value":
            found = "a value in it can't be read" + (f" ({reason})" if reason else "")
        case kind:
            found = f"the {kind} {value.name!r} can't be read"
    return LedgerUnusable(f"The ledger {location} is damaged, or its keys are another program's: {found}.", advice=ADVICE)
