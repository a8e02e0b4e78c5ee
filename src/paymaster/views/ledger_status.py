"""The status of a ledger by its balances: budgets, limits, circuits, waiting calls; knows caps, and no ledger and no terminal."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from paymaster.accounting.account_names import (
    BREAKER,
    BUDGET_DIMENSIONS,
    FAILURES,
    INPUT_TOKENS,
    OUTPUT_TOKENS,
    PARALLEL,
    PAUSE,
    PROBE,
    REQUESTS,
    REQUESTS_PER_DAY,
    SLOTS,
    TOKENS,
    dimensions_of,
    is_money,
    owner_of,
    parse,
)
from paymaster.accounting.accounts import Balance, EndedHolder, Queued
from paymaster.registry.models import Limits, Registry
from paymaster.routing import breaker
from paymaster.routing.ended_holders import blocking

_WINDOWS: Mapping[str, str] = {
    REQUESTS: "rpm",
    REQUESTS_PER_DAY: "rpd",
    TOKENS: "tpm",
    INPUT_TOKENS: "input_tpm",
    OUTPUT_TOKENS: "output_tpm",
}
_WAITS: Mapping[str, str] = {
    **_WINDOWS,
    SLOTS: "max_parallel",
    PARALLEL: "max_parallel",
    PAUSE: "the end of a pause",
    BREAKER: "a probe",
    PROBE: "a probe",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetState:
    """One budget, in nano-dollars. `of` has what it is counted for (`{"run": "exp-42"}`); `cap_nanousd` is None if no registry has one.

    `owner` is the user of a client key whose own the run, batch or instance is; None if it is nobody's own.
    """

    account: str
    of: Mapping[str, str]
    spent_nanousd: int
    held_nanousd: int
    cap_nanousd: int | None
    owner: str | None = None

    @property
    def left_nanousd(self) -> int | None:
        """What neither spent nor held money takes; below 0 where a soft budget is passed."""
        return None if self.cap_nanousd is None else self.cap_nanousd - self.spent_nanousd - self.held_nanousd


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitState:
    """One rate limit in its window. `limit` is the registry's word for it (`rpm`); `free_at_ms` is when the first of it is free again."""

    model: str
    limit: str
    used: int
    cap: int | None
    free_at_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelState:
    """One model: calls that are open, how many may be, and failures since its last answer.

    `paused_until_ms` is until when its provider asked to wait; `circuit` the breaker's state, and `open_until_ms` when a probe may go.
    """

    model: str
    open_calls: int
    cap: int | None
    failures: int
    paused_until_ms: int | None
    circuit: breaker.State
    open_until_ms: int | None

    @property
    def half_open(self) -> bool:
        """Whether one call at a time is let through, until one is answered."""
        return self.circuit is breaker.State.HALF_OPEN


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueState:
    """Calls that wait in the queue for one model: how many, since when the first of them has, and for which accounts.

    One queued hold may have callers of several models behind it, as a budget is for all of them; `since_ms` and `accounts` are the hold's.
    """

    model: str
    calls: int
    since_ms: int
    accounts: tuple[str, ...]

    @property
    def wait_for(self) -> str:
        """What they wait for, in a registry's words: `rpm`, `max_parallel`, `the end of a pause`, or a budget's account."""
        kinds = (account if is_money(account) else parse(account).kind for account in self.accounts)
        return ", ".join(dict.fromkeys(_WAITS.get(kind, kind) for kind in kinds))


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerStatus:
    """Everything at one instant."""

    budgets: tuple[BudgetState, ...]
    limits: tuple[LimitState, ...]
    models: tuple[ModelState, ...]
    queue: tuple[QueueState, ...] = ()
    ended: tuple[EndedHolder, ...] = ()


def ledger_status(
    balances: Mapping[str, Balance],
    registry: Registry | None = None,
    *,
    run: str | None = None,
    queue: Sequence[Queued] = (),
    ended: Sequence[EndedHolder] = (),
) -> LedgerStatus:
    """What the balances and the queue show; with a registry also the caps. `run` leaves only the budgets of that run.

    `ended` is what processes that ended still hold, of which is shown what others wait for.
    """
    return LedgerStatus(
        budgets=tuple(_budgets(balances, registry, run)),
        limits=tuple(_limits(balances, registry)),
        models=_models(balances, registry),
        queue=_queue(queue),
        ended=blocking(ended, lambda account: not is_money(account) or _is_of_run(account, run)),
    )


def _queue(queue: Sequence[Queued]) -> tuple[QueueState, ...]:
    """By model; the one that has waited longest first."""
    calls: dict[str, int] = {}
    since_ms: dict[str, int] = {}
    accounts: dict[str, dict[str, None]] = {}
    for waiter in queue:
        for name, count in (waiter.names or {"": 1}).items():
            calls[name] = calls.get(name, 0) + count
            since_ms[name] = min(waiter.since_ms, since_ms.get(name, waiter.since_ms))
            accounts.setdefault(name, {}).update(dict.fromkeys(waiter.accounts))
    return tuple(
        QueueState(model=name, calls=calls[name], since_ms=since_ms[name], accounts=tuple(accounts[name]))
        for name in sorted(calls, key=lambda name: since_ms[name])
    )


