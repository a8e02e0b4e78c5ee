"""Calls under a registry cost what their place, their moment and the model that answered cost; holds are never below that."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from call_box import HELLO, Box, ScriptedAnswers, answer
from paymaster.accounting.prices.catalogue import Catalogue
from paymaster.accounting.usage.reading import read_usage
from paymaster.errors import NoModelFits
from paymaster.flow.ports import Provider
from paymaster.providers.openai_http import OpenAIHttp
from paymaster.providers.transport import HttpRequest
from paymaster.registry.completing import Sources
from paymaster.registry.loading import read_registry
from paymaster.registry.model_data import ModelData
from paymaster.registry.models import Dialect, Registry
from paymaster.registry.overrides import read_overrides
from paymaster.registry.yamltext import read_yaml
from paymaster.routing.requests import Request
from paymaster.testing import ManualRuntime

VECTORS = Path(__file__).parents[1] / "vectors" / "live_costs.jsonl"
CASES = [json.loads(line) for line in VECTORS.read_text(encoding="utf-8").splitlines()]
CATALOGUE, MODEL_DATA = Catalogue(), ModelData()
NANO = 10**9


@dataclass(frozen=True)
class JsonAnswer:
    """A whole answer over HTTP, read at once."""

    body: list[bytes]
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)

    async def read(self, wait_ms: int) -> bytes:
        """The body, then nothing."""
        return self.body.pop() if self.body else b""

    def close(self) -> None:
        """Nothing to cut."""


@dataclass
class FakeTransport:
    """Answers every request with one body."""

    body: Mapping[str, object]
    urls: list[str]

    async def post(self, request: HttpRequest, *, connect_ms: int, wait_ms: int) -> JsonAnswer:
        """The answer."""
        self.urls.append(request.url)
        return JsonAnswer([json.dumps(self.body).encode()], headers={"content-type": "application/json"})

    async def close(self) -> None:
        """Nothing to close."""


def load(
    at: datetime, environ: Mapping[str, str] | None = None, policies: Mapping[str, object] | None = None, **section: object
) -> Registry:
    """A registry of one model, read at this moment."""
    text = json.dumps({"models": {"m": section}, "policies": policies or {}})
    sources = Sources(catalogue=CATALOGUE, model_data=MODEL_DATA, environ=environ or {}, at=at, directory=Path("/where/it/is"))
    return read_registry(read_yaml(text, "registry.yaml"), read_overrides({}, {}), sources)


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


GREETINGS = {
    Dialect.CHAT: {
        "object": "chat.completion",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
    },
    Dialect.MESSAGES: {"type": "message", "role": "assistant", "content": [{"type": "text", "text": "Hi"}], "stop_reason": "end_turn"},
    Dialect.RESPONSES: {
        "object": "response",
        "status": "completed",
        "output": [{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hi"}]}],
    },
}


def provider_of(case: Mapping[str, object], registry: Registry, runtime: ManualRuntime) -> Provider:
    """The HTTP adapter where the model has one, so that it reads the usage; else a provider with the usage."""
    model = registry.models["m"]
    named = case.get("response_model") or model.model_id
    if model.adapter == "openai_http":
        body = {"id": "a", "model": named, "usage": case["raw_usage"], **GREETINGS[model.dialect]}
        return OpenAIHttp(FakeTransport(body, []), now_ms=runtime.now_ms)
    usage = read_usage(str(case["api"]), case["raw_usage"])  # type: ignore[arg-type]  # the usage of a vector is any JSON
    return ScriptedAnswers({"m": [answer(usage=usage)]})


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_a_call_costs_what_its_place_moment_and_model_cost(case: dict) -> None:
    live = {"provider": case["provider"], **case["live"]}
    loaded_at, environ = live.pop("loaded_at", case["at"]), live.pop("environ", {})
    policies = {"budget_usd_per_run": 5}
    registry = load(moment(loaded_at), environ, policies, model_id=case["model"], max_output_tokens=2_000, api_key="$KEY", **live)
    runtime = ManualRuntime(now_ms=int(moment(case["at"]).timestamp() * 1000))
    box = Box(registry, {}, runtime=runtime)
    box.provider = provider_of(case, registry, runtime)
    long_prompt = [{"role": "user", "content": "x" * 400_000}]
    reply = box.ask(Request(messages=long_prompt))
    (attempt,) = reply.attempts
    assert attempt.billed == "exact"
    assert attempt.cost_nanousd == Decimal(case["expected_cost_usd"]) * NANO
    if registry.models["m"].price is not None:
        assert attempt.held_nanousd >= attempt.cost_nanousd
    assert box.spent("usd/run/r1") == (attempt.cost_nanousd, 0)


# --- The moment ---------------------------------------------------------------------------------------------------------

OLD_USD, NEW_USD = Decimal("0.0000075"), Decimal("0.000015")  # 10 tokens in, at 0.75 and 1.5 dollars for a million
NEW_YEAR = moment("2027-01-01T00:00:00Z")


def held_at(seconds_before: int, **policies: object) -> int:
    registry = load(moment("2026-11-20T00:00:00Z"), provider="google", model_id="gemini-3.7-flash", policies=policies, api_key="$KEY")
    runtime = ManualRuntime(now_ms=int(NEW_YEAR.timestamp() * 1000) - seconds_before * 1000)
    box = Box(registry, {"m": [answer()]}, runtime=runtime)
    return box.ask(Request(messages=HELLO, params={"max_tokens": 1000})).attempts[0].held_nanousd


def test_a_call_is_held_at_the_dearest_price_before_its_deadline() -> None:
    long_before, after = held_at(3_600), held_at(-1)
    assert after == 2 * long_before
    assert held_at(1_799) == after  # the deadline is 1,800 s unless set
    assert held_at(1_801) == long_before
    assert held_at(100, deadline_s=60, max_wait_s=60) == long_before
    assert held_at(60, deadline_s=60, max_wait_s=60) == after


def test_a_call_that_may_take_hours_is_held_at_the_peak_price() -> None:
    night = moment("2026-11-20T11:00:00Z")  # the next peak of DeepSeek is on Monday

    def held(**policies: object) -> int:
        registry = load(night, provider="deepseek", model_id="deepseek-v4-flash", policies=policies, api_key="$KEY")
        box = Box(registry, {"m": [answer()]}, runtime=ManualRuntime(now_ms=int(night.timestamp() * 1000)))
        return box.ask(Request(messages=HELLO, params={"max_tokens": 1000})).attempts[0].held_nanousd

    assert held(deadline_s=7_201, max_wait_s=60) == 2 * held(deadline_s=7_200, max_wait_s=60)


def test_a_call_is_charged_the_price_of_the_moment_when_it_was_sent() -> None:
    registry = load(moment("2026-11-20T00:00:00Z"), provider="google", model_id="gemini-3.7-flash", api_key="$KEY")
    runtime = ManualRuntime(now_ms=int(NEW_YEAR.timestamp() * 1000) - 1)

    def late(_: object) -> object:
        runtime.advance(5_000)  # the answer takes until the new year
        return answer(input_tokens=10, output_tokens=0)

    box = Box(registry, {"m": [late]}, runtime=runtime)  # type: ignore[list-item]  # a function of a call
    assert box.ask().attempts[0].cost_nanousd == OLD_USD * NANO
    assert box.ask().attempts[0].cost_nanousd == NEW_USD * NANO


# --- The place ----------------------------------------------------------------------------------------------------------


def held_and_cost(**section: object) -> tuple[int, int]:
    registry = load(moment("2026-11-20T00:00:00Z"), api_key="$KEY", **section)
    runtime = ManualRuntime(now_ms=int(moment("2026-11-20T00:00:00Z").timestamp() * 1000))
    box = Box(registry, {"m": [answer(input_tokens=10, output_tokens=100)]}, runtime=runtime)
    attempt = box.ask(Request(messages=HELLO, params={"max_tokens": 1000})).attempts[0]
    return attempt.held_nanousd, attempt.cost_nanousd


@pytest.mark.parametrize(
    ("section", "dearer"),
    [
        ({"provider": "azure", "model_id": "gpt-4o", "base_url": "https://x.openai.azure.com"}, "1.1"),
        ({"provider": "azure", "model_id": "gpt-6.1-sol", "base_url": "https://x.openai.azure.com"}, "1.2"),
        ({"provider": "openai", "model_id": "gpt-5.4", "base_url": "https://proxy.example/v1"}, "1.1"),
        ({"provider": "bedrock", "model_id": "amazon.nova-pro-v1:0", "adapter": "litellm"}, "1.3125"),
    ],
    ids=lambda value: value if isinstance(value, str) else value["model_id"],
)
def test_an_unknown_place_is_held_at_the_dearest(section: dict, dearer: str) -> None:
    unknown_held, unknown_cost = held_and_cost(**section)
    known_held, known_cost = held_and_cost(**section, region="us" if section["provider"] == "bedrock" else "global")
    assert unknown_held == known_held * Decimal(dearer)
    assert unknown_cost == known_cost


# --- The model that answered ---------------------------------------------------------------------------------------------


def test_a_deployment_without_a_known_model_is_refused_under_a_hard_budget() -> None:
    policies = {"budget_usd_per_run": 1, "hard_stop_on_budget": True}
    section = {"provider": "azure", "model_id": "team-a-prod", "base_url": "https://x.openai.azure.com", "api_key": "$KEY"}
    box = Box(load(NEW_YEAR, policies=policies, **section), {"m": [answer()]})
    with pytest.raises(NoModelFits, match="add to the registry, under m: `price_as: …` with the name of that model, such as gpt-4o"):
        box.ask()
    assert box.provider.calls == []
    served = Box(load(NEW_YEAR, policies=policies, price_as="gpt-4o", **section), {"m": [answer()]})
    assert served.ask().attempts[0].billed == "exact"


def test_a_router_that_names_no_model_costs_its_hold() -> None:
    registry = load(NEW_YEAR, provider="openrouter", model_id="openrouter/auto", api_key="$KEY")
    (attempt,) = Box(registry, {"m": [answer()]}).ask(Request(messages=HELLO, params={"max_tokens": 100})).attempts
    assert (attempt.billed, attempt.cost_nanousd) == ("assumed", attempt.held_nanousd)
    assert attempt.held_nanousd > 100 * 50_000
