"""Two users with keys, and an operator: what each sees on every route, and whose budget each can spend."""

from __future__ import annotations

import http.client
import json
from contextlib import closing
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

import pytest
from starlette.routing import Route

from gateways import PRICES, write_registry
from paymaster.accounting.account_names import dimensions_of
from paymaster.gateway.app import gateway_routes
from paymaster.gateway.key_file import KeyEntry, KeyStore, NewKey, create_key
from paymaster.gateway.observability import Observability
from paymaster.gateway.service import AccessPolicy
from paymaster.gateway.serving import GatewayConfig, RunningGateway, in_background, listen
from paymaster.ledgers.urls import open_ledger
from paymaster.options import configure
from paymaster.providers.scripted.script import Script
from paymaster.providers.scripted.server import ScriptedServer
from paymaster.runtime import BlockingRuntime, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CHAT = {"messages": [{"role": "user", "content": "Hello"}]}
POLICIES = {
    "budget_usd_per_run": 5,
    "budget_usd_per_instance": 4,
    "hard_stop_on_budget": True,
    "max_wait_s": 0.05,
    "budgets": [
        {"usd": 7, "per": ["user", "month"]},
        {"usd": 8, "per": ["key"]},
        {"usd": 9, "per": ["batch", "model"]},
        {"usd": 30, "per": ["month"]},
    ],
}
BENS = ("ben", "bens-run", "bens-batch", "bens-task", "bens-role", "bens-tag", "bens-model", "0.0077", "1234.5", "1,234.5")
"""Names, a model of ben's key alone, what ben's calls cost, and the cap of ben's key."""


class Answer(NamedTuple):
    status: int
    text: str


class Team(NamedTuple):
    """A gateway with the keys of two users and of an operator; ben has made two calls."""

    running: RunningGateway
    address: tuple[str, int]
    secrets: dict[str, str]
    ben: KeyEntry
    ledger: Path

    def spent(self) -> dict[str, int]:
        """What each budget has spent, in nano-dollars."""
        books = open_ledger(f"sqlite:{self.ledger}", BlockingRuntime().sleep)
        try:
            return {account: balance.settled for account, balance in run(books.balances("usd", 0)).items()}
        finally:
            run(books.close())

    def fetch(self, method: str, path: str, user: str, body: object = None, **names: str) -> Answer:
        headers = {"authorization": f"Bearer {self.secrets[user]}", **{f"x-paymaster-{name}": value for name, value in names.items()}}
        with closing(http.client.HTTPConnection(*self.address, timeout=60)) as connection:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            heads = "\n".join(f"{name}: {value}" for name, value in answer.getheaders() if name.lower() != "date")
            return Answer(answer.status, f"{heads}\n{answer.read().decode()}")

    def ask(self, user: str, model: str = "shared", **names: str) -> Answer:
        return self.fetch("POST", "/v1/chat/completions", user, {**CHAT, "model": model}, **names)


@pytest.fixture(name="team", scope="module")
def make_team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    tmp_path = tmp_path_factory.mktemp("team")
    usage = {"prompt_tokens": 200, "completion_tokens": 750}
    models = {"shared": {"usage": {"prompt_tokens": 100, "completion_tokens": 10}}, "bens-model": {"usage": usage}}
    script = Script.model_validate({"models": {name: {"prices": PRICES, **model} for name, model in models.items()}})
    keys, secrets = KeyStore(tmp_path / "gateway-keys.json"), dict[str, str]()
    _, secrets["ann"] = create_key(keys.path, NewKey(user="ann", usd=Decimal(3), per="month", models=("shared",), max_parallel=5), 1)
    ben, secrets["ben"] = create_key(keys.path, NewKey(user="ben", usd=Decimal("1234.5"), per="day", rpm=77, max_parallel=6), 1)
    _, secrets["poor"] = create_key(keys.path, NewKey(user="ann", usd=Decimal("0.00001")), 1)
    _, secrets["slow"] = create_key(keys.path, NewKey(user="ann", rpm=1), 1)
    _, secrets["operator"] = create_key(keys.path, NewKey(user="olga", operator=True), 1)
    observability, registry = Observability({}), tmp_path / "registry.yaml"
    with ScriptedServer(script) as provider:
        write_registry(registry, provider, list(models), POLICIES, {})
        options = {"run": "serve-1", "state_dir": tmp_path / "state"}
        config = GatewayConfig(
            read_options=lambda: observability.add_listeners(configure(registry, options)),
            access=AccessPolicy(find_key=keys.find, needs_key=keys.has_any, keys_of=keys.ids_of),
            extra_routes=(observability.routes,),
        )
        server_socket = listen("127.0.0.1", 0)
        with in_background(config, server_socket) as running:
            team = Team(running, server_socket.getsockname(), secrets, ben, tmp_path / "state" / "ledger.sqlite3")
            names = {"run": "bens-run", "batch": "bens-batch", "instance": "bens-task", "role": "bens-role", "tag-x": "bens-tag"}
            assert team.ask("ben", "bens-model", **names).status == 200
            assert team.ask("ben", "bens-model", run="bens-run").status == 200
            yield team


