"""What the budgets of a run say while it lasts and at its end, and what was spent on what; knows a client, its events, and no agent."""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

from paymaster.accounting.accounts import Balance
from paymaster.accounting.money import NANOUSD_PER_USD, format_usd
from paymaster.client import Client
from paymaster.errors import BudgetExceeded
from paymaster.flow.events import AttemptFailed, AttemptSettled, Event, FellBack, Throttled
from paymaster.registry.models import Budget
from paymaster.routing.budgets import MoneyAccount, money_accounts
from paymaster.scope import Scope

_PER_INSTANCE = "instance"


@dataclass(slots=True)
class Spent:
    """What one model cost in this process, in nano-dollars."""

    answers: int = 0
    failures: int = 0
    cost_nanousd: int = 0


class SpendSummary:
    """A listener that adds up what this process spent, waited and left models for. Any thread may tell it events."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._models: dict[str, Spent] = {}
        self._waits, self._fallbacks = 0, 0

    def __call__(self, event: Event) -> None:
        """Take an event down."""
        with self._lock:
            match event:
                case AttemptSettled() | AttemptFailed():
                    spent = self._models.setdefault(event.model, Spent())
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

    def progress(self, client: Client) -> str:
        """One line for a display: spent, held and left of the budget that ends first, waits and fallbacks."""
        spent_nanousd = sum(spent.cost_nanousd for spent in self._copy().values())
        parts = [f"{_short_usd(spent_nanousd)} spent"]
        tightest = min(run_budgets(client), key=_left_nanousd, default=None)
        if tightest is not None:
            line, balance = tightest
            left = f"{_short_usd(max(0, _left_nanousd(tightest)))} left of {format_usd(line.cap_nanousd)}"
            parts += [f"{_short_usd(balance.held)} held", f"{left} ({line.key or line.account})"]
        parts += [_count(self._waits, "wait")] if self._waits else []
        parts += [_count(self._fallbacks, "fallback")] if self._fallbacks else []
        return ", ".join(parts)

    def _copy(self) -> dict[str, Spent]:
        with self._lock:
            return {model: replace(spent) for model, spent in self._models.items()}


def run_budgets(client: Client) -> list[tuple[MoneyAccount, Balance]]:
    """Each budget of this run or batch as a whole (not those of its instances), with what stands on it."""
    return _budgets(client, None, of_instance=False)


def budget_lines(client: Client) -> Iterator[str]:
    """Each budget of this run or batch that was touched, with what is spent of it."""
    for line, balance in run_budgets(client):
        if balance.total:
            over_nanousd = balance.settled - line.cap_nanousd
            over = f", {format_usd(over_nanousd)} over" if over_nanousd > 0 else ""
            yield f"{format_usd(balance.settled)} of {format_usd(line.cap_nanousd)} spent{over} ({line.key or line.account})"


def is_of_instance(client: Client, instance: str, error: BudgetExceeded) -> bool:
    """Whether the budget that refused is one that each instance has for itself."""
    return error.account in {line.account for line, _ in _budgets(client, instance, of_instance=True)}


def with_way_on(error: BudgetExceeded, way_on: str) -> BudgetExceeded:
    """The same refusal, with what a person can do after a run that it ended."""
    return BudgetExceeded(
        error.message,
        account=error.account,
        cap_nanousd=error.cap_nanousd,
        spent_nanousd=error.spent_nanousd,
        held_nanousd=error.held_nanousd,
        needed_nanousd=error.needed_nanousd,
        advice=f"{error.advice}\n{way_on}" if error.advice else way_on,
    )


def same_account(scope: Scope) -> str:
    """The flags with which a later process spends from the same budgets."""
    return f"--run-id {scope.run}" + (f" --batch-id {scope.batch}" if scope.batch else "")


def _budgets(client: Client, instance: str | None, *, of_instance: bool) -> list[tuple[MoneyAccount, Balance]]:
    registry, now_ms = client.registry, time.time_ns() // 1_000_000
    scope = client.current_scope if instance is None else replace(client.current_scope, instance=instance)

    def chosen(budgets: tuple[Budget, ...]) -> tuple[Budget, ...]:
        return tuple(budget for budget in budgets if (_PER_INSTANCE in budget.per) == of_instance)

    policy = replace(registry.policy, budgets=chosen(registry.policy.budgets))
    lines: dict[str, MoneyAccount] = {}
    for model in registry.models.values():
        lines |= {line.account: line for line in money_accounts(replace(model, budgets=chosen(model.budgets)), policy, scope, now_ms)}
    balances = client.balances("usd/") if lines else {}
    return [(line, balances.get(name, Balance())) for name, line in lines.items()]


def _left_nanousd(budget: tuple[MoneyAccount, Balance]) -> int:
    line, balance = budget
    return line.cap_nanousd - balance.settled - balance.held


def _short_usd(amount_nanousd: int) -> str:
    """For a display: cents, and below a dollar four digits."""
    digits = 4 if 0 < amount_nanousd < NANOUSD_PER_USD else 2
    return f"${amount_nanousd / NANOUSD_PER_USD:.{digits}f}"


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
