"""Rates per million tokens, their prompt tiers, and peak hours; knows no model and no usage."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from paymaster.accounting.decimals import decimals_needed, multiplied, scaled

TOKEN_METERS = (
    "input",
    "cache_read",
    "cache_write_5m",
    "cache_write_1h",
    "input_audio",
    "cache_read_audio",
    "input_image",
    "cache_read_image",
    "input_video",
    "output",
    "output_audio",
    "output_image",
    "output_video",
)
"""The kinds of tokens that are billed, in the order of `Usage.counts`."""

METERS = (*TOKEN_METERS, "web_search", "request", "search_unit", "audio_hour")

FIVE_MINUTE_WRITE = Decimal("1.25")
ONE_HOUR_WRITE = Decimal(2)

_FREE = Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """US dollars per million: of tokens, of `web_search` requests, of calls (`request`), of a reranker's `search_unit`s, of `audio_hour`s.

    A missing rate has a default that hardly ever underestimates a bill: a cache read costs as much as input; a cache write 1.25 times the
    input (kept five minutes) or twice the input (kept an hour), the usual prices of providers that bill writes; audio and images as much
    as text, video as much as images. A model without a rate for search units or hours is not billed by them. Raises ValueError for a rate
    that is negative or not finite.
    """

    input: Decimal
    output: Decimal
    cache_read: Decimal | None = None
    cache_write_5m: Decimal | None = None
    cache_write_1h: Decimal | None = None
    input_audio: Decimal | None = None
    cache_read_audio: Decimal | None = None
    input_image: Decimal | None = None
    cache_read_image: Decimal | None = None
    output_audio: Decimal | None = None
    output_image: Decimal | None = None
    input_video: Decimal | None = None
    output_video: Decimal | None = None
    web_search: Decimal = Decimal(0)
    request: Decimal = Decimal(0)
    search_unit: Decimal | None = None
    audio_hour: Decimal | None = None
    decimals: int = field(init=False, repr=False, compare=False)
    """Digits after the point of the longest rate, in dollars per single token or request."""
    units: tuple[int, ...] = field(init=False, repr=False, compare=False)
    """The rate of each of `METERS` in `10**-decimals` dollars per token or request."""

    def __post_init__(self) -> None:
        """Fill in the defaults and keep every rate as an integer, so that a cost is integer arithmetic."""
        for name, rate in self._given().items():
            if not rate.is_finite() or rate < 0:
                raise ValueError(f"the rate {name} must be a finite number of dollars, not negative; it is {rate}")
        resolved = self.resolved()
        decimals = decimals_needed(resolved.values())
        object.__setattr__(self, "decimals", decimals + 6)
        object.__setattr__(self, "units", tuple(scaled(resolved.get(meter, _FREE), decimals) for meter in METERS))

    def multiplied(self, factor: Decimal, meters: Iterable[str] = TOKEN_METERS) -> "Rates":
        """A copy with some rates multiplied; calls and searches keep theirs unless named.

        Where every kind of token is multiplied, the defaults follow by themselves, and a missing rate stays missing.
        """
        meters = tuple(meters)
        rates = self._given() if set(TOKEN_METERS) <= set(meters) else self.resolved()
        return Rates(**rates | {meter: multiplied(rates[meter], factor) for meter in meters if meter in rates})

    def replaced(self, **rates: Decimal) -> "Rates":
        """A copy with some rates replaced; missing rates get new defaults."""
        return Rates(**self._given() | rates)

    @property
    def is_free(self) -> bool:
        """True if every rate is zero."""
        return not any(self.units)

    @property
    def counts_no_tokens(self) -> bool:
        """True if the model is billed by search units or hours of audio alone, so that a count of tokens has no price."""
        return (self.search_unit is not None or self.audio_hour is not None) and not any(self.units[: len(TOKEN_METERS)])

    def is_default(self, meter: str) -> bool:
        """Whether the rate of a kind other than `input` and `output` would be the same if it were missing."""
        others = {name: rate for name, rate in self._given().items() if name != meter}
        return Rates(**others).resolved().get(meter) == self.resolved().get(meter)

    def _given(self) -> dict[str, Decimal]:
        rates = ((meter, getattr(self, meter)) for meter in METERS)
        return {meter: rate for meter, rate in rates if rate is not None}

    def resolved(self) -> dict[str, Decimal]:
        """The rate of each of `METERS` with the defaults filled in; units that do not bill the model are left out."""
        read = self.input if self.cache_read is None else self.cache_read
        audio = self.input if self.input_audio is None else self.input_audio
        image = self.input if self.input_image is None else self.input_image
        output_image = self.output if self.output_image is None else self.output_image
        five_minutes = multiplied(self.input, FIVE_MINUTE_WRITE) if self.cache_write_5m is None else self.cache_write_5m
        one_hour = max(five_minutes, multiplied(self.input, ONE_HOUR_WRITE)) if self.cache_write_1h is None else self.cache_write_1h
        units = {"search_unit": self.search_unit, "audio_hour": self.audio_hour}
        return {
            "input": self.input,
            "cache_read": read,
            "cache_write_5m": five_minutes,
            "cache_write_1h": one_hour,
            "input_audio": audio,
            # Cached audio defaults to the price of audio, or of cached text if audio has none.
            "cache_read_audio": _cached(self.cache_read_audio, self.input_audio, read),
            "input_image": image,
            "cache_read_image": _cached(self.cache_read_image, self.input_image, read),
            "output": self.output,
            "output_audio": self.output if self.output_audio is None else self.output_audio,
            "output_image": output_image,
            "input_video": image if self.input_video is None else self.input_video,
            "output_video": output_image if self.output_video is None else self.output_video,
            "web_search": self.web_search,
            "request": self.request,
            **{meter: rate for meter, rate in units.items() if rate is not None},
        }


def per_million(usd_per_thousand: Decimal) -> Decimal:
    """A rate per thousand tokens, as registries often have it, per million."""
    return multiplied(usd_per_thousand, Decimal(1000))


def _cached(own: Decimal | None, uncached: Decimal | None, text: Decimal) -> Decimal:
    if own is not None:
        return own
    return text if uncached is None else uncached


FREE_RATES = Rates(input=Decimal(0), output=Decimal(0))


@dataclass(frozen=True, slots=True)
class Tier:
    """Rates of the whole request if its prompt has at least `from_prompt_tokens` (all input, cached or not)."""

    from_prompt_tokens: int
    rates: Rates

    @classmethod
    def above(cls, prompt_tokens: int, rates: Rates) -> "Tier":
        """A tier of longer prompts only: Google, OpenAI and Anthropic price prompts *over* 200,000."""
        return cls(prompt_tokens + 1, rates)

    @classmethod
    def at_or_above(cls, prompt_tokens: int, rates: Rates) -> "Tier":
        """A tier that includes this length: xAI's starts at exactly 200,000."""
        return cls(prompt_tokens, rates)


