"""Which endpoint of a model has the warm cache of a session, and how long that is worth waiting for. Pure; knows no ledger and no clock.

    affinity/SESSION   the endpoint that answered last, and how many tokens its cache has: one figure, for as long as a cache lives

The figure is written with the settlement of an answer, and replaces the one before it, so that every process finds the same endpoint and
the account is empty when the cache is cold. While nothing changes it is written anew at half of its time.

To leave a warm cache costs what its tokens cost more when they are read as new input, or, where that is no more, the time to read them
again. To wait costs what the policy says an hour is worth. Whichever is less is done.
"""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from paymaster.accounting.account_names import affinity_account
from paymaster.accounting.accounts import Post
from paymaster.accounting.decimals import EXACT
from paymaster.accounting.money import NANOUSD_PER_USD, format_usd

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from paymaster.accounting.accounts import Balance
    from paymaster.accounting.prices.price import Price
    from paymaster.accounting.usage.record import Usage
    from paymaster.registry.models import Model
    from paymaster.routing.planning import Candidate

MS_PER_HOUR = 3_600_000
PREFILL_TOKENS_PER_SECOND = 1_000
"""How fast a server of the user's own reads a prompt, unless it is known: a model of 8 to 30 billion parameters on one card."""

DEFAULT_LIFETIME_MS = 600_000
_LIFETIMES_MS: Mapping[str, int] = {"anthropic": 300_000, "bedrock": 300_000, "vertex": 300_000, "deepseek": MS_PER_HOUR}
"""For how long a cache is kept after its last use. OpenAI and Azure: 5 to 10 minutes (developers.openai.com, prompt caching); Anthropic: 5
minutes (platform.claude.com, prompt caching); DeepSeek: hours. A cache that the request keeps for an hour is there for that long."""

_TOKEN_BITS = 28
_MARK_BITS = 24
_MOST_TOKENS = 2**_TOKEN_BITS - 1
_NANOUSD_PER_USD_PER_MILLION = NANOUSD_PER_USD // 1_000_000
_GROWTH_PERCENT = 25


class Home(NamedTuple):
    """Where a session was answered last: the mark of the endpoint, and the tokens that its cache has."""

    mark: int
    cached_tokens: int


class WarmSession(NamedTuple):
    """The session of a call, with what is known of its home and when this process wrote that (0: another one did)."""

    id: str
    home: Home | None = None
    written_at_ms: int = 0


class ColdCache(NamedTuple):
    """What it takes to leave a warm cache: tokens that have to be read again, and what they cost more than from the cache."""

    tokens: int
    nanousd: int


class Preferred(NamedTuple):
    """The session stays at this place, which is worth a wait of `wait_ms`. `reason` is for a person."""

    place: str
    reason: str
    wait_ms: int = 0


class Left(NamedTuple):
    """The session leaves the place with its cache; `reason` is for a person."""

    reason: str


Preference: TypeAlias = Preferred | Left


