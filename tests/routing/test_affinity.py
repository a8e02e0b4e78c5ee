"""Where a session has its warm cache, what it takes to leave it, and what of that a ledger has to keep."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from call_box import model
from paymaster.accounting.accounts import Balance, Post
from paymaster.accounting.prices.price import Price
from paymaster.accounting.prices.rates import Rates
from paymaster.accounting.tokens.counter import PromptCount
from paymaster.accounting.usage.record import Usage
from paymaster.ledgers.redis.figures import LARGEST_FIGURE
from paymaster.registry.compat import Compat
from paymaster.registry.models import Model
from paymaster.routing.affinity import (
    DEFAULT_LIFETIME_MS,
    MS_PER_HOUR,
    ColdCache,
    Home,
    Left,
    Preferred,
    WarmSession,
    cold_cache,
    home_after,
    home_in,
    home_post,
    is_news,
    lifetime_ms,
    mark_of_place,
    place_of,
    prefer,
    session_posts,
    worth_ms,
)
from paymaster.routing.planning import Candidate
from paymaster.routing.translation import Translation

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
SONNET = Price.from_registry(
    Rates(input=Decimal(3), output=Decimal(15), cache_read=Decimal("0.3"), cache_write_5m=Decimal("3.75")), writes_cache_unasked=False
)
UNASKED = Price.from_registry(Rates(input=Decimal(2), output=Decimal(8), cache_read=Decimal("0.2"), cache_write_5m=Decimal("2.5")))
NO_CACHE = Price.from_registry(Rates(input=Decimal(1), output=Decimal(1)))
FREE = Price.free("registry")
CLAUDE = Compat(reads=frozenset({"cache_control"}))
HOUR_USD = 10**9
CENT_A_SECOND = 36 * HOUR_USD


def place(endpoint: str, **fields: object) -> Model:
    return model("sonnet", endpoint=endpoint, identity=f"anthropic:claude-sonnet-5:{endpoint}", **fields)


EU, US = place("eu"), place("us")


def candidate(price: Price | None = SONNET, cache_control: str | None = None, **fields: object) -> Candidate:
    return Candidate(
        model=place("eu", price=price, **fields),
        prompt=PromptCount(100, 100, exact=True, unbounded=()),
        output_tokens=100,
        limit_sent=False,
        choices=1,
        held_nanousd=0,
        translation=Translation((), cache_control=cache_control),
        at=NOON,
        prices=() if price is None else (price,),
    )


# ---------------------------------------------------------------------------------------------------------- the memory


@pytest.mark.parametrize("tokens", [0, 1, 98_000, 2**28 - 1])
def test_what_is_posted_reads_back(tokens: int) -> None:
    home = Home(mark_of_place(EU), tokens)
    post = home_post("5e07", home, 600_000)
    assert (post.account, post.for_ms) == ("affinity/5e07", 600_000)
    assert home_in(Balance(live=post.amount)) == home
    assert post.amount <= LARGEST_FIGURE  # a server counts no further


def test_more_tokens_than_any_cache_has_are_cut() -> None:
    post = home_post("5e07", Home(5, 2**40), 1)
    assert home_in(Balance(live=post.amount)) == Home(5, 2**28 - 1)


@pytest.mark.parametrize("balance", [None, Balance(), Balance(live=98_000), Balance(live=2**60), Balance(settled=2**40)])
def test_any_other_figure_says_nothing(balance: Balance | None) -> None:
    assert home_in(balance) is None


def test_a_home_is_an_endpoint_by_what_it_is() -> None:
    home = Home(mark_of_place(EU), 5)
    assert place_of(home, [US, EU]) is EU
    renamed = model("other", endpoint="x", identity=EU.identity)
    assert place_of(home, [US, renamed]) is renamed
    assert place_of(home, [US]) is None


@pytest.mark.parametrize(
    ("before", "written_ago_ms", "home", "news"),
    [
        (None, 0, Home(1, 100), True),
        (Home(2, 100), 0, Home(1, 100), True),
        (Home(1, 100), 0, Home(1, 100), False),
        (Home(1, 100), 0, Home(1, 125), False),
        (Home(1, 100), 0, Home(1, 126), True),
        (Home(1, 100), 0, Home(1, 10), False),  # a small call beside the conversation
        (Home(2, 100), 0, Home(1, 49), False),
        (Home(2, 100), 0, Home(1, 50), True),
        (Home(2, 0), 0, Home(1, 0), True),
        (Home(1, 0), 0, Home(1, 0), False),
        (Home(1, 100), 299_999, Home(1, 100), False),
        (Home(1, 100), 300_000, Home(1, 100), True),
    ],
)
def test_when_the_ledger_is_written(before: Home | None, written_ago_ms: int, home: Home, news: bool) -> None:
    assert is_news(before, 1_000_000, home, 1_000_000 + written_ago_ms, 600_000) is news


def test_what_an_answer_posts() -> None:
    usage = Usage(input_tokens=1_000, cache_read_tokens=9_000)
    warm = candidate(UNASKED)
    home = Home(mark_of_place(EU), 10_000)
    [post] = session_posts(WarmSession("5e07"), warm, usage, 1_000)
    assert post == home_post("5e07", home, DEFAULT_LIFETIME_MS)
    assert session_posts(WarmSession("5e07", home, 1_000), warm, usage, 2_000) == ()
    assert session_posts(WarmSession("5e07", home, 0), warm, usage, 10**9) == (post,)  # another process wrote it, who knows when
    assert session_posts(None, warm, usage, 1_000) == ()
    [half] = session_posts(WarmSession("5e07", home._replace(cached_tokens=98_000), 0), warm, usage, 10**9)
    assert home_in(Balance(live=half.amount)) == home._replace(cached_tokens=49_000)  # a history that was summed up, in the end
    assert session_posts(WarmSession("5e07"), warm, None, 1_000) == (
        Post("affinity/5e07", home_post("x", Home(mark_of_place(EU), 0), 1).amount, DEFAULT_LIFETIME_MS),
    )


@pytest.mark.parametrize(
    ("provider", "cache_control", "expected_ms"),
    [
        ("openai", None, DEFAULT_LIFETIME_MS),
        ("anthropic", None, 300_000),
        ("anthropic", "5m", 300_000),
        ("anthropic", "1h", MS_PER_HOUR),
        ("deepseek", None, MS_PER_HOUR),
        ("vllm", None, DEFAULT_LIFETIME_MS),
    ],
)
def test_how_long_a_cache_is_kept(provider: str, cache_control: str | None, expected_ms: int) -> None:
    assert lifetime_ms(candidate(provider=provider, cache_control=cache_control)) == expected_ms


WRITTEN = Usage(input_tokens=10, cache_read_tokens=90_000, cache_write_5m_tokens=8_000)
READ = Usage(input_tokens=1_000, cache_read_tokens=9_000)
UNCACHED = Usage(input_tokens=10_000)


@pytest.mark.parametrize(
    ("usage", "price", "compat", "tokens"),
    [
        (WRITTEN, SONNET, CLAUDE, 98_000),
        (READ, SONNET, CLAUDE, 9_000),
        (UNCACHED, SONNET, CLAUDE, 0),  # nobody asked for a cache
        (READ, SONNET, Compat(), 10_000),  # its provider caches unasked, and reports what it read
        (UNCACHED, SONNET, Compat(), 10_000),
        (UNCACHED, NO_CACHE, Compat(), 0),  # a cache makes nothing cheaper
        (UNCACHED, FREE, Compat(), 10_000),  # but faster
        (UNCACHED, None, Compat(), 10_000),
    ],
)
def test_what_a_cache_has_after_an_answer(usage: Usage, price: Price | None, compat: Compat, tokens: int) -> None:
    assert home_after(candidate(price, compat=compat), usage).cached_tokens == tokens


# ------------------------------------------------------------------------------------------------------ stay or leave


@pytest.mark.parametrize(
    ("price", "tokens", "writes", "nanousd"),
    [
        (SONNET, 98_000, False, 264_600_000),
        (SONNET, 98_000, True, 338_100_000),
        (UNASKED, 10_000, False, 23_000_000),
        (NO_CACHE, 98_000, False, 0),
        (FREE, 98_000, True, 0),
        (None, 98_000, False, 0),
        (SONNET, 0, True, 0),
    ],
)
def test_what_a_cold_cache_costs(price: Price | None, tokens: int, writes: bool, nanousd: int) -> None:
    assert cold_cache(price, tokens, NOON, writes=writes) == ColdCache(tokens, nanousd)


@pytest.mark.parametrize(
    ("cold", "hour_nanousd", "expected_ms"),
    [
        (ColdCache(98_000, 264_600_000), CENT_A_SECOND, 26_460),
        (ColdCache(98_000, 264_600_000), HOUR_USD, 952_560),
        (ColdCache(98_000, 264_600_000), 0, MS_PER_HOUR),  # waiting costs nothing
        (ColdCache(10**9, 10**12), CENT_A_SECOND, MS_PER_HOUR),
        (ColdCache(98_000, 0), CENT_A_SECOND, 98_000),  # a server of one's own: the time to read it again
        (ColdCache(10**9, 0), CENT_A_SECOND, MS_PER_HOUR),
        (ColdCache(0, 0), CENT_A_SECOND, 0),
    ],
)
def test_how_long_a_warm_cache_is_worth_waiting_for(cold: ColdCache, hour_nanousd: int, expected_ms: int) -> None:
    assert worth_ms(cold, hour_nanousd) == expected_ms


WARM, LOCAL, EMPTY = ColdCache(98_000, 264_600_000), ColdCache(98_000, 0), ColdCache(0, 0)


@pytest.mark.parametrize(
    ("cold", "unavailable", "queue_ms", "expected"),
    [
        (WARM, "", 0, Preferred("sonnet/eu", "kept at eu: 98,000 tokens are cached there", 26_460)),
        (WARM, "", 26_460, Preferred("sonnet/eu", "kept at eu: 98,000 tokens are cached there", 26_460)),
        (WARM, "", 40_000, Left("left eu: its queue is 40 s, the cold cache costs $0.26")),
        (WARM, "circuit open after failures", 0, Left("left eu: circuit open after failures")),
        (LOCAL, "", 60_000, Preferred("sonnet/eu", "kept at eu: 98,000 tokens are cached there", 98_000)),
        (LOCAL, "", 120_000, Left("left eu: its queue is 120 s, reading 98,000 tokens again takes 98 s")),
        (EMPTY, "", 0, Preferred("sonnet/eu", "kept at eu: it answered last", 0)),
        (EMPTY, "", 1_000, Left("left eu: its queue is 1 s, nothing is cached there")),
        (ColdCache(10, 27_000), "", 60_000, Left("left eu: its queue is 60 s, the cold cache costs $0.000027")),
    ],
)
def test_whether_a_session_stays(cold: ColdCache, unavailable: str, queue_ms: int, expected: Preferred | Left) -> None:
    found = prefer(EU, cold, waiting_nanousd_per_hour=CENT_A_SECOND, unavailable=unavailable, queue_ms=queue_ms)
    assert found == expected
    assert type(found) is type(expected)
