"""What LiteLLM's clients ask about models and keys is answered with what the caller may see, and nothing is made up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from paymaster.accounting.budget_units import BudgetUnit
from paymaster.gateway.auth import Key, digest_of
from paymaster.gateway.service import AccessPolicy
from paymaster.registry.models import Budget, Limits

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateways import Gateway

HELLO = {"messages": [{"role": "user", "content": "Hello"}]}
USD = 10**9


def key_of(name: str, *budgets: Budget, models: tuple[str, ...] = (), limits: Limits | None = None, **more: bool) -> Key:
    secret = f"pm-{name}-secret"
    return Key(
        id=name,
        user=None if more.get("pinned") else name,
        digest=digest_of(secret),
        budgets=budgets,
        models=models,
        limits=limits or Limits(),
        **more,
    )


def access_of(*keys: Key) -> AccessPolicy:
    known = {f"pm-{key.id}-secret": key for key in keys}
    return AccessPolicy(find_key=known.get, needs_key=lambda: True)


def get(gateway: Gateway, path: str, by: str | None = None, **query: str) -> httpx.Response:
    headers = {} if by is None else {"authorization": f"Bearer pm-{by}-secret"}
    return httpx.get(f"{gateway.url}{path}", headers=headers, params=query, timeout=30)


def ask(gateway: Gateway, key: str, **headers: str) -> None:
    named = {"authorization": f"Bearer pm-{key}-secret", **headers}
    answer = httpx.post(f"{gateway.url}/v1/chat/completions", json={"model": "fast", **HELLO}, headers=named, timeout=30)
    assert answer.status_code == 200, answer.text


def test_a_model_has_its_limits_prices_and_capabilities(start: Callable[..., Gateway]) -> None:
    own = {"fast": {"context_window": 9_000, "rpm": 60}, "vectors": {"capabilities": ["embeddings"], "fallbacks": []}}
    gateway = start(own=own, fast={}, vectors={})
    first, second = get(gateway, "/v1/model/info").json()["data"]
    assert first["model_name"] == "fast"
    assert first["litellm_params"] == {"model": "openai_compatible/fast"}
    info = first["model_info"]
    assert (info["mode"], info["max_input_tokens"], info["max_output_tokens"], info["max_tokens"]) == ("chat", 9_000, 1_000, 1_000)
    assert (info["input_cost_per_token"], info["output_cost_per_token"], info["rpm"]) == (1e-6, 1e-5, 60)
    assert (info["supports_function_calling"], info["supports_vision"], info["supports_prompt_caching"]) == (True, True, False)
    assert "tpm" not in info
    assert second["model_info"]["mode"] == "embedding"
    assert get(gateway, "/model/info", litellm_model_id="vectors").json()["data"] == [second]
    assert get(gateway, "/model/info", litellm_model_id="none").status_code == 400
    [group, _] = get(gateway, "/model_group/info").json()["data"]
    assert (group["model_group"], group["providers"], group["rpm"]) == ("fast", ["openai_compatible"], 60)


def test_what_is_not_known_of_a_model_is_left_out(start: Callable[..., Gateway]) -> None:
    unknown = {"usd_per_1m_input": None, "usd_per_1m_output": None, "capabilities": None, "max_output_tokens": None}
    gateway = start(own={"fast": unknown}, fast={})
    [entry] = get(gateway, "/v1/model/info").json()["data"]
    assert entry["model_info"] == {"id": "fast", "db_model": False, "litellm_provider": "openai_compatible", "mode": "chat"}


def test_a_key_sees_its_own_models_spending_and_cap(start: Callable[..., Gateway]) -> None:
    ann = key_of("ann", Budget(cap=2 * USD, per=("key", "month")), models=("fast",), limits=Limits(rpm=50, tpm=9_000, max_parallel=3))
    ben = key_of("ben", Budget(cap=5 * USD, per=("key",)))
    gateway = start(access=access_of(ann, ben), fast={}, slow={})
    ask(gateway, "ben")
    before = get(gateway, "/key/info", "ann").json()["info"]
    assert (before["spend"], before["max_budget"], before["budget_duration"]) == (0.0, 2.0, "1mo")
    assert (before["models"], before["user_id"], before["rpm_limit"], before["tpm_limit"]) == (["fast"], "ann", 50, 9_000)
    ask(gateway, "ann")
    after = get(gateway, "/key/info", "ann").json()
    assert (after["key"], after["info"]["spend"]) == ("ann", gateway.billed_nanousd() / 2 / USD)
    assert get(gateway, "/key/info", "ben").json()["info"]["models"] == ["fast", "slow"]
    assert [entry["model_name"] for entry in get(gateway, "/v1/model/info", "ann").json()["data"]] == ["fast"]
    assert "ben" not in get(gateway, "/user/info", "ann").text


def test_a_key_asks_for_itself_alone(start: Callable[..., Gateway]) -> None:
    gateway = start(access=access_of(key_of("ann"), key_of("ben")), fast={})
    assert get(gateway, "/key/info", "ann", key="pm-ann-secret").status_code == 200
    assert get(gateway, "/key/info", "ann", key="ann").status_code == 200
    for asked in ("ben", "pm-ben-secret", ""):
        refused = get(gateway, "/key/info", "ann", key=asked)
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "forbidden")
    assert get(gateway, "/user/info", "ann", user_id="ann").status_code == 200
    assert get(gateway, "/user/info", "ann", user_id="ben").status_code == 403
    assert get(gateway, "/key/info").status_code == 401
    assert get(gateway, "/v1/model/info", "other").status_code == 401
    litellm = httpx.get(f"{gateway.url}/v1/model/info", headers={"x-litellm-api-key": "Bearer pm-ann-secret"})
    assert litellm.status_code == 200


@pytest.mark.parametrize(
    ("budgets", "spend", "cap"),
    [
        ([], None, None),
        ([{"usd": 9, "per": "user"}], 0.0, 9.0),
        ([{"usd": 9, "per": "user"}, {"usd": 3, "per": ["key", "day"]}], 0.0, 3.0),
        ([{"usd": 9, "per": "run"}, {"usd": 9, "per": "month"}, {"tokens": 100, "per": "key"}], None, None),
        ([{"usd": 9, "per": "key", "models": ["fast"]}, {"usd": 9, "per": ["key", "model"]}], None, None),
    ],
)
def test_only_budgets_of_the_caller_alone_count(
    start: Callable[..., Gateway], budgets: list[object], spend: float | None, cap: float | None
) -> None:
    gateway = start(policies={"budgets": budgets}, access=access_of(key_of("ann")), fast={}, slow={})
    info = get(gateway, "/key/info", "ann").json()["info"]
    assert (info["spend"], info["max_budget"]) == (spend, cap)


def test_a_user_has_the_budget_of_all_its_keys(start: Callable[..., Gateway]) -> None:
    ann = key_of("ann", Budget(cap=1 * USD, per=("key",)), Budget(cap=10, per=("key",), unit=BudgetUnit.REQUESTS))
    gateway = start(policies={"budgets": [{"usd": 9, "per": "user"}]}, access=access_of(ann), fast={})
    ask(gateway, "ann")
    answer = get(gateway, "/user/info", "ann").json()
    spent = gateway.billed_nanousd() / USD
    assert answer["user_info"] == {"user_id": "ann", "spend": spent, "max_budget": 9.0}
    [key] = answer["keys"]
    assert (key["spend"], key["max_budget"]) == (spent, 1.0)


def test_a_command_under_exec_sees_the_budget_of_its_run(start: Callable[..., Gateway]) -> None:
    pinned = key_of("exec", pinned=True)
    gateway = start(policies={"budget_usd_per_run": 2, "budgets": [{"usd": 1, "per": "month"}]}, access=access_of(pinned), fast={})
    ask(gateway, "exec")
    info = get(gateway, "/key/info", "exec").json()["info"]
    assert (info["spend"], info["max_budget"], info["user_id"]) == (gateway.billed_nanousd() / USD, 2.0, None)


def test_without_keys_the_run_is_the_callers(start: Callable[..., Gateway]) -> None:
    gateway = start(policies={"budget_usd_per_run": 2}, fast={})
    answer = get(gateway, "/key/info").json()
    assert (answer["key"], answer["info"]["spend"], answer["info"]["max_budget"]) == (None, 0.0, 2.0)
    assert get(gateway, "/user/info").json()["keys"] == []
