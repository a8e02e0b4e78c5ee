"""The circuit breaker of one model: states, transitions, and the accounts that keep them. Pure; knows no cap of a registry and no ledger.

    closed      every call may go to the model; its failures are counted
    open        no call goes to it
    half open   one call at a time, the probe, finds out whether it answers again

                  FAILED (counted)   LIMIT_REACHED,      the pause is over
                    ┌──────┐       OPERATOR, LONG_WAIT     (its entry ends)
                    └► closed ─────────────────────► open ─────────────────► half open
                         ▲                             ▲  FAILED, OPERATOR,     │
                         │                             └─────── LONG_WAIT ──────┤
                         └──────────────── ANSWERED, or the period is over ─────┘

The state is kept in accounts, shared by every process of a ledger:

    breaker/M    cap 0    has an entry until the circuit closes, so that an ordinary hold is refused
    probe/M      cap 1    charged by probes, 1 each; has an entry while the circuit is open, so that no probe fits
    failures/M   no cap   the failures since the last answer, each for the policy's window
    operator-REASON/M   cap 0   has an entry while the circuit is open for this reason, which only an operator can fix
    operator-REASON/M/endpoint/MARK   cap 0   the same for the endpoint and key that were refused

A probe alone asks the last ones, so that its refusal says whether waiting can help; a healthy model costs nothing more. It also reads how
many entries `breaker/M` has, one for each time the circuit opened since the last answer: the pauses of an outage grow with them.

A circuit that is open because of another key, or of another address, says nothing about a caller's own. So the caller asks once more, for a
probe beside the entries of `probe/M`: one at a time, as any probe.

An ordinary hold is refused while either of the first two has anything: a circuit is not closed before its last probe has ended, however
long that takes. The call then asks again as a probe. A waiter renews its turn in the ledger by its ordinary hold alone, which asks for
nothing there: one that waits for something else as well must not keep other probes out.

What a provider asked for (Retry-After) is another matter: `pause/M`. Only a wait of more than an hour opens the circuit as well, so that
one call an hour finds out whether there is room earlier. Amounts have no meaning, only their presence has; and no cap of a registry is
involved, so registries with different limits share a breaker.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

from paymaster.accounting.account_names import BREAKER, FAILURES, PROBE, account_of, operator_account, operator_reason, parse
from paymaster.accounting.accounts import Balance, Change, Charge, Post, Refused
from paymaster.routing.failures import OPERATOR_KINDS, OPERATOR_PROBE_MS, Failure, FailureKind, asks_for_long, rule_of

REASON_KINDS = tuple(parse(operator_account("", kind.value)).kind for kind in OPERATOR_KINDS)
"""The kinds of the accounts that say what an operator has to fix."""

HALF_OPEN_MS = 60_000
"""How long a circuit stays half open at least, unless a probe is answered earlier: longer where one call may take longer."""

FIRST_PAUSE_MS = 1_000
"""How long a circuit stays open at first, if somebody waits for the model and a probe costs nothing."""

_SHARE = 16
"""The first pause is at least the longest one divided by this."""

_OPENINGS = 13
"""A circuit remembers its openings for as many of the longest pauses: 1.25 to this power exceeds `_SHARE`."""


class State(StrEnum):
    """What a circuit lets through."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half open"


class CircuitEvent(StrEnum):
    """What the end of an attempt means for the circuit."""

    ANSWERED = "answered"
    FAILED = "failed"
    LIMIT_REACHED = "limit reached"
    OPERATOR = "requires operator action"
    LONG_WAIT = "long wait"
    NOTHING = "nothing"


TRANSITIONS: Mapping[tuple[State, CircuitEvent], State] = MappingProxyType(
    {
        (State.CLOSED, CircuitEvent.ANSWERED): State.CLOSED,
        (State.CLOSED, CircuitEvent.FAILED): State.CLOSED,
        (State.CLOSED, CircuitEvent.LIMIT_REACHED): State.OPEN,
        (State.CLOSED, CircuitEvent.OPERATOR): State.OPEN,
        (State.CLOSED, CircuitEvent.LONG_WAIT): State.OPEN,
        (State.CLOSED, CircuitEvent.NOTHING): State.CLOSED,
        (State.HALF_OPEN, CircuitEvent.ANSWERED): State.CLOSED,
        (State.HALF_OPEN, CircuitEvent.FAILED): State.OPEN,
        (State.HALF_OPEN, CircuitEvent.LIMIT_REACHED): State.OPEN,
        (State.HALF_OPEN, CircuitEvent.OPERATOR): State.OPEN,
        (State.HALF_OPEN, CircuitEvent.LONG_WAIT): State.OPEN,
        (State.HALF_OPEN, CircuitEvent.NOTHING): State.HALF_OPEN,
    }
)
"""The state after an attempt, by the state it was admitted in and its end. An open circuit admits nothing: only time ends it."""


