"""The prices of one model of a registry, at any moment and for any name in an answer; knows no section and no usage."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Protocol

from paymaster.accounting.bounds import LONGEST_MODEL_NAME
from paymaster.accounting.prices.history import PriceHistory
from paymaster.accounting.prices.price import Price

MOST_REMEMBERED = 1_000


class PriceSource(Protocol):
    """Published prices."""

    def history(self, provider: str | None, model_id: str, region: str | None = None) -> PriceHistory:
        """All prices of a model in a region (None: unknown), without any if the model is unknown."""
        ...

    def answered(self, provider: str | None, asked: str, answered: str, region: str | None = None) -> PriceHistory:
        """Those of the model that an answer names, if that says more than what was asked for."""
        ...

    def context_window(self, provider: str, model_id: str) -> tuple[int, str] | None:
        """The model's context window in tokens and its source, None if it is unknown."""
        ...


@dataclass(frozen=True, slots=True)
class ModelPrices:
    """The prices of one model of a registry. With a `source`, `answered` finds the price of the model that an answer names there.

    `factor` and `stated`, what the registry says of any price of the model, are in `history` already.
    """

    history: PriceHistory
    source: PriceSource | None = field(default=None, repr=False, compare=False)
    provider: str = ""
    name: str = ""
    region: str | None = None
    factor: Decimal | None = None
    stated: Callable[[Price], Price] | None = field(default=None, repr=False, compare=False)
    _answered: dict[str, PriceHistory] = field(init=False, repr=False, compare=False, default_factory=dict)
    """What was looked up for names in answers, of which there may be any number."""

    def at(self, moment: datetime, answered: str | None = None) -> Price | None:
        """The price at this moment, of the model that answered if it is known; None if it is unknown."""
        if answered is None or answered == self.name or self.source is None:
            return self.history.at(moment)
        named = self._answered.get(answered)
        if named is None:
            if len(self._answered) >= MOST_REMEMBERED:
                self._answered.clear()
            named = self.source.answered(self.provider, self.name, answered, self.region)
            named = named if self.factor is None else named.multiplied(self.factor)
            named = self._answered[answered[:LONGEST_MODEL_NAME]] = named if self.stated is None else named.mapped(self.stated)
        return named.at(moment) or self.history.at(moment)

    def within(self, first: datetime, last: datetime) -> tuple[Price, ...]:
        """Every price that may apply in this time and in every place that may serve."""
        return self.history.within(first, last)
