"""Client keys: creating, finding and revoking them; their rights; and access without a key."""

from __future__ import annotations

import http.client
import json
import stat
from decimal import Decimal
from typing import TYPE_CHECKING

import openai
import pytest

from paymaster.errors import UsageMistake
from paymaster.gateway.key_file import KeyStore, NewKey, create_key, read_keys, revoke_key
from paymaster.gateway.service import AccessPolicy

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gateways import Gateway

HELLO = [{"role": "user", "content": "Hello"}]


class Clock:
    """A clock that moves ten seconds at each reading."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        self.now_s += 10
        return self.now_s


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "gateway-keys.json"


def access_of(path: Path) -> AccessPolicy:
    store = KeyStore(path, now_s=Clock())
    return AccessPolicy(find_key=store.find, needs_key=store.has_any)


def client_of(gateway: Gateway, secret: str, **settings: object) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=secret, max_retries=0, **settings)


def test_a_key_is_kept_as_a_digest_in_a_file_of_its_owner(path: Path) -> None:
    entry, secret = create_key(path, NewKey(user="ana"), 1)
    assert secret.startswith(f"pm-{entry.id}-")
    assert secret[-24:] not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_key_store_finds_only_active_keys(path: Path) -> None:
    store = KeyStore(path, now_s=Clock())
    assert not store.has_any()
    entry, secret = create_key(path, NewKey(user="ana"), 1)
    _, other = create_key(path, NewKey(user="ben"), 2)
    assert store.find(secret).user == "ana"
    assert store.find(secret) is store.find(secret)
    assert store.find(other).user == "ben"
    for wrong in (secret[:-1], secret + "x", f"pm-{entry.id}-x", "pm--", "sk-1", "", "pm-ü-ü"):
        assert store.find(wrong) is None
    assert [key.id for key in revoke_key(path, "ana", 3)] == [entry.id]
    assert store.find(secret) is None
    revoke_key(path, "ben", 4)
    assert store.has_any()
    with pytest.raises(UsageMistake, match="no active key"):
        revoke_key(path, "ben", 5)


def test_a_broken_keys_file_keeps_the_known_keys_active(path: Path) -> None:
    store = KeyStore(path, now_s=Clock())
    _, secret = create_key(path, NewKey(user="ana"), 1)
    assert store.find(secret)
    path.write_text("{")
    assert store.find(secret)
    path.unlink()
    assert store.find(secret)
    path.write_text('{"keys": [{"id": 5}]}')
    with pytest.raises(UsageMistake, match="keys file"):
        read_keys(path)


def test_a_call_without_a_valid_key_is_refused(start: Callable[..., Gateway], path: Path) -> None:
    _, secret = create_key(path, NewKey(user="ana"), 1)
    gateway = start(access=access_of(path))
    for wrong in ("any", secret[:-2]):
        with client_of(gateway, wrong) as client, pytest.raises(openai.AuthenticationError, match="paymaster keys create"):
            client.chat.completions.create(model="fast", messages=HELLO)
        with client_of(gateway, wrong) as client, pytest.raises(openai.AuthenticationError):
            client.models.list()
    with client_of(gateway, secret) as client:
        client.chat.completions.create(model="fast", messages=HELLO)
    assert gateway.events[-1].scope.user == "ana"
    assert gateway.requests() == 1


def test_each_key_has_a_budget_of_its_own(start: Callable[..., Gateway], path: Path) -> None:
    one, first = create_key(path, NewKey(user="ana", usd=Decimal("0.001"), per="month"), 1)
    _, second = create_key(path, NewKey(user="ana", usd=Decimal("0.001")), 1)
    gateway = start(fast={"usage": {"prompt_tokens": 0, "completion_tokens": 60}}, access=access_of(path), each={"max_output_tokens": 60})
    with client_of(gateway, first) as client:
        client.chat.completions.create(model="fast", messages=HELLO)
        with pytest.raises(openai.APIStatusError, match=f"the budget of key {one.id}") as caught:
            client.chat.completions.create(model="fast", messages=HELLO)
    assert caught.value.status_code == 402
    assert gateway.billed_nanousd() <= 1_000_000
    with client_of(gateway, second) as client:
        client.chat.completions.create(model="fast", messages=HELLO)


def test_a_key_has_budgets_in_tokens_and_in_requests(start: Callable[..., Gateway], path: Path) -> None:
    one, first = create_key(path, NewKey(user="ana", tokens=500, per="day"), 1)
    _, second = create_key(path, NewKey(user="ana", requests=1), 1)
    free = {"price": "free", "usd_per_1m_input": None, "usd_per_1m_output": None, "max_output_tokens": 100}
    gateway = start(fast={"usage": {"prompt_tokens": 100, "completion_tokens": 80}}, access=access_of(path), each=free)
    with client_of(gateway, first) as client:
        headers = client.chat.completions.with_raw_response.create(model="fast", messages=HELLO).headers
        assert headers["x-paymaster-budget-left-tokens"] == "320"
        assert "x-paymaster-budget-left-requests" not in headers
        client.chat.completions.create(model="fast", messages=HELLO)
        with pytest.raises(openai.APIStatusError, match=f"the budget of key {one.id} .* = 500 tokens can't pay") as caught:
            client.chat.completions.create(model="fast", messages=[{"role": "user", "content": "Hello " * 200}])
        assert caught.value.status_code == 402
    with client_of(gateway, second) as client:
        answer = client.chat.completions.with_raw_response.create(model="fast", messages=HELLO)
        assert answer.headers["x-paymaster-budget-left-requests"] == "0"
        with pytest.raises(openai.APIStatusError, match="= 1 request can't pay"):
            client.chat.completions.create(model="fast", messages=HELLO)
    assert gateway.requests() == 3


def test_each_key_has_limits_and_models_of_its_own(start: Callable[..., Gateway], path: Path) -> None:
    _, slow = create_key(path, NewKey(user="ana", rpm=1, models=("small",)), 1)
    _, free = create_key(path, NewKey(user="ben"), 1)
    gateway = start(large={}, small={}, access=access_of(path), policies={"max_wait_s": 0.05, "fallback_chain": ["large", "small"]})
    with client_of(gateway, slow) as client:
        assert [model.id for model in client.models.list()] == ["small"]
        assert client.chat.completions.create(model="default", messages=HELLO).model == "small"
        with pytest.raises(openai.NotFoundError, match="This key may use no others"):
            client.chat.completions.create(model="large", messages=HELLO)
        with pytest.raises(openai.RateLimitError, match="requests/key/"):
            client.chat.completions.create(model="small", messages=HELLO)
    with client_of(gateway, free) as client:
        assert client.chat.completions.create(model="default", messages=HELLO).model == "large"


def test_a_key_can_not_name_another_user(start: Callable[..., Gateway], path: Path) -> None:
    _, secret = create_key(path, NewKey(user="ana"), 1)
    gateway = start(access=access_of(path))
    with client_of(gateway, secret) as client:
        client.chat.completions.create(model="fast", messages=HELLO, extra_headers={"x-paymaster-user": "ana"})
        with pytest.raises(openai.PermissionDeniedError, match="belongs to ana"):
            client.chat.completions.create(model="fast", messages=HELLO, extra_headers={"x-paymaster-user": "ben"})


def test_a_key_for_removed_models_is_forbidden(start: Callable[..., Gateway], path: Path) -> None:
    _, secret = create_key(path, NewKey(user="ana", models=("gone",)), 1)
    gateway = start(access=access_of(path))
    with client_of(gateway, secret) as client, pytest.raises(openai.PermissionDeniedError, match="gone"):
        client.chat.completions.create(model="fast", messages=HELLO)
    with client_of(gateway, secret) as client, pytest.raises(openai.PermissionDeniedError, match="gone"):
        client.models.list()


@pytest.mark.parametrize("headers", [{"Origin": "https://evil.example"}, {"Host": "rebound.example"}, {"Origin": "null"}, {"Host": "[bad"}])
def test_without_keys_a_web_page_is_refused(start: Callable[..., Gateway], headers: dict[str, str]) -> None:
    gateway = start()
    connection = http.client.HTTPConnection(gateway.url.removeprefix("http://"))
    connection.request("POST", "/v1/chat/completions", json.dumps({"messages": HELLO}), headers)
    assert connection.getresponse().status == 403
    connection.close()
    assert gateway.requests() == 0


def test_keys_are_created_listed_and_revoked_by_command(run_paymaster: Callable[..., tuple[int, str, str]], own_state: Path) -> None:
    status, secret, errors = run_paymaster(
        "keys", "create", "--user", "ana", "--budget-usd", "20", "--per", "month", "--models", "a,b", "--rpm", "5"
    )
    assert status == 0
    assert "$20 per month, 5 rpm, on a, b" in errors
    key = KeyStore(own_state / "gateway-keys.json").find(secret.strip())
    assert (key.user, key.models, key.limits.rpm) == ("ana", ("a", "b"), 5)
    assert [(budget.cap, budget.per) for budget in key.budgets] == [(20 * 10**9, ("key", "month"))]
    assert "active" in run_paymaster("keys", "list")[1]
    [listed] = json.loads(run_paymaster("keys", "list", "--json")[1])
    assert "digest" not in listed
    assert run_paymaster("keys", "revoke", "ana")[0] == 0
    assert "revoked" in run_paymaster("keys", "list")[1]
    assert run_paymaster("keys", "revoke", "ana")[0] == 2
    assert run_paymaster("keys", "create", "--user", "ben", "--budget-usd", "much")[0] == 2
    assert run_paymaster("keys", "create", "--user", "ben", "--per", "week")[0] == 2
    assert "needs a budget" in run_paymaster("keys", "create", "--user", "ben", "--per", "month")[2]
    made = json.loads(run_paymaster("keys", "create", "--user", "ben", "--operator", "--json")[1])
    assert KeyStore(own_state / "gateway-keys.json").find(made["key"]).operator
    assert "sees all users" in run_paymaster("keys", "list")[1]


def test_listening_for_other_machines_needs_keys(run_paymaster: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    status, _, errors = run_paymaster("serve", str(tmp_path / "none.yaml"), "--host", "0.0.0.0", "--port", "0")
    assert status == 2
    assert "--insecure" in errors