class Seen(NamedTuple):
    """A request, the status that a user's key gets, and what the answer must have in it."""

    method: str
    path: str
    status: int = 200
    body: object = None
    text: str = ""


EVERY_ROUTE = (
    Seen("POST", "/v1/chat/completions", body={**CHAT, "model": "shared"}),
    Seen("POST", "/v1/chat/completions", 404, {**CHAT, "model": "unknown"}, "Known models: shared."),
    Seen("POST", "/chat/completions", body={**CHAT, "model": "default"}),
    Seen("POST", "/v1/responses", body={"model": "shared", "input": "Hello"}),
    Seen("POST", "/v1/responses/compact", body={"model": "shared", "input": "Hello"}),
    Seen("POST", "/v1/responses/input_tokens", body={"model": "shared", "input": "Hello"}),
    Seen("GET", "/v1/responses/{id}", 400),
    Seen("GET", "/v1/responses/resp_1", 400, text="known to this key"),
    Seen("POST", "/v1/responses/{id}/cancel", 400, {}),
    Seen("GET", "/v1/responses/{id}/input_items", 400),
    Seen("POST", "/v1/completions", body={"model": "shared", "prompt": "Hello"}),
    Seen("POST", "/v1/embeddings", 400, {"model": "shared", "input": "Hello"}),
    Seen("POST", "/embeddings", 400, {"model": "shared", "input": "Hello"}),
    Seen("POST", "/v1/messages", body={**CHAT, "model": "shared", "max_tokens": 10}),
    Seen("POST", "/v1/messages/count_tokens", body={**CHAT, "model": "shared"}),
    Seen("GET", "/v1/models", text='"shared"'),
    Seen("GET", "/models", text='"shared"'),
    Seen("GET", "/v1/models/shared", text='"shared"'),
    Seen("GET", "/v1/models/unknown", 404, text="Known models: shared."),
    Seen("GET", "/v1/model/info", text='"shared"'),
    Seen("GET", "/v1/model_group/info", text='"shared"'),
    Seen("GET", "/v1/key/info", text='"user_id":"ann"'),
    Seen("GET", "/v1/key/info?key=ben", 403),
    Seen("GET", "/v1/user/info", text='"user_id":"ann"'),
    Seen("GET", "/v1/user/info?user_id=olga", 403),
    Seen("POST", "/openai/deployments/shared/chat/completions?api-version=1", body=CHAT),
    Seen("POST", "/openai/deployments/unknown/chat/completions", 404, CHAT, "Known models: shared."),
    Seen("GET", "/health"),
    Seen("GET", "/openapi.json"),
    Seen("GET", "/healthz"),
    Seen("GET", "/readyz"),
    Seen("GET", "/metrics", 403, text="operator"),
    Seen("GET", "/", text="The calls and budgets of ann"),
    Seen("GET", "/?range=7d", text="run ann/anns-run"),
    Seen("GET", "/dashboard/live", text="user ann"),
    Seen("GET", "/dashboard/style.css"),
    Seen("GET", "/dashboard/live.js"),
    Seen("GET", "/nowhere", 404),
    Seen("PUT", "/v1/models", 405),
)


def test_a_users_pages_have_nothing_of_another_user(team: Team) -> None:
    assert team.ask("ann", run="anns-run", batch="anns-batch", instance="anns-task").status == 200
    for seen in EVERY_ROUTE:
        status, text = team.fetch(seen.method, seen.path, "ann", seen.body)
        assert (seen.path, status) == (seen.path, seen.status), text
        assert seen.text in text, seen.path
        assert [word for word in (*BENS, team.ben.id, "olga") if word in text] == [], seen.path


def test_the_table_has_every_route(team: Team) -> None:
    routes = [*gateway_routes(team.running.service), *Observability({}).routes(team.running.service)]
    paths = {route.path.replace("{name:path}", "shared") for route in routes if isinstance(route, Route)}
    assert paths <= {seen.path for seen in EVERY_ROUTE}


def test_an_operator_sees_everybody(team: Team) -> None:
    for path in ("/", "/dashboard/live"):
        status, text = team.fetch("GET", path, "operator")
        assert status == 200
        for shown in ("run ben/bens-run", "user ben", f"key {team.ben.id}", "bens-model", "instance ben/bens-batch:bens-task"):
            assert shown in text
    assert 'paymaster_budget_spent_usd{budget="run",model=""} 0.' in team.fetch("GET", "/metrics", "operator").text