@dataclass(frozen=True, slots=True)
class RateTable:
    """Tiers in ascending order, the first from 0. Raises ValueError otherwise."""

    tiers: tuple[Tier, ...]

    def __post_init__(self) -> None:
        starts = [tier.from_prompt_tokens for tier in self.tiers]
        if not starts or starts[0] != 0 or starts != sorted(set(starts)):
            raise ValueError(f"price tiers must start at 0 and ascend, without repetition; they start at {starts}")

    @classmethod
    def of(cls, rates: Rates, tiers: Iterable[Tier] = ()) -> "RateTable":
        """Base rates and the tiers above them, in any order."""
        return cls((Tier(0, rates), *sorted(tiers, key=lambda tier: tier.from_prompt_tokens)))

    def rates(self, prompt_tokens: int) -> Rates:
        """The rates of a whole request with this prompt length."""
        chosen = self.tiers[0].rates
        for tier in self.tiers[1:]:
            if tier.from_prompt_tokens > prompt_tokens:
                break
            chosen = tier.rates
        return chosen

    def reachable(self, prompt_tokens_upper_bound: int) -> tuple[tuple[int, Rates], ...]:
        """Every tier that a prompt of at most this length can be in, with the longest such prompt."""
        if len(self.tiers) == 1:
            return ((prompt_tokens_upper_bound, self.tiers[0].rates),)
        longest = [tier.from_prompt_tokens - 1 for tier in self.tiers[1:]] + [prompt_tokens_upper_bound]
        return tuple(
            (min(limit, prompt_tokens_upper_bound), tier.rates)
            for tier, limit in zip(self.tiers, longest, strict=True)
            if tier.from_prompt_tokens <= prompt_tokens_upper_bound
        )

    def replaced(self, **rates: Decimal) -> "RateTable":
        """A copy with some rates of every tier replaced."""
        return RateTable(tuple(Tier(tier.from_prompt_tokens, tier.rates.replaced(**rates)) for tier in self.tiers))

    def multiplied(self, factor: Decimal, meters: Iterable[str] = TOKEN_METERS) -> "RateTable":
        """A copy with some rates of every tier multiplied."""
        names = tuple(meters)
        return RateTable(tuple(Tier(tier.from_prompt_tokens, tier.rates.multiplied(factor, names)) for tier in self.tiers))


@dataclass(frozen=True, slots=True, kw_only=True)
class PeakHours:
    """The hours of a peak price, in UTC: `windows` are minutes of the day (start included, end not), except on `days_off`.

    `weekdays_only` excludes Saturday and Sunday.
    """

    windows: tuple[tuple[int, int], ...]
    weekdays_only: bool = False
    days_off: frozenset[date] = frozenset()

    def contains(self, at: datetime) -> bool:
        """Whether this moment (a naive time is UTC) is at peak."""
        moment = in_utc(at)
        minute = moment.hour * 60 + moment.minute
        return any(start <= minute < end for start, end in self.windows) and self._is_working_day(moment.date())

    def overlap(self, start: datetime, length: timedelta) -> bool:
        """Whether any moment from `start` to `start + length` (less than a day) is at peak."""
        first = in_utc(start)
        last = first + length
        midnight = first.replace(hour=0, minute=0, second=0, microsecond=0)
        openings = (midnight + timedelta(days=day, minutes=opens) for day in (0, 1) for opens, _ in self.windows)
        return self.contains(first) or any(first <= opening <= last and self._is_working_day(opening.date()) for opening in openings)

    def _is_working_day(self, day: date) -> bool:
        return not (self.weekdays_only and day.weekday() >= 5) and day not in self.days_off


def in_utc(at: datetime) -> datetime:
    """The same moment in UTC; a time without a zone is taken as UTC."""
    if at.tzinfo is UTC:
        return at
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
