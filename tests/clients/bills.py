"""What the simulated endpoint bills: tokens, prices, its own arithmetic in whole nano-dollars; knows nothing of the ledger."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

INPUT_NANOUSD, CACHED_NANOUSD, OUTPUT_NANOUSD = 1_237, 113, 10_019
"""The price of one token."""

PRICES = {"usd_per_1m_input": "1.237", "usd_per_1m_cache_read": "0.113", "usd_per_1m_output": "10.019"}
"""The same prices, for a registry."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one answer. The prompt includes what was read from the cache."""

    prompt_tokens: int
    cached_tokens: int
    output_tokens: int
    thought_tokens: int = 0

    @property
    def nanousd(self) -> int:
        """The bill."""
        full = self.prompt_tokens - self.cached_tokens
        return full * INPUT_NANOUSD + self.cached_tokens * CACHED_NANOUSD + self.output_tokens * OUTPUT_NANOUSD


@dataclass(frozen=True, slots=True)
class Bill:
    """One request. `ending` is `whole`, `cut` (by the endpoint), `hung_up` (by the other side) or `refused` (never billed)."""

    variant: str
    dialect: str
    model: str
    stream: bool
    ending: str
    prompt_tokens: int
    cached_tokens: int
    output_tokens: int
    nanousd: int


def write_bill(path: Path, bill: Bill) -> None:
    """Add one line to the bills."""
    with path.open("a") as file:
        file.write(json.dumps(asdict(bill)) + "\n")


def read_bills(path: Path) -> list[Bill]:
    """All bills so far."""
    return [Bill(**json.loads(line)) for line in path.read_text().splitlines()] if path.exists() else []
