"""What `ask` shows of an answer: its text, its cost and the budget that remains; knows replies, and no terminal."""

import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

from paymaster.accounting.budget_units import format_amount
from paymaster.accounting.decimals import plain
from paymaster.accounting.money import format_usd
from paymaster.errors import LedgerUnavailable
from paymaster.routing.budgets import BudgetAccount, budget_accounts, tightest_by_unit
from paymaster.views.words import duration

if TYPE_CHECKING:
    from paymaster.client import Client
    from paymaster.flow.replies import Reply
    from paymaster.jsontypes import JsonObject
    from paymaster.scope import Scope


def text_of(chunk: "JsonObject") -> str:
    """The text of one chunk of a stream; empty if it has none."""
    choices = chunk.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else {}
    delta = first.get("delta") if isinstance(first, Mapping) else None
    content = delta.get("content") if isinstance(delta, Mapping) else None
    return content if isinstance(content, str) else ""


def reply_json(reply: "Reply", scope: "Scope") -> dict[str, object]:
    """The answer and the record of every attempt, for a program."""
    return {
        "text": reply.text,
        "model": reply.model,
        "finish_reason": reply.finish_reason,
        "cost_usd": plain(reply.cost_usd),
        "cost_nanousd": reply.cost_nanousd,
        "budget_left_usd": None if reply.budget_left_usd is None else plain(reply.budget_left_usd),
        "budget_left_tokens": reply.budget_left_tokens,
        "budget_left_requests": reply.budget_left_requests,
        "over_budget": list(reply.over_budget),
        "run": scope.run,
        "call_id": reply.call_id,
        "attempts": [{name: value for name, value in asdict(record).items() if value not in (None, {})} for record in reply.attempts],
    }


def summary(reply: "Reply", client: "Client") -> str:
    """One line: the model, tokens, cost, time, attempts and the budget that remains."""
    last = reply.attempts[-1]
    tokens_in = last.input_tokens + last.cache_read_tokens + last.cache_write_tokens
    cached = f" ({last.cache_read_tokens:,} cached)" if last.cache_read_tokens else ""
    parts = [f"{reply.model}: tokens {tokens_in:,} in{cached}, {last.output_tokens:,} out", _cost(reply), duration(last.duration_ms)]
    if waited_ms := sum(record.waited_ms for record in reply.attempts):
        parts.append(f"waited {duration(waited_ms)}")
    if len(reply.attempts) > 1:
        parts.append(f"{len(reply.attempts)} attempts")
    if before := [record.model for record in reply.attempts if record.model != reply.model]:
        parts.append(f"fallback from {', '.join(dict.fromkeys(before))}")
    if reply.finish_reason == "length":
        parts.append("cut off at the output limit")
    return "; ".join([*parts, *_budget_left(reply, client)])


def _cost(reply: "Reply") -> str:
    kinds = {record.billed for record in reply.attempts}
    if "unpriced" in kinds:
        return f"{format_usd(reply.cost_nanousd)} and an unknown cost (no price)"
    unsure = [kind for kind in ("estimated", "assumed") if kind in kinds]
    share = "partly " if "exact" in kinds else ""
    return format_usd(reply.cost_nanousd) + (f", {share}{' and '.join(unsure)}" if unsure else "")


def _budget_left(reply: "Reply", client: "Client") -> list[str]:
    """What is left of the budget with the least left, for each unit; nothing if no budget applies."""
    registry, scope = client.registry, client.current_scope
    budgets = budget_accounts(registry.models[reply.model], registry.policy, scope, time.time_ns() // 1_000_000)
    if not budgets:
        return []
    try:
        balances = client.balances(accounts=[each.account for each in budgets])
    except LedgerUnavailable:  # the call went on without it, and the log has a warning
        return []
    remaining = [(each, each.cap - (balances[each.account].total if each.account in balances else 0)) for each in budgets]
    return [_left_of(budget, left) for budget, left in tightest_by_unit(remaining)]


def _left_of(budget: BudgetAccount, left: int) -> str:
    cap = f"{format_amount(budget.cap, budget.unit)} ({budget.key or budget.account})"
    amount = format_amount(abs(left), budget.unit)
    return f"{amount} over {cap}" if left < 0 else f"{amount} left of {cap}"