def mark_of_place(model: Model) -> int:
    """A number for what is called: the same in every process, whatever a registry names it."""
    return int.from_bytes(blake2b(model.subject.encode(errors="surrogatepass"), digest_size=_MARK_BITS // 8).digest()) or 1


def home_in(balance: Balance | None) -> Home | None:
    """What the account of a session says; None if it says nothing."""
    live = 0 if balance is None else balance.live
    mark, tokens = live >> _TOKEN_BITS, live & _MOST_TOKENS
    return Home(mark, tokens) if 0 < mark < 2**_MARK_BITS else None


def home_post(session: str, home: Home, for_ms: int) -> Post:
    """The entry that remembers it. The account is emptied before."""
    return Post(affinity_account(session), home.mark << _TOKEN_BITS | min(home.cached_tokens, _MOST_TOKENS), for_ms)


def session_posts(session: WarmSession | None, candidate: Candidate, usage: Usage | None, now_ms: int) -> tuple[Post, ...]:
    """What the ledger gets with the settlement of an answer; nothing where it has it already."""
    if session is None:
        return ()
    before, life_ms = session.home, lifetime_ms(candidate)
    home = home_after(candidate, usage)
    if before is not None and before.mark == home.mark:
        home = home._replace(cached_tokens=max(home.cached_tokens, before.cached_tokens // 2))
    return (home_post(session.id, home, life_ms),) if is_news(before, session.written_at_ms, home, now_ms, life_ms) else ()


def home_after(candidate: Candidate, usage: Usage | None) -> Home:
    """Where the session is at home after an answer with this usage."""
    return Home(mark_of_place(candidate.model), 0 if usage is None else _cached_tokens(candidate, usage))


def lifetime_ms(candidate: Candidate) -> int:
    """How long the cache of what was sent is kept after its last use."""
    known_ms = _LIFETIMES_MS.get(candidate.model.provider, DEFAULT_LIFETIME_MS)
    return max(known_ms, MS_PER_HOUR) if candidate.translation.cache_control == "1h" else known_ms


def is_news(before: Home | None, written_at_ms: int, home: Home, now_ms: int, life_ms: int) -> bool:
    """Whether the ledger needs the entry: another endpoint, a cache that has grown by a quarter, or half of its time is over.

    A session may have small calls beside its long conversation, such as one for a title. They don't move it to another endpoint, and what
    they leave in a cache does not count instead of what is there.
    """
    if before is None:
        return True
    if before.mark != home.mark:
        return home.cached_tokens * 2 >= before.cached_tokens
    return now_ms - written_at_ms >= life_ms // 2 or home.cached_tokens * 100 > before.cached_tokens * (100 + _GROWTH_PERCENT)


def place_of(home: Home, places: Sequence[Model]) -> Model | None:
    """The endpoint among these; None if it is none of them any more."""
    return next((place for place in places if mark_of_place(place) == home.mark), None)


def cold_cache(price: Price | None, tokens: int, at: datetime, *, writes: bool) -> ColdCache:
    """What leaving costs. `writes`: the tokens are written to a cache again, at the price of that.

    It counts five-minute writes: an hour's are dearer, and rare.
    """
    if price is None or tokens <= 0:
        return ColdCache(max(0, tokens), 0)
    rates = price.at(at).rates(tokens).resolved()
    again = rates["cache_write_5m"] if writes or price.writes_cache_unasked else rates["input"]
    more = EXACT.multiply(EXACT.subtract(again, rates["cache_read"]), tokens * _NANOUSD_PER_USD_PER_MILLION)
    return ColdCache(tokens, max(0, int(more)))


def worth_ms(cold: ColdCache, waiting_nanousd_per_hour: int) -> int:
    """How long a wait is worth it, at most an hour: a cache is not kept longer."""
    if not cold.nanousd:
        return min(MS_PER_HOUR, cold.tokens * 1_000 // PREFILL_TOKENS_PER_SECOND)
    if not waiting_nanousd_per_hour:
        return MS_PER_HOUR
    return min(MS_PER_HOUR, cold.nanousd * MS_PER_HOUR // waiting_nanousd_per_hour)


def prefer(place: Model, cold: ColdCache, *, waiting_nanousd_per_hour: int, unavailable: str = "", queue_ms: int = 0) -> Preference:
    """Whether a session stays at its endpoint.

    `unavailable` says why a wait for the endpoint does not help: an open circuit. `queue_ms` is how long a call would wait for it.
    """
    name, most_ms = place.endpoint, worth_ms(cold, waiting_nanousd_per_hour)
    if unavailable:
        return Left(f"left {name}: {unavailable}")
    if queue_ms <= most_ms:
        cached = f"{cold.tokens:,} tokens are cached there" if cold.tokens else "it answered last"
        return Preferred(place.place, f"kept at {name}: {cached}", most_ms)
    if cold.nanousd:
        costs = f"the cold cache costs {_rounded_usd(cold.nanousd)}"
    elif cold.tokens:
        costs = f"reading {cold.tokens:,} tokens again takes {most_ms / 1000:,.0f} s"
    else:
        costs = "nothing is cached there"
    return Left(f"left {name}: its queue is {queue_ms / 1000:,.0f} s, {costs}")


def prefer_home(
    place: Model, home: Home, waiting_nanousd_per_hour: int, at_ms: int, *, unavailable: str = "", queue_ms: int = 0
) -> Preference:
    """The same by what is known of the session's endpoint. Where a cache has to be asked for, what it has was written for a fee."""
    at = datetime.fromtimestamp(at_ms / 1000, UTC)
    cold = cold_cache(place.price_at(at), home.cached_tokens, at, writes="cache_control" in place.compat.reads)
    return prefer(place, cold, waiting_nanousd_per_hour=waiting_nanousd_per_hour, unavailable=unavailable, queue_ms=queue_ms)


def _cached_tokens(candidate: Candidate, usage: Usage) -> int:
    """The tokens that the endpoint's cache has by now.

    Where caching has to be asked for, those that were read and written. Elsewhere providers report what they read and cache all the same
    the whole prompt, unless a cache makes nothing cheaper there.
    """
    written = usage.cache_write_5m_tokens + usage.cache_write_1h_tokens
    touched = usage.cache_read_tokens + written
    if written or "cache_control" in candidate.model.compat.reads:
        return touched
    price = candidate.price
    if price is not None and not price.is_free:
        rates = price.at(candidate.at).rates(usage.prompt_tokens).resolved()
        if rates["cache_read"] >= rates["input"]:
            return touched
    return usage.prompt_tokens


def _rounded_usd(nanousd: int) -> str:
    """In cents, or exactly where it is less than one: `$0.26`."""
    cents = nanousd // (NANOUSD_PER_USD // 100)
    return format_usd(cents * (NANOUSD_PER_USD // 100)) if cents else format_usd(nanousd)
