"""Compares the prices and windows that Paymaster uses with litellm's bundled table, and lists every disagreement; changes nothing.

Run it with an interpreter that has litellm installed: `make catalogue`. A disagreement is a mistake in one of the two tables, a price that
changed, or an alias that moved to another model; each needs a look at the provider's own page.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from build_model_data import MODES, TABLE, provider_and_name
from paymaster.accounting.decimals import plain
from paymaster.accounting.prices.catalogue import Catalogue

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from paymaster.accounting.prices.price import Price

RATES = {
    "input": "input_cost_per_token",
    "output": "output_cost_per_token",
    "cache_read": "cache_read_input_token_cost",
    "cache_write_5m": "cache_creation_input_token_cost",
}
CLOSE = Decimal("0.001")
"""Two rates that differ by less than this share are the same: the table's floats are not exact."""

ROUNDED = 1.05
"""A window of 1,048,576 tokens is often stated as 1,000,000."""


@dataclass(frozen=True, slots=True)
class Disagreement:
    """One figure that the two tables state differently: ours, and litellm's with its source."""

    model: str
    what: str
    ours: str
    theirs: str
    source: str


def main() -> int:
    """Print every disagreement and a summary; the exit status is 0, because a disagreement need not be our mistake."""
    spec = find_spec("litellm")
    if spec is None or spec.origin is None:
        print("litellm is not installed; this script reads its model table.", file=sys.stderr)
        return 2
    table: dict[str, dict[str, object]] = json.loads((Path(spec.origin).parent / TABLE).read_text(encoding="utf-8"))
    catalogue, at = Catalogue(), datetime.now(UTC)
    found = list(disagreements(table, catalogue, at))
    for row in found:
        print(f"{row.model}\t{row.what}\tours {row.ours}\ttheirs {row.theirs}\t{row.source}")
    both, only = shared(table, catalogue, at)
    models = len({row.model for row in found})
    print(f"litellm {version('litellm')}: {both} models have a price in both tables, {models} of them differ; {only} only in litellm's.")
    return 0


def disagreements(table: Mapping[str, Mapping[str, object]], catalogue: Catalogue, at: datetime) -> Iterator[Disagreement]:
    """Every figure that both tables state, and state differently."""
    for provider, name, entry in _models(table):
        source = str(entry.get("source") or "")
        price = catalogue.lookup(provider, name, at)
        if price is not None:
            for meter, ours, theirs in _rates(price, entry):
                if theirs is not None and abs(ours - theirs) > CLOSE * max(ours, theirs):
                    yield Disagreement(f"{provider}/{name}", meter, f"${plain(ours)}", f"${plain(theirs)}", source)
        window, theirs_window = catalogue.context_window(provider, name), entry.get("max_input_tokens")
        # An input limit beside a window is smaller than the window; only a larger one contradicts it. Many windows are rounded.
        if window is not None and isinstance(theirs_window, int) and theirs_window > window[0] * ROUNDED:
            yield Disagreement(f"{provider}/{name}", "window", f"{window[0]:,}", f"{theirs_window:,}", source)


def shared(table: Mapping[str, Mapping[str, object]], catalogue: Catalogue, at: datetime) -> tuple[int, int]:
    """How many models have a price in both tables, and in litellm's only."""
    priced = [catalogue.lookup(provider, name, at) is not None for provider, name, entry in _models(table) if _rate(entry, "input")]
    return sum(priced), len(priced) - sum(priced)


def _models(table: Mapping[str, Mapping[str, object]]) -> Iterator[tuple[str, str, Mapping[str, object]]]:
    for key, entry in sorted(table.items()):
        if entry.get("mode") in MODES and isinstance(entry.get("litellm_provider"), str):
            provider, name = provider_and_name(key, str(entry["litellm_provider"]))
            yield provider, name, entry


def _rates(price: Price, entry: Mapping[str, object]) -> Iterator[tuple[str, Decimal, Decimal | None]]:
    """Each rate that both may state, per million tokens, for a short prompt."""
    rates = price.table.rates(0)
    for meter in RATES:
        ours: Decimal | None = getattr(rates, meter)
        if ours is not None:
            yield meter, ours, _rate(entry, meter)


def _rate(entry: Mapping[str, object], meter: str) -> Decimal | None:
    value = entry.get(RATES[meter])
    return Decimal(str(value)) * 1_000_000 if isinstance(value, int | float) and not isinstance(value, bool) and value else None


if __name__ == "__main__":
    sys.exit(main())