def test_ben_sees_the_own_budgets(team: Team) -> None:
    text = team.fetch("GET", "/", "ben").text
    for shown in ("run ben/bens-run", "user ben", f"key {team.ben.id}", "bens-model", "month 20"):
        assert shown in text


@pytest.mark.parametrize(("key", "status", "text"), [("poor", 402, "the budget of key"), ("slow", 429, "requests/key/")])
def test_an_error_names_only_the_callers_own_accounts(key: str, status: int, text: str, team: Team) -> None:
    names = {"run": "anns-run", "batch": "anns-batch", "instance": "anns-task"}
    answers = [team.ask(key, **names) for _ in range(2)]
    assert answers[-1].status == status
    assert text in answers[-1].text
    assert [word for word in (*BENS, team.ben.id) if word in answers[-1].text] == []


def test_a_user_can_not_spend_what_another_named(team: Team) -> None:
    names = {"run": "bens-run", "batch": "bens-batch", "instance": "bens-task"}
    before = team.spent()
    assert team.ask("ann", **names).status == 200
    after = team.spent()
    assert {account: after[account] - spent for account, spent in before.items() if "ben" in account} == {
        account: 0 for account in before if "ben" in account
    }
    assert {account for account in after.keys() - before.keys() if "/bens-" in account} == {
        "usd/~ann/run/bens-run",
        "usd/~ann/batch/bens-batch/model/shared",
        "usd/~ann/instance/bens-batch:bens-task",
    }


@pytest.mark.parametrize(
    ("names", "accounts"),
    [
        ({}, {"usd/run/serve-1", "usd/batch/serve-1/model/shared", "usd/instance/serve-1:-"}),
        ({"run": "r"}, {"usd/~ann/run/r", "usd/~ann/batch/r/model/shared", "usd/~ann/instance/r:-"}),
        ({"batch": "b"}, {"usd/run/serve-1", "usd/~ann/batch/b/model/shared", "usd/~ann/instance/b:-"}),
        ({"instance": "i"}, {"usd/run/serve-1", "usd/batch/serve-1/model/shared", "usd/~ann/instance/serve-1:i"}),
        (
            {"run": "r/user/ben"},
            {"usd/~ann/run/r%2Fuser/ben", "usd/~ann/batch/r%2Fuser/ben/model/shared", "usd/~ann/instance/r%2Fuser/ben:-"},
        ),
        (
            {"run": "~ben/bens-run"},
            {"usd/~ann/run/~ben/bens-run", "usd/~ann/batch/~ben/bens-run/model/shared", "usd/~ann/instance/~ben/bens-run:-"},
        ),
    ],
)
def test_what_a_caller_names_is_its_users_and_the_servers_run_is_everybodys(names: dict[str, str], accounts: set[str], team: Team) -> None:
    before = team.spent()
    assert team.ask("ann", **names).status == 200
    after = team.spent()
    charged = {account for account, spent in after.items() if spent != before.get(account, 0)}
    assert {account for account in charged if (dimensions_of(account) or {}).keys() & {"run", "batch", "instance"}} == accounts


def test_commands_show_and_correct_an_own_run(team: Team, run_paymaster: Callable[..., tuple[int, str, str]]) -> None:
    ledger = ("--ledger", f"sqlite:{team.ledger}", "--state-dir", str(team.ledger.parent))
    for wanted in ("bens-run", "ben/bens-run"):
        assert "run ben/bens-run" in run_paymaster("status", "--run-id", wanted, *ledger)[1]
        assert (
            json.loads(run_paymaster("report", "--by", "run", "--run-id", wanted, "--json", *ledger)[1])["rows"][0]["run"] == "ben/bens-run"
        )
    assert "ben/bens-run" in run_paymaster("report", "--by", "run", *ledger)[1]
    assert "bens-run/bens-task (ben)" in run_paymaster("top", "--once", "--calls", "200", "--run-id", "ben/bens-run", *ledger)[1]
    assert "did you mean usd/~" in run_paymaster("ledger", "adjust", "bens-run", "--usd", "-1", "--reason", "x", *ledger)[2]
    adjusted = run_paymaster("ledger", "adjust", "usd/~ben/run/bens-run", "--usd", "-0.0001", "--reason", "a refund", *ledger)
    assert adjusted[0] == 0
    corrections = run_paymaster("report", "--by", "run", "--run-id", "ben/bens-run", "--csv", *ledger)[1]
    assert "a refund" in corrections
    assert "a refund" not in run_paymaster("report", "--by", "run", "--run-id", "ann/bens-run", "--csv", *ledger)[1]
    assert run_paymaster("ledger", "verify", *ledger)[0] == 0
