"""Reports a run's spending by model and the state of its budgets, during the run and at its end; knows no agent."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from paymaster.accounting.accounts import Balance
from paymaster.accounting.budget_units import BudgetUnit, format_amount
from paymaster.accounting.money import NANOUSD_PER_USD, format_usd
from paymaster.errors import BudgetExceeded, LedgerUnavailable
from paymaster.flow.endpoint_events import FellBack
from paymaster.flow.events import AttemptFailed, AttemptSettled, CallGivenUp, Event, Throttled
from paymaster.forks import renew_in_children
from paymaster.printable import printable_line
from paymaster.registry.models import Budget
from paymaster.routing.budgets import BudgetAccount, budget_accounts, tightest_by_unit
from paymaster.scope import Scope

if TYPE_CHECKING:
    from rich.text import Text

    from paymaster.agents.batch_client import AgentClient

_PER_INSTANCE = "instance"
_REFRESH_S = 1.0


@dataclass(slots=True)
class ModelSpend:
    """The cost of one model in this process, in nano-dollars."""

    answers: int = 0
    failures: int = 0
    cost_nanousd: int = 0


class SpendSummary:
    """A listener that adds up this process's spending, waits and fallbacks. Any thread may send it events."""

    def __init__(self) -> None:
        self._models: dict[str, ModelSpend] = {}
        self._waits, self._fallbacks = 0, 0
        self.renew()
        renew_in_children(self)

    def renew(self) -> None:
        """In a forked child: nobody holds the lock."""
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        """Count an event."""
        with self._lock:
            match event:
                case AttemptSettled() | AttemptFailed():
                    spent = self._models.setdefault(event.model, ModelSpend())
                    spent.cost_nanousd += event.cost_nanousd
                    spent.answers += isinstance(event, AttemptSettled)
                    spent.failures += isinstance(event, AttemptFailed)
                case Throttled():
                    self._waits += 1
                case FellBack():
                    self._fallbacks += 1
                case _:
                    pass

    def lines(self) -> Iterator[str]:
        """One line for each model."""
        for model, spent in sorted(self._copy().items()):
            failed = f", {_count(spent.failures, 'failed attempt')}" if spent.failures else ""
            yield f"{model}: {_count(spent.answers, 'answer')}{failed}, {format_usd(spent.cost_nanousd)}"

    def progress(self, client: "AgentClient") -> str:
        """One line for a display: money spent, held and left of the tightest budget, waits and fallbacks."""
        spent_nanousd = sum(spent.cost_nanousd for spent in self._copy().values())
        parts = [f"{_short_usd(spent_nanousd)} spent"]
        budgets = run_budgets(client)
        balances = {budget.account: balance for budget, balance in budgets}
        for budget, left in tightest_by_unit((budget, _left(budget, balance)) for budget, balance in budgets):
            held = _short(balances[budget.account].held, budget.unit)
            cap = format_amount(budget.cap, budget.unit)
            parts += [f"{held} held", f"{_short(max(0, left), budget.unit)} left of {cap} ({budget.key or budget.account})"]
        parts += [_count(self._waits, "wait")] if self._waits else []
        parts += [_count(self._fallbacks, "fallback")] if self._fallbacks else []
        return ", ".join(parts)

    def _copy(self) -> dict[str, ModelSpend]:
        with self._lock:
            return {model: replace(spent) for model, spent in self._models.items()}


class CallCount:
    """A listener that counts calls, whatever became of them, and adds up what they cost. Any thread may send it events."""

    def __init__(self) -> None:
        self._ids: set[str] = set()
        self._cost_nanousd = 0
        self.renew()
        renew_in_children(self)

    def renew(self) -> None:
        """In a forked child: nobody holds the lock."""
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        """Count an event."""
        if isinstance(event, AttemptSettled | AttemptFailed | CallGivenUp):
            with self._lock:
                self._ids.add(event.call_id)
                # A call that was given up cost what its attempts cost, and each of these has its own event.
                self._cost_nanousd += 0 if isinstance(event, CallGivenUp) else event.cost_nanousd

    def __bool__(self) -> bool:
        """Whether there was any."""
        return bool(self._ids)

    def __str__(self) -> str:
        return f"{_count(len(self._ids), 'call')} came through the gateway, {format_usd(self._cost_nanousd)}"


