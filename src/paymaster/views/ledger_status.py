"""The status of a ledger by its balances: budgets, limits, circuits, waiting calls; knows caps, and no ledger and no terminal."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from paymaster.accounting.account_names import (
    BREAKER,
    FAILURES,
    INPUT_TOKENS,
    OUTPUT_TOKENS,
    PARALLEL,
    PAUSE,
    PROBE,
    REQUESTS,
    REQUESTS_PER_DAY,
    SLOTS,
    STAYS,
    TIER_PAUSE,
    TOKENS,
    UNDERCOUNT,
    BudgetName,
    account_of,
    dimensions_of,
    is_budget,
    operator_reason,
    parse,
    read_budget,
    read_tier,
    shown_kind,
)
from paymaster.accounting.accounts import Balance, EndedHolder, Queued
from paymaster.accounting.budget_units import BudgetUnit, unit_of
from paymaster.registry.models import Registry
from paymaster.routing import breaker
from paymaster.routing.ended_holders import blocking
from paymaster.routing.undercounts import percent_of_bytes
from paymaster.views.budget_caps import cap_in
from paymaster.views.model_states import LimitState, ModelState
from paymaster.views.subjects import Shown, Subjects

_WINDOWS: Mapping[str, str] = {
    REQUESTS: "rpm",
    REQUESTS_PER_DAY: "rpd",
    TOKENS: "tpm",
    INPUT_TOKENS: "input_tpm",
    OUTPUT_TOKENS: "output_tpm",
}
LIMIT_KINDS = tuple(_WINDOWS)
MODEL_KINDS = (SLOTS, PAUSE, BREAKER, PROBE, FAILURES, UNDERCOUNT, *breaker.REASON_KINDS)
_WAITS: Mapping[str, str] = {
    **_WINDOWS,
    SLOTS: "max_parallel",
    PARALLEL: "max_parallel",
    PAUSE: "the end of a pause",
    BREAKER: "a probe",
    PROBE: "a probe",
    STAYS: "another call of the instance",
}
# What a budget can be for that ends.
_ENDING = frozenset({"run", "batch", "instance"})
# So many budgets more than will be shown are collected before the least relevant are hidden.
_SPARE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetState:
    """One budget. `of` has what it is counted for (`{"run": "exp-42"}`); `cap` is None if no registry has one.

    Amounts are in nano-dollars, tokens or requests, by `unit`. `owner` is the user of a client key whose own the run, batch or instance
    is; None if it is nobody's own.
    """

    account: str
    of: Mapping[str, str]
    spent: int
    held: int
    cap: int | None
    unit: BudgetUnit = BudgetUnit.USD
    owner: str | None = None

    @property
    def left(self) -> int | None:
        """What is neither spent nor held; below 0 where a soft budget is passed."""
        return None if self.cap is None else self.cap - self.spent - self.held

    @property
    def kind(self) -> str:
        """What it is counted by (see `budget_kind`)."""
        return kind_of(self.of, self.unit)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueState:
    """Calls that wait in the queue for one model: how many, since when the first of them has, and for which accounts.

    `model` is the place that they wait for: with its endpoint, if the model has several.
    One queued hold may have callers of several models behind it, as a budget is for all of them; `since_ms` and `accounts` are the hold's.
    """

    model: str
    calls: int
    since_ms: int
    accounts: tuple[str, ...]

    @property
    def wait_for(self) -> str:
        """What they wait for, in a registry's words: `rpm`, `max_parallel`, `the end of a pause`, or a budget's account."""
        kinds = (account if is_budget(account) else shown_kind(account) for account in self.accounts)
        return ", ".join(dict.fromkeys(_WAITS.get(kind, kind) for kind in kinds))


@dataclass(slots=True, kw_only=True)
class BudgetSums:
    """The budgets of one kind (`user/month`, `tokens/run`), of one model if they are per model, and of one period if they are per day or
    month, added up.

    `fullest_ppm` is in parts per million of the cap, of the fullest budget; runs, batches and instances count while they have open calls:
    one that ended at its cap would otherwise raise an alarm for ever.
    """

    kind: str
    model: str
    day: str | None
    month: str | None
    unit: BudgetUnit = BudgetUnit.USD
    accounts: int = 0
    spent: int = 0
    held: int = 0
    fullest_ppm: int | None = None

    def add(self, budget: BudgetState) -> None:
        """Count one."""
        self.accounts += 1
        self.spent += budget.spent
        self.held += budget.held
        if budget.cap and (budget.held > 0 or not budget.of.keys() & _ENDING):
            ppm = (budget.spent + budget.held) * 1_000_000 // budget.cap
            self.fullest_ppm = ppm if self.fullest_ppm is None else max(self.fullest_ppm, ppm)


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerStatus:
    """A ledger now. Its accounts are read in pages, so two of them need not be of one instant.

    `budgets` are all of them, or the most relevant; `hidden_budgets` is how many others there are, and `hidden_held_nanousd` what those of
    them in dollars hold that are the reader's own, by kind. `sums` counts all budgets. A prompt counts as `percent_of_bytes` of its bytes
    for the models whose own count was too low, for which `undercounts` has the account.
    """

    budgets: tuple[BudgetState, ...]
    limits: tuple[LimitState, ...]
    models: tuple[ModelState, ...]
    queue: tuple[QueueState, ...] = ()
    ended: tuple[EndedHolder, ...] = ()
    hidden_budgets: int = 0
    hidden_held_nanousd: Mapping[str, int] = field(default_factory=dict)
    sums: tuple[BudgetSums, ...] = ()
    percent_of_bytes: Mapping[str, int] = field(default_factory=dict)
    undercounts: Mapping[str, str] = field(default_factory=dict)


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
    builder = StatusBuilder(registry, run=run)
    builder.add(balances)
    return builder.status(queue, ended)


class StatusBuilder:
    """Makes a status of pages of balances, and keeps what will be shown: the budgets of one `run`, if given, and `most` of them.

    `sees` says which budgets are shown, and `owns` which of them are the reader's own. `accounts` counts what it was given.
    """

    def __init__(
        self,
        registry: Registry | None = None,
        *,
        run: str | None = None,
        most: int | None = None,
        sees: Callable[[BudgetName], bool] = lambda _: True,
        owns: Callable[[BudgetName], bool] = lambda _: True,
    ) -> None:
        self.accounts = 0
        self._registry, self._run, self._most = registry, run, most
        self._sees, self._owns = sees, owns
        self._caps: dict[tuple[BudgetUnit, tuple[str, ...], str | None, str | None], int | None] = {}
        self._budgets: list[BudgetState] = []
        self._hidden = 0
        self._hidden_held: dict[str, int] = {}
        self._sums: dict[tuple[str, str, str | None, str | None], BudgetSums] = {}
        self._subjects = Subjects(registry)
        self._limits: dict[tuple[str, str], LimitState] = {}
        self._models: dict[str, dict[str, Balance]] = {}
        self._percent_of_bytes: dict[str, int] = {}
        self._undercounts: dict[str, str] = {}

    def add(self, balances: Mapping[str, Balance]) -> None:
        """Take in a page. No account comes twice."""
        self.accounts += len(balances)
        for account, balance in balances.items():
            if (unit := unit_of(account)) is not None:
                self._add_budget(account, unit, balance)
            elif balance.total:
                self._add_limit(account, balance)

    def status(self, queue: Sequence[Queued] = (), ended: Sequence[EndedHolder] = ()) -> LedgerStatus:
        """What the pages, the queue, and what processes that ended still hold show."""
        self._hide_least_relevant()
        return LedgerStatus(
            budgets=tuple(sorted(self._budgets, key=lambda budget: budget.account)),
            limits=tuple(limit for _, limit in sorted(self._limits.items())),
            models=self._model_states(),
            queue=_queue(queue),
            ended=blocking(ended, self._is_shown),
            hidden_budgets=self._hidden,
            hidden_held_nanousd=self._hidden_held,
            sums=tuple(self._sums.values()),
            percent_of_bytes=dict(sorted(self._percent_of_bytes.items())),
            undercounts=self._undercounts,
        )

    def _add_budget(self, account: str, unit: BudgetUnit, balance: Balance) -> None:
        name = read_budget(account)
        if name is None or not self._is_shown_budget(name):
            return
        of, owner = name
        budget = BudgetState(
            account=account,
            of=of,
            spent=balance.settled + balance.live,
            held=balance.held,
            cap=self._cap(of, unit),
            unit=unit,
            owner=owner,
        )
        key = (budget.kind, of.get("model", ""), of.get("day"), of.get("month"))
        sums = self._sums.get(key)
        if sums is None:
            sums = self._sums[key] = BudgetSums(kind=key[0], model=key[1], day=key[2], month=key[3], unit=unit)
        sums.add(budget)
        self._budgets.append(budget)
        if self._most is not None and len(self._budgets) > 2 * self._most + _SPARE:
            self._hide_least_relevant()

    def _is_shown(self, account: str) -> bool:
        name = read_budget(account)
        return name is None or self._is_shown_budget(name)

    def _is_shown_budget(self, name: BudgetName) -> bool:
        return (self._run is None or _is_of_run(name, self._run)) and self._sees(name)

    def _hide_least_relevant(self) -> None:
        if self._most is None or len(self._budgets) <= self._most:
            return
        ordered = most_relevant(self._budgets, len(self._budgets))
        self._budgets = list(ordered[: self._most])
        for budget in ordered[self._most :]:
            self._hidden += 1
            if budget.held and budget.unit is BudgetUnit.USD and self._owns(BudgetName(dict(budget.of), budget.owner)):
                self._hidden_held[budget.kind] = self._hidden_held.get(budget.kind, 0) + budget.held

    def _cap(self, of: Mapping[str, str], unit: BudgetUnit) -> int | None:
        key = (unit, tuple(of), of.get("model"), of.get("models"))
        if key not in self._caps:
            self._caps[key] = cap_in(self._registry, of, unit)
        return self._caps[key]

    def _add_limit(self, account: str, balance: Balance) -> None:
        name = parse(account)
        if name.subject and name.kind in _WINDOWS:
            for shown in self._subjects.of(name.subject):
                self._limits[account_of(name.kind, shown.place), name.subject] = LimitState(
                    model=shown.model,
                    limit=_WINDOWS[name.kind],
                    used=balance.total,
                    cap=None if shown.limits is None else getattr(shown.limits, _WINDOWS[name.kind]),
                    free_at_ms=balance.free_at[0][0] if balance.free_at else None,
                    endpoint=shown.endpoint,
                    subject=name.subject,
                )
        elif name.kind == UNDERCOUNT:
            if (percent := percent_of_bytes(balance.settled)) is not None:
                for shown in self._subjects.of(name.subject):
                    self._percent_of_bytes[shown.place], self._undercounts[shown.place] = percent, account
        elif name.subject and name.endpoint is None and (name.kind in MODEL_KINDS or name.kind.startswith(TIER_PAUSE)):
            self._models.setdefault(name.subject, {})[name.kind] = balance

    def _model_states(self) -> tuple[ModelState, ...]:
        states = [_model_state(subject, kinds, shown) for subject, kinds in self._models.items() for shown in self._subjects.of(subject)]
        return tuple(sorted(states, key=lambda state: (state.place, state.subject)))


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
        used = budget.spent + budget.held
        share_ppm = used * 1_000_000 // budget.cap if budget.cap else 0
        return budget.held > 0, share_ppm, used

    by_account = sorted(budgets, key=lambda budget: budget.account)
    return tuple(sorted(by_account, key=relevance, reverse=True)[:most])


def budget_kind(account: str) -> str:
    """What a budget is counted by, without names: `user/month` for `usd/user/ann/month/2026-11`, `total` for one over everything.

    The kind of a budget in tokens or requests begins with its unit: `tokens/run`.
    """
    return kind_of(dimensions_of(account) or {}, unit_of(account) or BudgetUnit.USD)


def limit_kind(account: str) -> str:
    """The kind of an account, without what it belongs to: `budget`, `requests`, `tokens`, `pause`, `breaker`."""
    return "budget" if is_budget(account) else BREAKER if (kind := shown_kind(account)) == PROBE else kind


def kind_of(of: Mapping[str, str], unit: BudgetUnit) -> str:
    """The same for the `of` and the unit of a budget's state."""
    kind = "/".join(of) or "total"
    return kind if unit is BudgetUnit.USD else f"{unit}/{kind}"


