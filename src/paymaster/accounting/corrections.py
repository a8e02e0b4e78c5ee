"""The record of a change of a ledger that no call made, with its reason; knows no ledger."""

import json
from dataclasses import asdict, dataclass

CORRECTION_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """A change after the fact. `correction` is `adjust` or `reset`, made by hand, or `bill`: the provider stated later what it billed.

    `amount`, in the account's unit (nano-dollars for money), was added to the account's settled sum; the ledger's record has it in
    `amounts` too.
    """

    correction: str
    at_ms: int
    account: str
    amount: int
    reason: str
    user: str | None = None
    version: int = CORRECTION_VERSION

    def to_json(self) -> str:
        """One line of JSON; empty fields are left out."""
        return json.dumps({name: value for name, value in asdict(self).items() if value is not None}, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> "Correction":
        """Read a correction of this or an earlier version; keys of a later one are ignored. Raises ValueError for anything else."""
        data = json.loads(text)
        if not isinstance(data, dict) or "correction" not in data:
            raise ValueError("not a record of a correction")
        try:
            return cls(**{name: value for name, value in data.items() if name in cls.__dataclass_fields__})
        except TypeError as error:
            raise ValueError(f"the record of a correction lacks fields: {error}") from error
