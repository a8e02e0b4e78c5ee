"""Budgets in tokens and in requests are never exceeded, measured at a provider that is free: over threads, processes and the gateway."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from fleet import LoopbackProvider, fleet, registry_file
from paymaster import AsyncClient, BudgetExceeded, Client

if TYPE_CHECKING:
    from pathlib import Path

HELLO = [{"role": "user", "content": "Hello"}]
TOKENS_OF_A_CALL = 15


@pytest.mark.parametrize("kind", ["file", "server"])
@pytest.mark.parametrize(
    ("key", "cap", "each", "calls"), [("budget_tokens_per_run", 6_000, TOKENS_OF_A_CALL, 8), ("budget_requests_per_run", 100, 1, 3)]
)
def test_64_workers_of_four_processes_use_a_budget_up_and_no_more(
    tmp_path: Path, request, kind: str, key: str, cap: int, each: int, calls: int
) -> None:
    ledger = f"sqlite:///{tmp_path}/ledger.sqlite3" if kind == "file" else request.getfixturevalue("redis_url")
    with LoopbackProvider(lambda _: (200, {})) as provider:
        registry = registry_file(tmp_path, provider, policies=f", {key}: {cap}, hard_stop_on_budget: true, min_output_tokens: 1")
        with fleet(registry, ledger, tmp_path / "state", processes=4, threads=16, calls=calls) as workers:
            workers.go()
            outcomes = [result["outcome"] for result in workers.results()]
        answered = len(provider.answered())
        assert answered * each <= cap
        assert answered * each >= cap * 98 // 100
        assert set(outcomes) == {"ok", "BudgetExceeded"}
        assert outcomes.count("ok") == answered
        with Client(registry, ledger=ledger, state_dir=tmp_path / "state", run="fleet", environ={}) as client:
            (balance,) = (balance for name, balance in client.balances("budget-").items())
    assert (balance.settled, balance.held) == (answered * each, 0)


def test_tasks_of_one_process_share_a_token_budget(tmp_path: Path) -> None:
    async def ask(client: AsyncClient) -> bool:
        try:
            await client.complete(HELLO)
        except BudgetExceeded:
            return False
        return True

    async def all_at_once(registry: Path) -> list[bool]:
        async with AsyncClient(registry, ledger="memory:", budget_tokens=300, environ={}) as client:
            return await asyncio.gather(*(ask(client) for _ in range(64)))

    with LoopbackProvider(lambda _: (200, {})) as provider:
        answers = asyncio.run(all_at_once(registry_file(tmp_path, provider, policies=", min_output_tokens: 1")))
        assert sum(answers) == len(provider.answered())
    assert sum(answers) * TOKENS_OF_A_CALL <= 300
    assert sum(answers) * TOKENS_OF_A_CALL >= 300 - 2 * 100  # the hold of one call: its prompt's bound, and one token


def test_a_reply_states_what_is_left_of_each_unit(tmp_path: Path) -> None:
    with LoopbackProvider(lambda _: (200, {})) as provider:
        path = registry_file(tmp_path, provider)
        with Client(path, ledger="memory:", budget_usd=1, budget_tokens=1_000, budget_requests="2", environ={}) as client:
            reply = client.complete(HELLO)
            assert (reply.budget_left_usd, reply.budget_left_tokens, reply.budget_left_requests) == (1, 985, 1)
            explained = client.explain(HELLO)
    kinds = {str(account.kind): account.needed for account in explained[0].accounts if account.account.startswith(("usd", "budget-"))}
    assert (kinds["money"], kinds["budget_requests"]) == (0, 1)
    assert kinds["budget_tokens"] > 100
