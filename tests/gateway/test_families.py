"""A gateway serves every model of a family by its name, within the rights of a key."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import openai
import pytest

from paymaster.client import Client
from paymaster.errors import BudgetExceeded, KeyMissing, NoModelAvailable, PaymasterError
from paymaster.gateway.auth import Key
from paymaster.gateway.service import registry_for_key
from paymaster.routing.chains import chain

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gateways import Gateway

HELLO: Any = [{"role": "user", "content": "Hello"}]
FAMILY = {"any/*": {"model_id": "*"}}


def shown(gateway: Gateway, path: str) -> Any:
    with urllib.request.urlopen(f"{gateway.url}{path}", timeout=20) as reply:  # noqa: S310 - http on loopback
        return json.loads(reply.read())


def test_a_member_is_served_and_shown_by_its_own_name(start: Callable[..., Gateway]) -> None:
    gateway = start(own=FAMILY, **{"fast": {}, "any/*": {}})
    client = openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0)
    reply = client.chat.completions.with_raw_response.create(model="any/fast", messages=HELLO)
    assert reply.headers["x-paymaster-model"] == "any/fast"
    assert [entry["id"] for entry in shown(gateway, "/v1/models")["data"]] == ["fast"]
    assert shown(gateway, "/v1/models/any/fast") == {"id": "any/fast", "object": "model", "created": 0, "owned_by": "openai_compatible"}
    with pytest.raises(openai.NotFoundError, match="is a family of models"):
        client.chat.completions.create(model="any/*", messages=HELLO)
    with pytest.raises(urllib.error.HTTPError):
        shown(gateway, "/v1/models/other/fast")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "r.yaml"


TEXT = """
default: openai/gpt-4o
models:
  openai/*: {provider: openai, fallbacks: [claude, groq/*]}
  groq/*: {provider: groq, price: free}
  claude: {provider: anthropic, model_id: claude-sonnet-5}
  openai/own: {provider: ollama}
  vllm/*: {provider: vllm, endpoints: [{name: a, base_url: http://a, api_key_env: A}, {name: b, base_url: http://b, api_key_env: B}]}
policies: {fallback_chain: [claude, groq/llama]}
"""


@pytest.mark.parametrize(
    ("models", "asked", "expected"),
    [
        ((), "openai/gpt-4o", ("openai/gpt-4o", "claude", "groq/gpt-4o")),
        (("openai/*",), "openai/gpt-4o", ("openai/gpt-4o",)),
        (("openai/*", "groq/*"), "openai/gpt-4o", ("openai/gpt-4o", "groq/gpt-4o")),
        (("openai/gpt-4o", "claude"), "openai/gpt-4o", ("openai/gpt-4o", "claude")),
        (("openai/gpt-4o",), None, ("openai/gpt-4o",)),
        (("openai/gpt-4o",), "openai/gpt-4.1", None),
        (("groq/llama", "claude"), "claude", ("claude", "groq/llama")),
        (("openai/own",), "openai/gpt-4o", None),
    ],
)
def test_a_key_may_use_a_family_or_members_of_it(path: Path, models: tuple[str, ...], asked: str | None, expected: Any) -> None:
    path.write_text(TEXT)
    with Client(path, ledger="memory:", environ={}) as client:
        narrow = registry_for_key(client.registry, Key(id="k", digest="", user="ann", models=models))
    if expected is None:
        with pytest.raises(PaymasterError):
            chain(narrow, asked)
    else:
        assert chain(narrow, asked) == expected


def test_what_is_missing_for_a_family_is_missing_for_its_members(path: Path) -> None:
    path.write_text(TEXT)
    with Client(path, ledger="memory:", environ={"A": "a"}) as client:
        missing, key_of = client._resources.world.missing_keys, client._resources.world.key_of
        member = client.registry.models["vllm/m"]
        named = [client.registry.models[name] for name in ("openai/gpt-4o", "openai/own", "groq/x/y")]
        found = {place.place: missing.get(place.declared_place) for place in (*named, *member.places)}
        expected = ("OPENAI_API_KEY", None, "GROQ_API_KEY", None, "B")
        assert found == dict(zip(("openai/gpt-4o", "openai/own", "groq/x/y", "vllm/m/a", "vllm/m/b"), expected, strict=True))
        assert [key_of(place, client.current_scope) for place in member.places] == ["a", None]


def test_a_client_calls_members_within_the_budget_of_the_family(start: Callable[..., Gateway], path: Path) -> None:
    address = start(fast={}).provider.base_url
    path.write_text(
        f"""
models:
  paid/*: {{provider: openai_compatible, base_url: '{address}', usd_per_1m_input: 1, usd_per_1m_output: 1, max_output_tokens: 100,
           budgets: [{{requests: 2, per: total}}]}}
  unpriced/*: {{provider: openai_compatible, base_url: '{address}'}}
  keyed/*: {{provider: openai_compatible, base_url: '{address}', price: free, api_key_env: NOT_SET}}
default: paid/fast
policies: {{hard_stop_on_budget: true, budget_usd_per_run: 1}}
"""
    )
    with Client(path, ledger="memory:", environ={}) as client:
        assert [client.complete(HELLO, model=name).model for name in (None, "paid/fast")] == ["paid/fast", "paid/fast"]
        with pytest.raises(BudgetExceeded, match="requests"):
            client.complete(HELLO, model="paid/other")
        with pytest.raises(PaymasterError, match="price"):
            client.complete(HELLO, model="unpriced/fast")
        with pytest.raises(KeyMissing, match="NOT_SET"):
            client.complete(HELLO, model="keyed/fast")
    with Client(path, ledger="memory:", environ={}) as client, pytest.raises(NoModelAvailable):
        client.complete(HELLO, model="paid/invented", max_wait_s=0.1)