def state_of(breaker: Balance, probe: Balance) -> State:
    """The state that the two accounts hold."""
    if probe.live:
        return State.OPEN
    return State.HALF_OPEN if breaker.total or probe.total else State.CLOSED


def admission_charges(subject: str, *, as_probe: bool, beside: int = 0) -> tuple[Charge, ...]:
    """What an admission charges: an ordinary call goes only through a closed circuit, a probe through one that is half open.

    `beside` is how many entries of an open circuit the probe ignores, as they are about another key.
    """
    failures = Charge(account_of(FAILURES, subject), 0, None, 0)
    if as_probe:
        return Charge(account_of(PROBE, subject), 1, 1 + beside, 0), failures
    return Charge(account_of(BREAKER, subject), 0, 0, 0), Charge(account_of(PROBE, subject), 0, 0, 0), failures


def reason_charges(subject: str, mark: str, *, beside: int = 0) -> tuple[Charge, ...]:
    """What a probe asks besides: whether the circuit is open for a reason that only an operator can fix, and whether for this mark."""
    general = () if beside else _reason_accounts(subject)
    return tuple(Charge(account, 0, 0, 0) for account in (*general, *_reason_accounts(subject, mark)))


def openings_charge(subject: str) -> Charge:
    """What a probe reads besides: how often the circuit opened since the last answer."""
    return Charge(account_of(BREAKER, subject), 0, None, 0)


def _reason_accounts(subject: str, mark: str | None = None) -> tuple[str, ...]:
    return tuple(operator_account(subject, kind.value, mark) for kind in OPERATOR_KINDS)


def circuit_accounts(subject: str) -> tuple[str, ...]:
    """The accounts that keep the circuit open, and its failures; those of single endpoints and keys keep nobody out by themselves."""
    return (*(account_of(kind, subject) for kind in (BREAKER, PROBE, FAILURES)), *_reason_accounts(subject))


class Reason(NamedTuple):
    """What an operator has to fix, and the mark of the endpoint and key that were refused for it."""

    kind: FailureKind
    mark: str

    def accounts(self, subject: str) -> tuple[str, str]:
        """Where it is posted: for everybody, and for those with the same mark."""
        return operator_account(subject, self.kind.value), operator_account(subject, self.kind.value, self.mark)


@dataclass(frozen=True, slots=True)
class OperatorNeeded:
    """Why the circuit is open: the kind of failure, how long ago it was met, and when the next probe may go."""

    kind: FailureKind
    ago_ms: int
    probe_in_ms: int


def operator_needed(refused: Refused) -> OperatorNeeded | None:
    """What an operator has to fix before the model can serve the caller, if that is why its probe was refused."""
    for shortfall in refused.shortfalls:
        reason, is_own = operator_reason(shortfall.charge.account), parse(shortfall.charge.account).endpoint is not None
        if reason is not None and is_own and shortfall.retry_at_ms is not None:
            probe_in_ms = max(0, shortfall.retry_at_ms - refused.at_ms)
            return OperatorNeeded(FailureKind(reason), max(0, OPERATOR_PROBE_MS - probe_in_ms), probe_in_ms)
    return None


def entries_of_others(subject: str, refused: Refused) -> int:
    """How many entries of `probe/M` refused a probe although the circuit is open because of another key or address; 0: they count."""
    accounts = {shortfall.charge.account: shortfall for shortfall in refused.shortfalls}
    reasons = [parse(account).endpoint for account in accounts if operator_reason(account) is not None]
    probe = accounts.get(account_of(PROBE, subject))
    if probe is None or not reasons or any(mark is not None for mark in reasons):
        return 0
    return probe.balance.live


