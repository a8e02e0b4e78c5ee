"""A history for a ledger: days of calls through the real flow, on a held clock; answered, failed, and with fallbacks."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from typing import TYPE_CHECKING

from call_box import Box, answer, failure, model, registry
from paymaster.errors import PaymasterError
from paymaster.registry.models import Budget, Limits
from paymaster.routing.failures import FailureKind
from paymaster.routing.requests import Request
from paymaster.scope import Scope
from paymaster.testing import ManualRuntime

if TYPE_CHECKING:
    from paymaster.flow.ports import Books, ProviderCall, ProviderReply
    from paymaster.registry.models import Registry
    from paymaster.routing.failures import Failure

HOUR_MS = 3_600_000
MODELS = ("gpt-4o", "claude-sonnet", "local-llm")
USERS = ("ann", "ben", None)


def known_registry() -> Registry:
    """Three models with limits and a price, budgets per month, user and run."""
    models = [model(name, limits=Limits(rpm=600, tpm=2_000_000, max_parallel=8)) for name in MODELS]
    return registry(
        *models,
        budgets=(
            Budget(cap=30 * 10**9, per=("month",), key="policies.budget_usd_per_month"),
            Budget(cap=12 * 10**9, per=("user", "month"), key="policies.budgets[0]"),
            Budget(cap=5 * 10**9, per=("run",), key="policies.budget_usd_per_run"),
        ),
        retries_per_model=0,
    )


def spend(books: Books, now_ms: int, *, hours: int = 48, calls: int = 120, seed: int = 7) -> Box:
    """That many calls in the hours before `now_ms`; the box has their events."""
    chance = random.Random(seed)

    def outcome(_: ProviderCall) -> ProviderReply | Failure:
        if chance.random() < 0.12:
            kinds = (FailureKind.OVERLOADED, FailureKind.SERVER_ERROR, FailureKind.TIMED_OUT)
            return failure(chance.choice(kinds), status=503)
        tokens = chance.randrange(1_000, 40_000)
        return answer(input_tokens=tokens, output_tokens=chance.randrange(100, 1_000), duration_ms=chance.randrange(300, 20_000))

    runtime = ManualRuntime(now_ms - hours * HOUR_MS)
    box = Box(known_registry(), {name: [outcome] for name in MODELS}, runtime=runtime, books=books)
    for number in range(calls):
        box.scope = Scope(run=f"exp-{number * 5 // calls}", user=chance.choice(USERS), instance=f"task-{number}")
        name = MODELS[0] if chance.random() < 0.6 else chance.choice(MODELS)
        messages = ({"role": "user", "content": "x" * 30_000},)
        with suppress(PaymasterError):
            asyncio.run(box.items(Request(messages=messages, model=name)))
        runtime.advance(hours * HOUR_MS // calls - 1)
    return box
