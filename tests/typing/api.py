"""Pins the public types: `make types` checks this file with mypy --strict; nothing here runs."""

from collections.abc import Awaitable, Mapping
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import assert_type

from paymaster import ArgumentInvalid, AsyncClient, BudgetExceeded, Client, Explanation, PaymasterError, Reply, Scope, in_scope
from paymaster.accounting.accounts import Balance
from paymaster.accounting.records import AttemptRecord
from paymaster.accounting.usage.record import Usage
from paymaster.flow.events import Event
from paymaster.registry.models import Registry


def listener(event: Event) -> None:
    """Anything that takes an event may listen."""


def sync() -> None:
    """The client in a thread."""
    with Client("registry.yaml", run="exp-42", budget_usd=5, tags={"team": "a"}, listeners=[listener]) as client:
        reply = client.complete(messages=[{"role": "user", "content": "x"}], tools=[{"type": "function"}], max_tokens=5)
        assert_type(client.registry, Registry)
        assert_type(client.current_scope, Scope)
        assert_type(reply, Reply)
        assert_type(reply.text, str)
        assert_type(reply.tool_calls, tuple[Mapping[str, object], ...])
        assert_type(reply.model, str)
        assert_type(reply.usage, Usage | None)
        assert_type(reply.cost_usd, Decimal)
        assert_type(reply.cost_nanousd, int)
        assert_type(reply.budget_left_usd, Decimal | None)
        assert_type(reply.over_budget, tuple[str, ...])
        assert_type(reply.attempts, tuple[AttemptRecord, ...])
        vectors = client.embed(["x", "y"], model="embed", dimensions=256, deadline_s=5)
        assert_type(vectors.vectors, list[list[float]])
        client.embed("x", max_wait_s=0.5)
        client.embed([[1, 2], [3]])
        with client.scope(instance="task-1", role="agent") as scope:
            assert_type(scope, Scope)
        with client.scope(run_id="r", batch_id="b", tags={"a": "1"}), ThreadPoolExecutor() as pool:
            assert_type(pool.submit(in_scope(client.embed), "x").result(), Reply)
        with client.stream([{"role": "user", "content": "x"}], stream_recovery="hold_back") as stream:
            for chunk in stream:
                assert_type(chunk, Mapping[str, object])
            assert_type(stream.reply, Reply)
        assert_type(client.explain([{"role": "user", "content": "x"}]), tuple[Explanation, ...])
        assert_type(client.balances("usd/"), dict[str, Balance])


async def asynchronous() -> None:
    """The client on a loop."""
    async with AsyncClient(Path("registry.yaml"), budget_usd=Decimal("0.5"), environ={}) as client:
        assert_type(await client.complete([{"role": "user", "content": "x"}], deadline_s=1.5, max_wait_s=30), Reply)
        assert_type((await client.embed([1, 2, 3])).vectors, list[list[float]])
        async with client.stream([{"role": "user", "content": "x"}]) as stream:
            async for chunk in stream:
                assert_type(chunk, Mapping[str, object])
            assert_type(stream.reply, Reply)
        assert_type(await client.balances(), dict[str, Balance])
        bound: Awaitable[Reply] = in_scope(client.complete)([{"role": "user", "content": "x"}])
        assert_type(await bound, Reply)
    await AsyncClient(model_registry="registry.yaml", run_id="r", batch_id="b").aclose()


def errors(error: PaymasterError) -> None:
    """What a caller can read off an error."""
    assert_type(error.message, str)
    assert_type(error.advice, str)
    assert_type(error.exit_status, int)
    if isinstance(error, ArgumentInvalid):
        mistake: TypeError = error
        assert_type(str(mistake), str)
    if isinstance(error, BudgetExceeded):
        assert_type(error.cap_nanousd, int)
        assert_type((error.unit, error.cap), tuple[str, int])
        assert_type(error.account, str)


def wrong() -> None:
    """What must not type-check: each ignore is needed, or `warn_unused_ignores` complains."""
    Client("registry.yaml", budget="5")  # type: ignore[call-arg]  # the setting is called budget_usd
    Client("registry.yaml").scope(instanse="x")  # type: ignore[call-arg]  # the name is called instance
    in_scope(Client("registry.yaml").embed)()  # type: ignore[call-arg]  # the input is missing
    Client("registry.yaml", rpm_limit="60")  # type: ignore[arg-type]  # a limit is a number
