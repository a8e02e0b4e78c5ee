"""The prices of one model over time: the price at a moment, and all that may apply within a time; knows no model and no provider."""

from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from paymaster.accounting.prices.price import ALWAYS, Period, Price
from paymaster.accounting.prices.rates import in_utc


@dataclass(frozen=True, slots=True)
class PriceHistory:
    """Periods of one price each, ascending. `elsewhere` has the histories of other places that may serve, if the place is unknown."""

    periods: tuple[Period, ...] = ()
    elsewhere: "tuple[PriceHistory, ...]" = ()
    _starts: tuple[datetime, ...] = field(init=False, repr=False, compare=False)
    _changes: tuple[datetime, ...] = field(init=False, repr=False, compare=False)
    _found: dict[tuple[int, int], tuple[Price, ...]] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Keep the starts apart, here and in other places: a look-up is one search in them."""
        starts = tuple(period.start for period in self.periods)
        object.__setattr__(self, "_starts", starts)
        object.__setattr__(self, "_changes", tuple(sorted({*starts, *(start for other in self.elsewhere for start in other.changes)})))

    @property
    def changes(self) -> tuple[datetime, ...]:
        """The moments at which a price changes, here or in another place."""
        return self._changes

    @classmethod
    def of(cls, price: Price) -> "PriceHistory":
        """One price for all time."""
        return cls((Period(ALWAYS, price),))

    def at(self, moment: datetime) -> Price | None:
        """The price at this moment (a naive time is UTC); None before the first period, or if the model is not sold."""
        begun = bisect_right(self._starts, in_utc(moment))
        return self.periods[begun - 1].price if begun else None

    def within(self, first: datetime, last: datetime) -> tuple[Price, ...]:
        """Every price that may apply from `first` to `last`, the price at `first` foremost; other places included."""
        first, last = in_utc(first), in_utc(last)
        # All times between the same two changes have the same prices.
        key = bisect_right(self._changes, first), bisect_right(self._changes, last)
        found = self._found.get(key)
        if found is None:
            found = self._found[key] = self._within(first, last)
        return found

    def _within(self, first: datetime, last: datetime) -> tuple[Price, ...]:
        begun, ended = bisect_right(self._starts, first), bisect_right(self._starts, last)
        here = [period.price for period in self.periods[max(begun - 1, 0) : ended] if period.price is not None]
        for other in self.elsewhere:
            here += other.within(first, last)
        return tuple(here)

    def multiplied(self, factor: Decimal, start: datetime = ALWAYS, note: str = "") -> "PriceHistory":
        """The same with every rate for tokens multiplied from `start` on. `note` says why, in the sources of the prices."""
        changed = self.mapped(lambda price: price.multiplied(factor, note))
        return changed if start == ALWAYS else self.until(start, changed)

    def mapped(self, change: Callable[[Price], Price]) -> "PriceHistory":
        """The same with every price changed, in other places too."""
        periods = [Period(period.start, None if period.price is None else change(period.price)) for period in self.periods]
        return PriceHistory(tuple(periods), tuple(other.mapped(change) for other in self.elsewhere))

    def until(self, end: datetime, then: "PriceHistory") -> "PriceHistory":
        """This history before `end`, and from then on the other."""
        before = [period for period in self.periods if period.start < end]
        after = [Period(max(period.start, end), period.price) for period in _from(then.periods, end)]
        return PriceHistory((*before, *after), (*self.elsewhere, *then.elsewhere))


def _from(periods: tuple[Period, ...], start: datetime) -> Iterable[Period]:
    """The periods that are not over at `start`."""
    following = [period.start for period in periods[1:]]
    return [period for index, period in enumerate(periods) if index == len(following) or following[index] > start]
