"""Our own dated prices, which complete and correct the catalogue; knows their file's format, and no provider's name."""

import tomllib
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, time
from decimal import Decimal
from importlib.resources import files
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from paymaster.accounting.prices.price import ALWAYS, FOREVER, Period, Price
from paymaster.accounting.prices.rates import TOKEN_METERS, PeakHours, Rates, RateTable, Tier


class TomlRow(BaseModel):
    """A row of a file of facts: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Hours(TomlRow):
    """The hours of a peak price, in UTC."""

    windows: tuple[tuple[time, time], ...]
    weekdays_only: bool = False
    days_off: frozenset[date] = frozenset()

    def peak_hours(self) -> PeakHours:
        """The hours in minutes of the day."""
        windows = tuple((start.hour * 60 + start.minute, end.hour * 60 + end.minute) for start, end in self.windows)
        return PeakHours(windows=windows, weekdays_only=self.weekdays_only, days_off=self.days_off)


class TierRow(TomlRow):
    """The price of the whole request if its prompt is longer than `above` tokens. A model that bills search units has no other rates.

    `web_search` is the price of a thousand searches.
    """

    above: int = 0
    input: Decimal | None = None
    output: Decimal | None = None
    cache_read: Decimal | None = None
    cache_write_5m: Decimal | None = None
    thinking_output: Decimal | None = None
    search_unit: Decimal | None = None
    web_search: Decimal = Decimal(0)

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.search_unit is None and (self.input is None or self.output is None):
            raise ValueError("a price needs input and output, or search_unit")
        return self

    def rates(self, *, thinking: bool = False) -> Rates:
        """The list price; that of answers that reasoned, if it is another."""
        free = Decimal(0)
        output = self.thinking_output if thinking and self.thinking_output is not None else self.output
        return Rates(
            input=self.input or free,
            output=output or free,
            cache_read=self.cache_read,
            cache_write_5m=self.cache_write_5m,
            search_unit=self.search_unit,
            web_search=self.web_search * 1000,
        )


class RatesRow(TierRow):
    """A list price with its start and the tiers of longer prompts; at peak a factor of it, or other rates."""

    start: datetime = Field(default=ALWAYS, alias="from")
    tiers: tuple[TierRow, ...] = ()
    peak: str | None = None
    peak_factor: Decimal = Decimal(1)
    peak_rates: "RatesRow | None" = None

    def price(self, hours: Mapping[str, Hours], source: str) -> Price:
        """The price with its peak. Raises KeyError for undefined hours."""
        table, thinking = self._table(thinking=False), self._table(thinking=True)
        if self.peak is None:
            return Price(table=table, source=source, thinking_table=None if thinking == table else thinking)
        at_peak = table.multiplied(self.peak_factor) if self.peak_rates is None else RateTable.of(self.peak_rates.rates())
        return Price(table=table, source=source, peak=hours[self.peak].peak_hours(), peak_table=at_peak)

    def _table(self, *, thinking: bool) -> RateTable:
        tiers = [Tier.above(tier.above, tier.rates(thinking=thinking)) for tier in self.tiers]
        return RateTable.of(self.rates(thinking=thinking), tiers)


class PricedModel(TomlRow):
    """A model with all its prices over time."""

    provider: str
    names: tuple[str, ...]
    source: str
    until: datetime = FOREVER
    periods: tuple[RatesRow, ...]
    is_bound: bool = False

    def history(self, hours: Mapping[str, Hours], source: str) -> tuple[Period, ...]:
        """The periods, ascending. Raises KeyError for undefined hours."""
        prices = [(row.start, replace(row.price(hours, source), is_bound=self.is_bound)) for row in self.periods]
        sold = tuple(Period(start, price) for start, price in prices)
        return sold if self.until == FOREVER else (*sold, Period(self.until, None))


class RateCorrection(TomlRow):
    """Rates that replace rates of the catalogue's list price, for some models and some time."""

    provider: str
    models: frozenset[str]
    source: str
    start: datetime = Field(default=ALWAYS, alias="from")
    until: datetime = FOREVER
    rates: Mapping[str, Decimal]

    def applies(self, provider: str, model: str, at: datetime) -> bool:
        """Whether it applies to this model of this provider at this moment."""
        return self.provider == provider and model in self.models and self.start <= at < self.until


class ModeFactor(TomlRow):
    """A tier's price as a factor of list price; for all of a provider's models if `models` is empty."""

    provider: str
    models: frozenset[str] = frozenset()
    source: str
    mode: str
    factor: Decimal
    meters: tuple[str, ...] = TOKEN_METERS
    only_if_missing: bool = False

    def applies(self, provider: str, model: str) -> bool:
        """Whether it applies to this model of this provider."""
        return self.provider == provider and (not self.models or model in self.models)


class Supplement(TomlRow):
    """The file `data/prices.toml`."""

    version: str
    hours: Mapping[str, Hours] = {}
    model: tuple[PricedModel, ...] = ()
    correction: tuple[RateCorrection, ...] = ()
    factor: tuple[ModeFactor, ...] = ()
    us_factors: Mapping[str, Decimal] = {}

    @property
    def written_at(self) -> datetime:
        """The start of the day of the file's version. Raises ValueError if the version is no date."""
        return datetime.combine(date.fromisoformat(self.version), time(), UTC)

    def histories(self) -> dict[tuple[str, str], tuple[Period, ...]]:
        """The periods, ascending, of each (provider, model name) in the file. Raises KeyError for undefined hours."""
        source = f"catalogue paymaster {self.version}"
        found: dict[tuple[str, str], tuple[Period, ...]] = {}
        for row in self.model:
            periods = row.history(self.hours, source)
            found |= {(row.provider, name): periods for name in row.names}
        return found


def load_supplement() -> Supplement:
    """Read the file that ships with the package."""
    return read_supplement(files("paymaster.accounting.prices").joinpath("data/prices.toml").read_text(encoding="utf-8"))


def read_supplement(text: str) -> Supplement:
    """Parse the file's text. Raises ValueError for mistakes."""
    return Supplement.model_validate(tomllib.loads(text))