def _is_of_run(name: BudgetName, run: str) -> bool:
    of, owner = name
    return _belongs(of, run) or (owner is not None and _belongs(of, run.removeprefix(f"{owner}/")))


def _belongs(of: Mapping[str, str], run: str) -> bool:
    return of.get("run") == run or of.get("batch") == run or of.get("instance", "").startswith(f"{run}:")


def _model_state(subject: str, kinds: Mapping[str, Balance], shown: Shown) -> ModelState:
    nothing, limits = Balance(), shown.limits
    slots, pause, circuit, probe, failures = (kinds.get(kind, nothing) for kind in (SLOTS, PAUSE, BREAKER, PROBE, FAILURES))
    state = breaker.state_of(circuit, probe)
    tiers = {name.tier: each for kind, each in kinds.items() if (name := read_tier(f"{kind}/{subject}")) is not None and each.free_at}
    reasons = [(kinds[kind].free_at, reason) for kind in kinds if (reason := operator_reason(f"{kind}/{subject}")) is not None]
    return ModelState(
        model=shown.model,
        open_calls=slots.held,
        cap=None if limits is None else limits.max_parallel,
        failures=failures.total,
        paused_until_ms=pause.free_at[-1][0] if pause.total and pause.free_at else None,
        circuit=state,
        open_until_ms=probe.free_at[-1][0] if state is breaker.State.OPEN and probe.free_at else None,
        operator_reason=max(reasons)[1] if state is breaker.State.OPEN and reasons else None,
        endpoint=shown.endpoint,
        subject=subject,
        paused_tiers={tier: pause.free_at[-1][0] for tier, pause in tiers.items()},
    )