def most_relevant(budgets: Sequence[BudgetState], most: int) -> tuple[BudgetState, ...]:
    """As many budgets as fit a screen: those with open calls, then the fullest, then the dearest; an old ledger has thousands."""

    def relevance(budget: BudgetState) -> tuple[bool, int, int]:
        used = budget.spent_nanousd + budget.held_nanousd
        share_ppm = used * 1_000_000 // budget.cap_nanousd if budget.cap_nanousd else 0
        return budget.held_nanousd > 0, share_ppm, used

    return tuple(sorted(budgets, key=relevance, reverse=True)[:most])


def _budgets(balances: Mapping[str, Balance], registry: Registry | None, run: str | None) -> Iterator[BudgetState]:
    for account, balance in sorted(balances.items()):
        of, owner = dimensions_of(account), owner_of(account)
        if of is None or not _is_of_run(account, run):
            continue
        yield BudgetState(
            account=account,
            of=of,
            spent_nanousd=balance.settled + balance.live,
            held_nanousd=balance.held,
            cap_nanousd=_cap(of, registry),
            owner=owner,
        )


def _is_of_run(account: str, run: str | None) -> bool:
    """Whether a budget's account belongs to the run, as it is shown; None is any."""
    of, owner = dimensions_of(account) or {}, owner_of(account)
    return run is None or _belongs(of, run) or (owner is not None and _belongs(of, run.removeprefix(f"{owner}/")))


def budget_kind(account: str) -> str:
    """What a budget is counted by, without names: `user/month` for `usd/user/ann/month/2026-11`, `total` for one over everything."""
    return kind_of(dimensions_of(account) or {})


def limit_kind(account: str) -> str:
    """The kind of an account, without what it belongs to: `budget`, `requests`, `tokens`, `pause`, `breaker`."""
    kind = parse(account).kind
    return "budget" if is_money(account) else BREAKER if kind == PROBE else kind


def kind_of(of: Mapping[str, str]) -> str:
    """The same for the `of` of a budget's state."""
    return "/".join(of) or "total"


def _belongs(of: Mapping[str, str], run: str) -> bool:
    return of.get("run") == run or of.get("batch") == run or of.get("instance", "").startswith(f"{run}:")


def _cap(of: Mapping[str, str], registry: Registry | None) -> int | None:
    """The smallest budget of the registry that such an account is for."""
    if registry is None:
        return None
    budgets = [*registry.policy.budgets, *(budget for model in registry.models.values() for budget in model.budgets)]
    per = tuple(name for name in BUDGET_DIMENSIONS if name in of)
    caps = [
        budget.cap_nanousd
        for budget in budgets
        if tuple(name for name in BUDGET_DIMENSIONS if name in budget.per) == per and _covers(budget.models, of)
    ]
    return min(caps, default=None)


def _covers(models: tuple[str, ...], of: Mapping[str, str]) -> bool:
    """Whether a budget over these models (none: all) writes to such an account."""
    if "model" in of:
        return not models or of["model"] in models
    return of.get("models", "") == "+".join(sorted(models))


def _limits(balances: Mapping[str, Balance], registry: Registry | None) -> Iterator[LimitState]:
    for account, balance in sorted(balances.items()):
        name = parse(account)
        if name.subject and name.kind in _WINDOWS and balance.total:
            limits = _limits_of(name.subject, registry)
            yield LimitState(
                model=name.subject,
                limit=_WINDOWS[name.kind],
                used=balance.total,
                cap=None if limits is None else getattr(limits, _WINDOWS[name.kind]),
                free_at_ms=balance.free_at[0][0] if balance.free_at else None,
            )


def _models(balances: Mapping[str, Balance], registry: Registry | None) -> tuple[ModelState, ...]:
    found: dict[str, dict[str, Balance]] = {}
    for account, balance in sorted(balances.items()):
        name = parse(account)
        if name.subject and name.kind in (SLOTS, PAUSE, BREAKER, PROBE, FAILURES) and balance.total:
            found.setdefault(name.subject, {})[name.kind] = balance
    return tuple(_model_state(model, kinds, registry) for model, kinds in sorted(found.items()))


def _model_state(model: str, kinds: Mapping[str, Balance], registry: Registry | None) -> ModelState:
    nothing, limits = Balance(), _limits_of(model, registry)
    slots, pause, circuit, probe, failures = (kinds.get(kind, nothing) for kind in (SLOTS, PAUSE, BREAKER, PROBE, FAILURES))
    state = breaker.state_of(circuit, probe)
    return ModelState(
        model=model,
        open_calls=slots.held,
        cap=None if limits is None else limits.max_parallel,
        failures=failures.total,
        paused_until_ms=pause.free_at[-1][0] if pause.total and pause.free_at else None,
        circuit=state,
        open_until_ms=probe.free_at[-1][0] if state is breaker.State.OPEN and probe.free_at else None,
    )


def _limits_of(model: str, registry: Registry | None) -> Limits | None:
    known = None if registry is None else registry.models.get(model)
    return None if known is None else known.limits
