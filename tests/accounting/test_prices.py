"""A cost is exact, a hold is never below a cost, and what an amount pays for is the inverse of a hold."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal, localcontext

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from paymaster.accounting.prices.price import (
    ENDLESS_OUTPUT_TOKENS,
    Cost,
    Price,
    RequestTerms,
    UnknownCost,
    UnknownTier,
    affordable_output_tokens,
    cost,
    worst_case,
    worst_case_nanousd,
)
from paymaster.accounting.prices.rates import METERS, TOKEN_METERS, PeakHours, Rates, RateTable, Tier, per_million
from paymaster.accounting.usage.record import Usage

MONDAY_NOON = datetime(2026, 11, 16, 12, tzinfo=UTC)
OFFICE = PeakHours(windows=((60, 240), (360, 600)), weekdays_only=True, days_off=frozenset({date(2026, 11, 17)}))


def usd(text: str) -> Decimal:
    return Decimal(text)


def rates(input_: str = "3", output: str = "15", **more: str) -> Rates:
    return Rates(input=usd(input_), output=usd(output), **{name: usd(rate) for name, rate in more.items()})


RATE = st.decimals(min_value=0, max_value=1000, places=6)
COUNT = st.integers(min_value=0, max_value=600_000)
RATES = st.builds(
    Rates,
    input=RATE,
    output=RATE,
    cache_read=st.none() | RATE,
    cache_write_5m=st.none() | RATE,
    cache_write_1h=st.none() | RATE,
    input_audio=st.none() | RATE,
    output_audio=st.none() | RATE,
    input_image=st.none() | RATE,
    output_image=st.none() | RATE,
    input_video=st.none() | RATE,
    output_video=st.none() | RATE,
    web_search=RATE,
    request=RATE,
)
TABLES = st.builds(lambda base, long: RateTable.of(base, [Tier.above(1_000, long)]), RATES, RATES)
PRICES = st.builds(
    Price,
    table=TABLES,
    source=st.just("registry"),
    modes=st.builds(lambda fast, batch: (("priority", fast), ("batch", batch)), TABLES, TABLES),
    peak=st.just(OFFICE),
    peak_table=TABLES,
    writes_cache_unasked=st.booleans(),
    us_factor=st.none() | st.just(Decimal("1.1")),
)
USAGES = st.builds(
    Usage,
    input_tokens=COUNT,
    cache_read_tokens=COUNT,
    cache_write_5m_tokens=COUNT,
    cache_write_1h_tokens=COUNT,
    input_audio_tokens=COUNT,
    input_image_tokens=COUNT,
    input_video_tokens=COUNT,
    output_tokens=COUNT,
    output_audio_tokens=COUNT,
    output_video_tokens=COUNT,
    web_search_requests=st.integers(min_value=0, max_value=5),
    inference_geo=st.sampled_from([None, "us"]),
)
MOMENTS = st.datetimes(min_value=datetime(2026, 11, 1), max_value=datetime(2026, 11, 30), timezones=st.just(UTC))  # noqa: DTZ001  # Hypothesis adds the zone
EVERYTHING = RequestTerms(caching_possible=True, service_tier="priority", inference_geo="us", web_searches=5, modalities=("audio", "image"))


@given(price=PRICES, usage=USAGES, at=MOMENTS, tier=st.sampled_from([None, "default", "priority"]))
def test_no_cost_is_negative_or_above_the_hold_for_its_bounds(price: Price, usage: Usage, at: datetime, tier: str | None) -> None:
    billed = cost(usage, price, at, service_tier=tier)
    assert isinstance(billed, Cost)
    assert billed.usd >= 0
    hold = worst_case(price, usage.prompt_tokens, usage.completion_tokens, cache_control="1h", terms=EVERYTHING)
    assert billed.usd <= hold
    at_most = worst_case_nanousd(price, usage.prompt_tokens, usage.completion_tokens, cache_control="1h", at=at, terms=EVERYTHING)
    assert billed.nanousd <= at_most


@given(price=PRICES, usage=USAGES, at=MOMENTS)
def test_a_batch_is_held_at_the_price_it_is_billed_at(price: Price, usage: Usage, at: datetime) -> None:
    terms = RequestTerms(caching_possible=True, processing="batch", inference_geo="us", web_searches=5, modalities=("audio", "image"))
    billed = cost(usage, price, at, processing="batch")
    assert isinstance(billed, Cost)
    assert billed.usd <= worst_case(price, usage.prompt_tokens, usage.completion_tokens, cache_control="1h", terms=terms)


@given(price=PRICES, usage=USAGES, at=MOMENTS, more=COUNT)
def test_more_output_never_costs_less(price: Price, usage: Usage, at: datetime, more: int) -> None:
    longer = Usage(input_tokens=usage.input_tokens, cache_read_tokens=usage.cache_read_tokens, output_tokens=usage.output_tokens + more)
    shorter = Usage(input_tokens=usage.input_tokens, cache_read_tokens=usage.cache_read_tokens, output_tokens=usage.output_tokens)
    first, second = cost(shorter, price, at), cost(longer, price, at)
    assert isinstance(first, Cost)
    assert isinstance(second, Cost)
    assert first.usd <= second.usd
    assert first.nanousd <= second.nanousd


@given(price=PRICES, prompt=COUNT, more=COUNT, output=COUNT, n=st.integers(1, 8))
def test_a_hold_grows_with_its_bounds(price: Price, prompt: int, more: int, output: int, n: int) -> None:
    hold = worst_case(price, prompt, output, n)
    assert hold <= worst_case(price, prompt + more, output, n)
    assert hold <= worst_case(price, prompt, output + more, n)
    assert hold <= worst_case(price, prompt, output, n + 1)


@given(price=PRICES, prompt=COUNT, room=st.integers(0, 10**12), n=st.integers(1, 8), at=st.none() | MOMENTS)
def test_affordable_output_is_the_inverse_of_the_hold(price: Price, prompt: int, room: int, n: int, at: datetime | None) -> None:
    affordable = affordable_output_tokens(price, prompt, room, n, at=at)
    assert affordable >= 0
    if worst_case_nanousd(price, prompt, 0, n, at=at) > room:
        assert affordable == 0
        return
    assert worst_case_nanousd(price, prompt, affordable, n, at=at) <= room
    assume(affordable < ENDLESS_OUTPUT_TOKENS)
    assert worst_case_nanousd(price, prompt, affordable + 1, n, at=at) > room


@given(number=st.integers(0, 10**40), places=st.integers(0, 40))
def test_no_digit_is_lost_to_the_decimal_context(number: int, places: int) -> None:
    rate = Decimal(f"{number}E-{places}")
    with localcontext() as context:
        context.prec = 6
        billed = cost(Usage(input_tokens=1_000_003), Price.from_registry(Rates(input=rate, output=rate)), MONDAY_NOON)
    assert isinstance(billed, Cost)
    with localcontext() as context:
        context.prec = 200
        assert billed.usd == rate * 1_000_003 / 1_000_000
        assert billed.nanousd - 1 < billed.usd * 10**9 <= billed.nanousd


def test_rounding_is_up_and_once() -> None:
    price = Price.from_registry(rates("0.0004", "0.0004"))
    billed = cost(Usage(input_tokens=1, output_tokens=1), price, MONDAY_NOON)
    assert billed == Cost(usd("8E-10"), 1, "registry")


def test_rates_per_thousand_equal_rates_per_million() -> None:
    price = Price.from_registry(Rates(input=per_million(usd("5e-3")), output=per_million(usd("15e-3"))))
    assert cost(Usage(input_tokens=1000, output_tokens=1000), price, MONDAY_NOON) == Cost(usd("0.02"), 20_000_000, "registry")


def test_missing_rates_default_to_the_rate_of_input() -> None:
    left_out = Price.from_registry(rates())
    bill = {
        name: cost(Usage(**{name: 1_000_000}), left_out, MONDAY_NOON).nanousd / 10**9
        for name in (
            "cache_read_tokens",
            "cache_write_5m_tokens",
            "cache_write_1h_tokens",
            "input_audio_tokens",
            "cache_read_audio_tokens",
            "input_image_tokens",
            "cache_read_image_tokens",
            "output_audio_tokens",
            "output_image_tokens",
        )
    }
    assert list(bill.values()) == [3, 3.75, 6, 3, 3, 3, 3, 15, 15]


def test_cached_audio_costs_as_much_as_audio_unless_it_has_a_rate() -> None:
    assert rates(input_audio="32", cache_read="0.3").units[5] == rates(input_audio="32").units[4]
    assert cost(Usage(cache_read_audio_tokens=10**6), Price.from_registry(rates(cache_read_audio="0.4")), MONDAY_NOON).nanousd == 4 * 10**8


def test_a_one_hour_write_is_never_cheaper_than_a_five_minute_write() -> None:
    price = Price.from_registry(rates(cache_write_5m="9"))
    assert cost(Usage(cache_write_1h_tokens=10**6), price, MONDAY_NOON).nanousd == 9 * 10**9


@pytest.mark.parametrize("wrong", ["-1", "NaN", "sNaN", "Infinity"])
def test_a_negative_or_infinite_rate_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="the rate cache_read must be a finite number of dollars"):
        rates(cache_read=wrong)


@pytest.mark.parametrize("starts", [(), (1,), (0, 5, 5), (0, 7, 5)])
def test_tiers_that_do_not_ascend_from_zero_are_refused(starts: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="must start at 0 and ascend"):
        RateTable(tuple(Tier(start, rates()) for start in starts))


def test_tiers_may_begin_above_or_at_a_length() -> None:
    above = Price.from_registry(rates("1", "0"), [Tier.above(200_000, rates("2", "0"))])
    at_or_above = Price.from_registry(rates("1", "0"), [Tier.at_or_above(200_000, rates("2", "0")), Tier.above(300_000, rates("3", "0"))])
    bills = [cost(Usage(input_tokens=200_000), price, MONDAY_NOON).nanousd for price in (above, at_or_above)]
    assert bills == [2 * 10**8, 4 * 10**8]
    assert cost(Usage(input_tokens=300_001), at_or_above, MONDAY_NOON).nanousd == 900_003_000


def test_a_hold_takes_the_most_expensive_reachable_tier_even_a_lower_one() -> None:
    falling = Price.from_registry(rates("10", "10"), [Tier.above(1000, rates("1", "1"))])
    assert worst_case(falling, 500, 0) == usd("0.005")
    assert worst_case(falling, 1001, 0) == usd("0.01")


def test_a_free_price_is_zero_and_names_its_source() -> None:
    price = Price.free("local provider ollama")
    assert price.is_free
    assert cost(Usage(input_tokens=5), price, MONDAY_NOON) == Cost(Decimal(0), 0, "local provider ollama")
    assert worst_case_nanousd(price, 10**6, 10**6) == 0
    assert affordable_output_tokens(price, 10**6, 0) == ENDLESS_OUTPUT_TOKENS
    assert not Price(table=RateTable.of(rates("0", "0")), source="x", peak=OFFICE, peak_table=RateTable.of(rates())).is_free


def test_a_hold_includes_cache_writes_if_they_can_happen() -> None:
    price = Price.from_registry(rates())
    assert worst_case(price, 10**6, 0) == 3
    assert worst_case(price, 10**6, 0, cache_control="5m") == usd("3.75")
    assert worst_case(price, 10**6, 0, cache_control="1h") == 6
    assert worst_case(price, 10**6, 0, terms=RequestTerms(caching_possible=True)) == usd("3.75")
    assert worst_case(Price.from_registry(rates(cache_write_5m="4")), 10**6, 0) == 4
    assert worst_case(Price.from_registry(rates(cache_write_5m="4"), writes_cache_unasked=False), 10**6, 0) == 3


def test_a_hold_has_each_answer_and_the_prompt_once() -> None:
    assert worst_case(Price.from_registry(rates()), 10**6, 10**6, 3) == 48


MODES = Price(
    table=RateTable.of(rates("2", "2")),
    source="registry",
    modes=(("priority", RateTable.of(rates("4", "4"))), ("batch", RateTable.of(rates("1", "1"))), ("flex", RateTable.of(rates("1", "1")))),
)


@pytest.mark.parametrize(
    ("terms", "held"),
    [
        (RequestTerms(), "2"),
        (RequestTerms(service_tier="default"), "2"),
        (RequestTerms(service_tier="auto"), "4"),
        (RequestTerms(service_tier="priority"), "4"),
        (RequestTerms(service_tier="flex"), "2"),
        (RequestTerms(processing="batch"), "1"),
    ],
)
def test_a_hold_takes_the_most_expensive_service_tier_that_may_apply(terms: RequestTerms, held: str) -> None:
    assert worst_case(MODES, 10**6, 0, terms=terms) == usd(held)


def test_a_tier_without_a_price_is_not_guessed() -> None:
    price = Price.from_registry(rates("2", "2"))
    with pytest.raises(UnknownTier, match="'fast'"):
        worst_case(price, 1, 1, terms=RequestTerms(speed="fast"))
    assert worst_case(price, 10**6, 0, terms=RequestTerms(service_tier="auto")) == 2
    assert worst_case(price, 10**6, 0, terms=RequestTerms(processing="batch")) == 2
    assert cost(Usage(input_tokens=1, speed="fast"), price, MONDAY_NOON) == UnknownCost(
        "unknown_tier", "the price of 'fast' is unknown for this model"
    )
    assert cost(Usage(input_tokens=1), None, MONDAY_NOON) == UnknownCost(
        "unknown_model", "the model has no price in the registry or the catalogue"
    )


def test_the_answers_tier_wins_over_the_usages() -> None:
    usage = Usage(input_tokens=10**6, service_tier="priority")
    assert cost(usage, MODES, MONDAY_NOON).nanousd == 4 * 10**9
    assert cost(usage, MODES, MONDAY_NOON, service_tier="default").nanousd == 2 * 10**9
    assert cost(usage, MODES, MONDAY_NOON, processing="batch").nanousd == 10**9


def test_searches_and_requests_are_billed_in_addition_to_tokens() -> None:
    price = Price(table=RateTable.of(rates("1", "1", web_search="10000", request="5000")), source="x", us_factor=usd("1.1"))
    usage = Usage(input_tokens=10**6, web_search_requests=3, inference_geo="us")
    assert cost(usage, price, MONDAY_NOON).usd == usd("1.135")
    assert worst_case(price, 10**6, 0, terms=RequestTerms(web_searches=3, inference_geo="us")) == usd("1.135")


def test_a_cost_reported_by_the_provider_wins() -> None:
    assert cost(Usage(reported_cost_usd=usd("0.0000000001")), MODES, MONDAY_NOON) == Cost(usd("1E-10"), 1, "provider")


PEAKED = Price(table=RateTable.of(rates("1", "1")), source="x", peak=OFFICE, peak_table=RateTable.of(rates("2", "2")))


@pytest.mark.parametrize(
    ("moment", "at_peak", "soon"),
    [
        ("2026-11-16T00:59:59", False, True),
        ("2026-11-16T01:00:00", True, True),
        ("2026-11-16T03:59:59", True, True),
        ("2026-11-16T04:00:00", False, True),
        ("2026-11-16T10:00:00", False, False),
        ("2026-11-16T23:30:00", False, False),  # the next day is off
        ("2026-11-17T02:00:00", False, False),
        ("2026-11-17T23:30:00", False, True),  # runs into Wednesday's peak
        ("2026-11-20T23:30:00", False, False),  # a Saturday follows
        ("2026-11-21T02:00:00", False, False),
        ("2026-11-22T23:30:00", False, True),
    ],
)
def test_a_call_at_peak_and_a_hold_before_it_have_the_peak_price(moment: str, at_peak: bool, soon: bool) -> None:
    at = datetime.fromisoformat(moment)
    assert cost(Usage(input_tokens=10**6), PEAKED, at).usd == (2 if at_peak else 1)
    assert worst_case(PEAKED, 10**6, 0, at=at) == (2 if soon else 1)
    assert worst_case(PEAKED, 10**6, 0) == 2


def test_a_moment_is_the_same_in_every_zone() -> None:
    beijing = timezone(timedelta(hours=8))
    assert OFFICE.contains(datetime(2026, 11, 16, 9, tzinfo=beijing))
    assert not OFFICE.contains(datetime(2026, 11, 17, 1, tzinfo=beijing))


BY_LENGTH = Price.from_registry(rates("0", "0", audio_hour="360000"))
BY_UNIT = Price.from_registry(rates("0", "0", search_unit="2000"))
BOTH = Price.from_registry(rates("1", "2", audio_hour="240000"))


@pytest.mark.parametrize(
    ("usage", "price", "spent"),
    [
        (Usage(audio_seconds=usd("60")), BY_LENGTH, "0.006"),
        (Usage(audio_seconds=usd("0.5")), BY_LENGTH, "0.00005"),
        (Usage(audio_seconds=usd("1")), Price.from_registry(rates("0", "0", audio_hour="1")), "0.00000000027777777778"),
        (Usage(audio_seconds=usd("30"), input_tokens=20, output_tokens=10), BOTH, "0.00204"),
        (Usage(input_tokens=20), BOTH, "0.00002"),
        (Usage(search_units=3), BY_UNIT, "0.006"),
        (Usage(search_units=3, input_tokens=1000), BY_UNIT, "0.006"),
    ],
)
def test_search_units_and_the_length_of_audio_are_billed(usage: Usage, price: Price, spent: str) -> None:
    assert cost(usage, price, MONDAY_NOON).usd == usd(spent)


@pytest.mark.parametrize(
    ("usage", "price", "missing"),
    [
        (Usage(audio_seconds=usd("60")), BY_UNIT, "the length of audio"),
        (Usage(search_units=1), BOTH, "search units"),
        (Usage(input_tokens=1), BY_UNIT, "tokens"),
        (Usage(output_tokens=1), BY_LENGTH, "tokens"),
    ],
)
def test_what_a_price_has_no_rate_for_is_unknown_and_not_free(usage: Usage, price: Price, missing: str) -> None:
    assert cost(usage, price, MONDAY_NOON) == UnknownCost("unknown_model", f"the model has no price for {missing}")


@pytest.mark.parametrize(("price", "modalities"), [(BY_UNIT, ()), (BY_LENGTH, ()), (BOTH, ("audio",))])
def test_no_hold_bounds_search_units_or_the_length_of_audio(price: Price, modalities: tuple[str, ...]) -> None:
    with pytest.raises(UnknownTier, match="which no limit of the request bounds"):
        worst_case(price, 1, 1, terms=RequestTerms(modalities=modalities))
    assert worst_case(BOTH, 10**6, 0) == 1


def test_a_factor_of_token_prices_leaves_other_units_as_they_are() -> None:
    halved = rates("2", "4", search_unit="2000").multiplied(usd("0.5"))
    assert (halved.input, halved.search_unit, halved.audio_hour) == (1, 2000, None)


OWN = Price.from_registry(rates("3", "15"))
OTHER = Price(table=RateTable.of(rates("5", "25"), [Tier.above(10**6, rates("9", "9"))]), source="x")


def passes(*parts: Usage, **fields: object) -> Usage:
    return Usage(input_tokens=sum(part.input_tokens for part in parts), parts=parts, **fields)  # type: ignore[arg-type]  # any field


def test_each_pass_has_the_price_of_its_own_model_and_length() -> None:
    usage = passes(Usage(input_tokens=10**6), Usage(input_tokens=10**6, model="o"), Usage(input_tokens=2 * 10**6, model="o"))
    done = cost(usage, OWN, MONDAY_NOON, price_of={"o": OTHER}.get)
    assert isinstance(done, Cost)
    assert (done.usd, done.source) == (3 + 5 + 18, "registry and x")


def test_a_pass_of_a_model_without_a_price_makes_the_cost_unknown() -> None:
    usage = passes(Usage(input_tokens=1), Usage(input_tokens=1, model="o"))
    unknown = UnknownCost("unknown_model", "a pass was made by o, which has no price in the registry or the catalogue")
    assert cost(usage, OWN, MONDAY_NOON) == unknown
    assert cost(usage, OWN, MONDAY_NOON, price_of={"p": OTHER}.get) == unknown


def test_a_pass_is_priced_in_the_tier_and_place_of_the_answer() -> None:
    fast = Price(table=OWN.table, source="r", modes=(("fast", RateTable.of(rates("6", "30"))),), us_factor=usd("1.1"))
    usage = passes(Usage(input_tokens=10**6, model="o"), speed="fast", inference_geo="us")
    assert cost(usage, fast, MONDAY_NOON, price_of={"o": OTHER}.get).reason == "unknown_tier"
    assert cost(usage, fast, MONDAY_NOON, price_of={"o": fast}.get).usd == usd("6.6")


@given(RATES, st.decimals(min_value=0, max_value=10, places=3))
def test_where_all_tokens_are_multiplied_a_default_follows_and_stays_a_default(one, factor):
    changed, resolved = one.multiplied(factor), one.resolved()
    assert changed.resolved() == {meter: rate * (factor if meter in TOKEN_METERS else 1) for meter, rate in resolved.items()}
    assert [getattr(changed, meter) is None for meter in METERS] == [getattr(one, meter) is None for meter in METERS]


@pytest.mark.parametrize(
    ("more", "defaults"),
    [
        ({"cache_read": "3"}, {"cache_read"}),
        ({"cache_read": "1", "cache_read_audio": "1"}, {"cache_read_audio"}),
        ({"input_audio": "5", "cache_read_audio": "3"}, set()),
        ({"cache_write_5m": "3.75", "cache_write_1h": "6", "web_search": "0"}, {"cache_write_5m", "cache_write_1h", "web_search"}),
        ({"web_search": "10000", "search_unit": "2000"}, set()),
    ],
)
def test_a_rate_that_repeats_its_default_is_one(more, defaults):
    assert {meter for meter in more if rates(**more).is_default(meter)} == defaults
