"""`frozen_dataclass`, for what every call creates with many fields; knows no such class.

The type checker takes it for `dataclass(frozen=True)`. At run time nothing keeps the fields from being set: a frozen dataclass sets its own
by `object.__setattr__`, five times slower (2.4 µs for twelve fields, 0.5 µs without), and a streamed call sets some 400 fields.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from dataclasses import dataclass as frozen_dataclass
else:
    from dataclasses import dataclass

    C = TypeVar("C", bound=type)

    def frozen_dataclass(*, frozen: bool, slots: bool, kw_only: bool = False) -> Callable[[C], C]:
        """A dataclass that compares, hashes and prints itself as one with these arguments does."""
        return dataclass(unsafe_hash=frozen, slots=slots, kw_only=kw_only)


__all__ = ["frozen_dataclass"]
