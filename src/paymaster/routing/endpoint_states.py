"""How loaded and how healthy an endpoint is, by the balances of its accounts, and what an attempt adds to its speed. Pure; knows no ledger.

Every admission returns the balances of the endpoint that it charges. Those of the others are read together, now and then. How fast the
endpoints answer, and how often they fail, is kept in accounts too, so that every process knows it:

    stream-starts-ms/E  stream-starts/E    the time to the first token of streamed answers, added up, and how many they were
    answers-ms/E  answers/E                the same of answers that were not streamed
    errors/E                               attempts that brought no answer, for a reason that lies with the endpoint

A process adds up what it measures and posts it at most once in `SAMPLE_MS`. Entries live for `REMEMBERED_MS`, so an account has at most
30 entries of each process.
"""

from collections.abc import Mapping
from typing import NamedTuple

from paymaster.accounting.account_names import (
    ANSWERS,
    ANSWERS_MS,
    BREAKER,
    ERRORS,
    FAILURES,
    INPUT_TOKENS,
    OUTPUT_TOKENS,
    PAUSE,
    PROBE,
    REQUESTS,
    REQUESTS_PER_DAY,
    SLOTS,
    STREAM_STARTS,
    STREAM_STARTS_MS,
    TOKENS,
    account_of,
)
from paymaster.accounting.accounts import Balance, Post
from paymaster.registry.models import Balancing, Limits, Model
from paymaster.routing.failures import Failure, FailureKind, rule_of

SAMPLE_MS = 10_000
"""How often a process posts what it measured at one endpoint."""

REMEMBERED_MS = 300_000
"""Five minutes: then a slow endpoint counts as unknown, and is tried again."""

LOOK_AGAIN_MS = 1_000
"""After this an endpoint that has no room, for a time that nobody knows, is asked again."""

_SPEED = (STREAM_STARTS_MS, STREAM_STARTS, ANSWERS_MS, ANSWERS, ERRORS)
_NOTHING = Balance()


class EndpointState(NamedTuple):
    """What is known of an endpoint.

    `open_calls` are under way, of `max_parallel` (None: without a limit); `failures` is how many there were since its last answer;
    `used_percent` is of the limit per minute or day that is used most. Until `until_ms` no call is worth a try there, for the reason `why`
    (0: it may be called). `has_queue`: it is a limit or a pause, whose end a call may wait for; else an open circuit. `first_token_ms` and
    `answer_ms` are means of some minutes, with the time for failures in them; None: unknown.
    """

    open_calls: int = 0
    max_parallel: int | None = None
    failures: int = 0
    used_percent: int = 0
    until_ms: int = 0
    why: str = ""
    has_queue: bool = False
    first_token_ms: int | None = None
    answer_ms: int | None = None

    def left_ms(self, now_ms: int) -> int:
        """How long no call is worth a try; 0: it may be called."""
        if self.max_parallel is not None and self.open_calls >= self.max_parallel:
            return max(LOOK_AGAIN_MS, self.until_ms - now_ms)
        return max(0, self.until_ms - now_ms)

    def unavailable(self, now_ms: int) -> str:
        """Why waiting does not help: behind an open circuit is a probe, not room; empty if it may be called, or waited for."""
        return self.why if self.until_ms > now_ms and not self.has_queue else ""


class Sample(NamedTuple):
    """What attempts at one endpoint came to: times added up in milliseconds, and how many they were."""

    first_token_ms: int = 0
    first_tokens: int = 0
    answer_ms: int = 0
    answers: int = 0
    errors: int = 0

    def plus(self, other: "Sample") -> "Sample":
        """Both together."""
        return Sample(*map(sum, zip(self, other, strict=True)))


def accounts_read(model: Model) -> tuple[str, ...]:
    """The accounts of an endpoint that say how it is."""
    windows = [kind for kind, cap in _windows(model.limits) if cap is not None]
    speed = _SPEED if model.balance is Balancing.FASTEST else ()
    return tuple(account_of(kind, model.subject) for kind in (PAUSE, BREAKER, PROBE, FAILURES, SLOTS, *windows, *speed))


def state_of(model: Model, balances: Mapping[str, Balance], now_ms: int) -> EndpointState:
    """The state of an endpoint by the balances of its accounts; one that is left out is empty."""

    def found(kind: str) -> Balance:
        return balances.get(account_of(kind, model.subject), _NOTHING)

    until_ms, why, has_queue = _kept_off(found(PAUSE), found(BREAKER), found(PROBE), now_ms)
    used_percent = 0
    for kind, cap in _windows(model.limits):
        if cap is None:
            continue
        balance = found(kind)
        used_percent = max(used_percent, balance.total * 100 // cap)
        if balance.total >= cap:
            room_at_ms = balance.free_at[0][0] if balance.free_at else now_ms + LOOK_AGAIN_MS
            if room_at_ms > until_ms:
                until_ms, why, has_queue = room_at_ms, f"{kind} used up", True
    failing = found(ERRORS).total
    return EndpointState(
        open_calls=found(SLOTS).held,
        max_parallel=model.limits.max_parallel,
        failures=found(FAILURES).live,
        used_percent=used_percent,
        until_ms=until_ms,
        why=why,
        has_queue=has_queue,
        first_token_ms=_mean(found(STREAM_STARTS_MS).total, found(STREAM_STARTS).total, failing),
        answer_ms=_mean(found(ANSWERS_MS).total, found(ANSWERS).total, failing),
    )


def sample_of(failure: Failure | None, duration_ms: int, first_token_ms: int | None) -> Sample:
    """What an attempt says about the speed of its endpoint. What lies with the request, the key or the caller says nothing."""
    if failure is not None:
        return Sample(errors=1) if failure.kind is FailureKind.THROTTLED or rule_of(failure).breaker else Sample()
    if first_token_ms is not None:
        return Sample(first_token_ms=first_token_ms, first_tokens=1)
    return Sample(answer_ms=duration_ms, answers=1)


def sample_posts(model: Model, sample: Sample) -> tuple[Post, ...]:
    """The entries of what was measured."""
    return tuple(
        Post(account_of(kind, model.subject), amount, REMEMBERED_MS) for kind, amount in zip(_SPEED, sample, strict=True) if amount
    )


def _kept_off(pause: Balance, breaker: Balance, probe: Balance, now_ms: int) -> tuple[int, str, bool]:
    """Until when a pause or the circuit keeps calls off the endpoint, why, and whether a call may wait for that.

    A circuit that is half open takes a probe.
    """
    if pause.total:
        return _end_ms(pause, now_ms), "the provider asked to wait", not probe.live
    if probe.live:
        return _end_ms(probe, now_ms), "circuit open after failures", False
    if breaker.total and probe.held:
        return now_ms + LOOK_AGAIN_MS, "a probe is under way", False
    return 0, "", False


def _end_ms(balance: Balance, now_ms: int) -> int:
    return balance.free_at[-1][0] if balance.free_at else now_ms + LOOK_AGAIN_MS


def _mean(sum_ms: int, count: int, errors: int) -> int | None:
    """The mean time to an answer, as long again for each attempt that brought none; None without one."""
    return None if not count else sum_ms * (count + errors) // (count * count)


def _windows(limits: Limits) -> tuple[tuple[str, int | None], ...]:
    return (
        (REQUESTS, limits.rpm),
        (REQUESTS_PER_DAY, limits.rpd),
        (TOKENS, limits.tpm),
        (INPUT_TOKENS, limits.input_tpm),
        (OUTPUT_TOKENS, limits.output_tpm),
    )
