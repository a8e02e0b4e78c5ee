"""What a provider does by itself is held for, or refused under a hard budget with what would bound it; by a table of requests."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from call_box import CountsAs
from paymaster.accounting.prices.catalogue import Catalogue
from paymaster.accounting.tokens.counter import TokenCounter
from paymaster.registry.completing import Sources
from paymaster.registry.loading import read_registry
from paymaster.registry.model_data import ModelData
from paymaster.registry.models import Registry
from paymaster.registry.overrides import read_overrides
from paymaster.registry.yamltext import read_yaml
from paymaster.routing.planning import Candidate, plan
from paymaster.routing.requests import Request
from paymaster.routing.skipped import SkipCause, Skipped
from paymaster.scope import Scope

AT = datetime(2026, 11, 23, 12, tzinfo=UTC)
CASES = [
    json.loads(line) for line in (Path(__file__).parents[1] / "vectors/server_work.jsonl").read_text(encoding="utf-8").splitlines() if line
]
REFUSED = [case for case in CASES if "refused" in case]
HELD = [case for case in CASES if "refused" not in case]


@pytest.fixture(scope="module")
def sources() -> Sources:
    return Sources(catalogue=Catalogue(), model_data=ModelData(), environ={}, at=AT, directory=Path("/where/it/is"))


def registry_of(models: Mapping[str, object], sources: Sources, *, hard: bool = True, budget: str = "budget_usd_per_run") -> Registry:
    """A registry of these models, with a budget per run that pays for everything."""
    policies = {budget: 90_000 if "usd" in budget else 10**9, "hard_stop_on_budget": hard, "fallback_chain": []}
    text = json.dumps({"models": models, "default": "m", "policies": policies})
    return read_registry(read_yaml(text, "registry.yaml"), read_overrides({}, {}), sources)


def planned(case: Mapping[str, Any], sources: Sources, *, hard: bool = True) -> Candidate | Skipped:
    """What becomes of the request of a case at its model."""
    request = Request(messages=[{"role": "user", "content": "Hello"}], tools=case["tools"], params=case["params"])
    registry = registry_of(case["models"], sources, hard=hard, budget=case.get("budget", "budget_usd_per_run"))
    found = plan(request, registry, Scope(run="r1"), int(AT.timestamp() * 1000), CountsAs(case["prompt_tokens"]))
    return (*found.candidates, *found.skipped)[0]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case["id"])
def test_what_nothing_bounds_is_refused_with_what_would_bound_it(case: Mapping[str, Any], sources: Sources) -> None:
    found = planned(case, sources)
    assert isinstance(found, Skipped)
    assert [words for words in case["refused"] if words not in found.detail] == []
    assert found.cause is (SkipCause.UNPRICED if "price is unknown and" in found.detail else SkipCause.UNBOUNDED)


@pytest.mark.parametrize("case", HELD, ids=lambda case: case["id"])
def test_what_is_bounded_is_held_for(case: Mapping[str, Any], sources: Sources) -> None:
    found = planned(case, sources)
    assert isinstance(found, Candidate)
    held_usd = Decimal(found.held_nanousd) / 10**9
    assert held_usd >= Decimal(case.get("billed_usd", "0"))
    assert held_usd == Decimal(case.get("held_usd", held_usd))
    assert found.held_tokens == case.get("held_tokens", found.held_tokens)
    if "max_price" in case:
        sent = found.translation.params["provider"]
        assert isinstance(sent, Mapping)
        assert sent["max_price"] == case["max_price"]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case["id"])
def test_a_soft_budget_refuses_no_tool_and_no_beta(case: Mapping[str, Any], sources: Sources) -> None:
    found = planned(case, sources, hard=False)
    assert isinstance(found, Candidate) or "price of" in found.detail


@pytest.mark.parametrize(
    "params",
    [
        {"functions": [{"name": "f", "description": "word " * 1_000}]},
        {"system": "word " * 1_000},
        {"documents": [{"text": "word " * 1_000}]},
        {"output_format": {"type": "json_schema", "schema": {"description": "word " * 1_000}}},
        {"extra_body": {"google": {"system_instruction": {"parts": [{"text": "word " * 1_000}]}}}},
    ],
    ids=lambda params: next(iter(params)),
)
def test_what_the_model_reads_beside_the_messages_is_counted(params: Mapping[str, Any], sources: Sources) -> None:
    registry = registry_of({"m": {"provider": "openai", "model_id": "gpt-4o"}}, sources)
    request = Request(messages=[{"role": "user", "content": "Hello"}], params=params)
    [candidate] = plan(request, registry, Scope(run="r1"), int(AT.timestamp() * 1000), TokenCounter()).candidates
    assert candidate.prompt.tokens > 1_000