def outage_pause_ms(openings: int, longest_ms: int) -> int:
    """How long a circuit stays open if somebody waits for the model: a quarter longer each time it opens, up to `longest_ms`.

    So the end of an outage is noticed within some quarter of its length.
    """
    pause_ms = max(FIRST_PAUSE_MS, longest_ms // _SHARE)
    for _ in range(min(openings, _OPENINGS)):
        pause_ms = pause_ms * 5 // 4
    return min(longest_ms, pause_ms)


def half_open_ms(longest_call_ms: int, longest_pause_ms: int) -> int:
    """How long a circuit stays half open at least: a probe may take so long, and the openings of an outage are remembered for so long."""
    return max(longest_call_ms, _OPENINGS * longest_pause_ms)


def refuses(subject: str, refused: Refused) -> bool:
    """Whether the circuit is among what refused a hold."""
    accounts = account_of(BREAKER, subject), account_of(PROBE, subject)
    return any(shortfall.charge.account in accounts for shortfall in refused.shortfalls)


def describe(account: str, balance: Balance) -> str:
    """Why one of the circuit's accounts has no room."""
    if parse(account).kind == PROBE and not balance.live:
        return "circuit half open after failures, and a probe is under way"
    return "circuit open after failures"


def event_of(failure: Failure | None, *, adapts: bool) -> CircuitEvent:
    """What an attempt's end says about the model. `adapts`: the number of calls at once is being found out (`max_parallel: auto`).

    A 429 that names no time counts: otherwise every call would ask a model that is full. It does not count where the number of calls at
    once is being found out: there it is the measurement.
    """
    if failure is None:
        return CircuitEvent.ANSWERED
    if rule_of(failure).needs_operator:
        return CircuitEvent.OPERATOR
    if asks_for_long(failure):
        return CircuitEvent.LONG_WAIT
    if failure.kind is FailureKind.THROTTLED:
        return CircuitEvent.FAILED if failure.asked_ms is None and not adapts else CircuitEvent.NOTHING
    return CircuitEvent.FAILED if rule_of(failure).breaker else CircuitEvent.NOTHING


def posts(
    subject: str,
    state: State,
    event: CircuitEvent,
    *,
    pause_ms: int,
    half_open_ms: int,
    window_ms: int,
    asked_ms: int = 0,
    reason: Reason | None = None,
) -> tuple[Post, ...]:
    """What the end of an attempt adds: a failure that counts; and, where the circuit opens, its pause and the half-open period after it.

    The circuit stays half open for `half_open_ms` at least, and for as long as the provider asked to wait (`asked_ms`), unless a probe is
    answered. `reason` is what an operator has to fix.
    """
    counted = (Post(account_of(FAILURES, subject), 1, window_ms),) if event is CircuitEvent.FAILED else ()
    if TRANSITIONS[state, event] is not State.OPEN:
        return counted
    return (
        *counted,
        Post(account_of(PROBE, subject), 1, pause_ms),
        Post(account_of(BREAKER, subject), 1, max(asked_ms, pause_ms + max(HALF_OPEN_MS, half_open_ms))),
        *(() if reason is None else (Post(account, 1, pause_ms) for account in reason.accounts(subject))),
    )


def clears(subject: str, state: State, event: CircuitEvent, failures: Balance, mark: str) -> tuple[str, ...]:
    """The accounts that an attempt's end empties: the failures after an answer, if there are any; after a probe's the circuit's own.

    A probe that fails for a reason that needs no operator empties the reasons: everybody waits for the circuit then.
    """
    if state is State.HALF_OPEN and event in (CircuitEvent.FAILED, CircuitEvent.LONG_WAIT):
        return _reason_accounts(subject)
    if event is not CircuitEvent.ANSWERED:
        return ()
    if state is State.HALF_OPEN:
        return (*circuit_accounts(subject), *_reason_accounts(subject, mark))
    return (account_of(FAILURES, subject),) if failures.live else ()


def reaches_limit(subject: str, changes: Sequence[Change], limit: int) -> bool:
    """Whether a settlement brought the failures to the limit that opens a closed circuit."""
    account = account_of(FAILURES, subject)
    change = next((change for change in reversed(changes) if change.account == account), None)
    return change is not None and change.before < limit <= change.after