class ProgressLine:
    """A line for a rich display. `progress` is called at most once a second; if the ledger is unavailable, the last line stays."""

    def __init__(self, progress: Callable[[], str]) -> None:
        self._progress = progress
        self._text = ""
        self._fresh_until_s = 0.0

    def refresh(self) -> None:
        """Read the ledger when the line is drawn next, so that the last line of a batch is exact."""
        self._fresh_until_s = 0.0

    def __str__(self) -> str:
        if time.monotonic() >= self._fresh_until_s:
            with suppress(LedgerUnavailable):  # a display is no reason to end a run
                self._text = self._progress()
            self._fresh_until_s = time.monotonic() + _REFRESH_S
        return f"Paymaster: {printable_line(self._text)}"

    def __rich__(self) -> "Text":
        from rich.text import Text

        return Text(str(self))

    def add_to(self, display: object) -> None:
        """Put the line below an agent's progress display. A display with other parts than expected is not changed."""
        shown = getattr(getattr(display, "render_group", None), "renderables", None)
        if isinstance(shown, list):
            shown.append(self)


def run_budgets(client: "AgentClient") -> list[tuple[BudgetAccount, Balance]]:
    """Each budget of this run or batch as a whole (not those of its instances), with its balance."""
    return _budgets(client, None, per_instance=False)


def budget_lines(client: "AgentClient") -> Iterator[str]:
    """One line for each budget of this run or batch that was used, with the amount spent."""
    for budget, balance in run_budgets(client):
        if balance.total:
            spent, cap, over = (
                format_amount(amount, budget.unit) for amount in (balance.settled, budget.cap, balance.settled - budget.cap)
            )
            is_over = f", {over} over" if balance.settled > budget.cap else ""
            yield f"{spent} of {cap} spent{is_over} ({budget.key or budget.account})"


def is_per_instance(client: "AgentClient", instance: str, error: BudgetExceeded) -> bool:
    """Whether the budget that refused a call is one that each instance has for itself."""
    return error.account in {budget.account for budget, _ in _budgets(client, instance, per_instance=True)}


def with_next_steps(error: BudgetExceeded, steps: str) -> BudgetExceeded:
    """The same refusal, with the user's next steps in its advice."""
    return BudgetExceeded(
        error.message,
        account=error.account,
        unit=error.unit,
        cap=error.cap,
        spent=error.spent,
        held=error.held,
        needed=error.needed,
        advice=f"{error.advice}\n{steps}" if error.advice else steps,
    )


def resume_flags(scope: Scope) -> str:
    """The flags with which a later process uses the same budgets."""
    return f"--run-id {scope.run}" + (f" --batch-id {scope.batch}" if scope.batch else "")


def _budgets(client: "AgentClient", instance: str | None, *, per_instance: bool) -> list[tuple[BudgetAccount, Balance]]:
    registry, now_ms = client.registry, time.time_ns() // 1_000_000
    scope = client.current_scope if instance is None else replace(client.current_scope, instance=instance)

    def chosen(budgets: tuple[Budget, ...]) -> tuple[Budget, ...]:
        return tuple(budget for budget in budgets if (_PER_INSTANCE in budget.per) == per_instance)

    policy = replace(registry.policy, budgets=chosen(registry.policy.budgets))
    accounts: dict[str, BudgetAccount] = {}
    for model in registry.models.values():
        accounts |= {
            account.account: account for account in budget_accounts(replace(model, budgets=chosen(model.budgets)), policy, scope, now_ms)
        }
    balances = client.balances(accounts=accounts) if accounts else {}
    return [(account, balances.get(name, Balance())) for name, account in accounts.items()]


def _left(budget: BudgetAccount, balance: Balance) -> int:
    return budget.cap - balance.settled - balance.held


def _short(amount: int, unit: BudgetUnit) -> str:
    return _short_usd(amount) if unit is BudgetUnit.USD else format_amount(amount, unit)


def _short_usd(amount_nanousd: int) -> str:
    """For a display: cents, or four digits below a dollar."""
    digits = 4 if 0 < amount_nanousd < NANOUSD_PER_USD else 2
    return f"${amount_nanousd / NANOUSD_PER_USD:.{digits}f}"


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}{'' if number == 1 else 's'}"
