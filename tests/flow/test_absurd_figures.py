"""Figures that nobody can mean, from a caller and from a provider, on every ledger: a clear error, or the hold; never another one."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fleet import LoopbackProvider, registry_file
from paymaster import AsyncClient, Client
from paymaster.accounting.bounds import shown
from paymaster.errors import BudgetExceeded, NoModelAvailable, RequestInvalid
from paymaster.flow.replies import Reply

HUGE = 10**5_000
MESSAGES = [{"role": "user", "content": "Hello"}]
PRICE = ", usd_per_1m_input: 1, usd_per_1m_output: 10"
ABSURD_USAGES: list[object] = [
    {"prompt_tokens": 1e30, "completion_tokens": 1e30, "total_tokens": 2e30},
    {"prompt_tokens": 2**63, "completion_tokens": 5},
    {"prompt_tokens": 10, "completion_tokens": 10**13, "total_tokens": 10**13 + 10},
    {"prompt_tokens": -10, "completion_tokens": 5},
    {"prompt_tokens": "10", "completion_tokens": "5"},
    {"prompt_tokens": True, "completion_tokens": True},
    {"prompt_tokens": 10.5, "completion_tokens": 5},
    {"prompt_tokens": [10], "completion_tokens": {"a": 1}},
    {"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 1e30}},
    {"prompt_tokens": 10, "completion_tokens": 5, "cost_in_usd_ticks": 10**18},
    [10, 5],
    7,
]


@pytest.fixture(params=["memory", "sqlite", "redis"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a new ledger of each kind."""
    if request.param == "memory":
        return "memory:"
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/ledger.sqlite3"
    return f"{request.getfixturevalue('shared_server').url}?name=absurd-{tmp_path.name}"


@pytest.fixture
def provider() -> Iterator[LoopbackProvider]:
    """A provider that answers."""
    with LoopbackProvider(lambda _: (200, {})) as running:
        yield running


@pytest.fixture
def ask(provider: LoopbackProvider, ledger: str, tmp_path: Path) -> Callable[..., Reply]:
    """One call with these parameters under a hard budget of a dollar, by a blocking or an async client."""
    registry = registry_file(tmp_path, provider, policies=", retries_per_model: 0")
    registry.write_text(registry.read_text().replace(", price: free", PRICE))

    async def ask_async(params: dict[str, object]) -> Reply:
        async with AsyncClient(registry, run="r1", budget_usd=1, ledger=ledger, state_dir=tmp_path) as client:
            return await client.complete(MESSAGES, **params)

    def ask(*, blocking: bool = True, **params: object) -> Reply:
        if not blocking:
            return asyncio.run(ask_async(params))
        with Client(registry, run="r1", budget_usd=1, ledger=ledger, state_dir=tmp_path) as client:
            return client.complete(MESSAGES, **params)

    return ask


@pytest.mark.parametrize("blocking", [True, False])
@pytest.mark.parametrize("usage", ABSURD_USAGES, ids=repr)
def test_an_absurd_usage_costs_the_hold_and_the_answer_arrives(
    ask: Callable[..., Reply], provider: LoopbackProvider, usage: object, blocking: bool
) -> None:
    provider.usage = usage
    reply = ask(blocking=blocking)
    assert (reply.text, reply.usage, reply.attempts[0].billed) == ("hi", None, "assumed")
    assert reply.cost_nanousd == reply.attempts[0].held_nanousd > 1_000_000


def test_an_answer_with_a_number_that_json_can_not_carry_is_unusable_and_costs_the_hold(
    ask: Callable[..., Reply], provider: LoopbackProvider
) -> None:
    provider.usage = {"prompt_tokens": 10**400, "completion_tokens": 5}
    with pytest.raises(NoModelAvailable, match="unusable answer"):
        ask()


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"max_tokens": 2**63 - 1, "n": 2**63 - 1}, "max_tokens must be at most 2,147,483,647"),
        ({"n": 10**12}, "n must be at most 10,000"),
        ({"max_completion_tokens": HUGE}, "max_completion_tokens must be at most 2,147,483,647"),
        ({"temperature": float("nan")}, "temperature must be a finite number"),
        ({"seed": HUGE}, "seed must be at most 1e308"),
        ({"deadline_s": float("inf")}, "deadline_s must be a number of seconds"),
    ],
    ids=shown,
)
def test_an_absurd_request_is_the_callers_mistake_on_every_ledger(
    ask: Callable[..., Reply], provider: LoopbackProvider, params: dict[str, object], said: str
) -> None:
    for blocking in (True, False):
        with pytest.raises(RequestInvalid, match=said):
            ask(blocking=blocking, **params)
    assert provider.seen == []


def test_what_is_only_too_dear_is_the_budgets_matter_on_every_ledger(ask: Callable[..., Reply], provider: LoopbackProvider) -> None:
    with pytest.raises(BudgetExceeded):
        ask(n=10_000, max_tokens=2**31 - 1)
    assert provider.seen == []
