"""A model with several endpoints in the commands that show a registry, and in a program."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from paymaster.client import Client

MODELS = """\
models:
  m:
    provider: openai_compatible
    model_id: fast
    usd_per_1m_input: 1
    usd_per_1m_output: 4
    context_window: 8000
    max_output_tokens: 500
    rpm: 50
    endpoints:
      - {{name: direct, base_url: '{url}', rpm: 1000}}
      - {{name: eu, base_url: '{url}', model_id: faulty, weight: 2}}
      - {{name: keyed, base_url: '{url}', api_key_env: EU_KEY, extra_headers: {{X-Team: $TEAM}}}}
    balance: order
    affinity: none
policies: {{hard_stop_on_budget: true, budget_usd_per_run: 0.05}}
"""


@pytest.fixture
def file(server) -> Path:
    path = Path("endpoints.yaml")
    path.write_text(MODELS.format(url=server.base_url))
    return path


def rows(text: str, title: str) -> dict[str, str]:
    """The rows of a table by their first word."""
    table = text.split(f"{title}\n")[1].partition("\n\n")[0]
    return {line.split()[0]: line for line in table.splitlines()[1:]}


def test_check_has_a_row_for_each_endpoint(paymaster, file, server, monkeypatch):
    monkeypatch.setenv("TEAM", "secret-team-of-ours")
    ended = paymaster("check", file)
    assert ended.status == 0
    assert "1 model with 3 endpoints, 2 with all keys set; default m." in ended.out
    models, endpoints = rows(ended.out, "Models"), rows(ended.out, "Endpoints and keys")
    assert list(models) == list(endpoints) == ["m/direct", "m/eu", "m/keyed"]
    for place, texts in {"m/direct": ("rpm 1,000",), "m/eu": ("faulty", "rpm 50, weight 2", "$1 in, $4 out")}.items():
        assert all(text in models[place] for text in texts), models[place]
    assert server.base_url in endpoints["m/eu"]
    assert "EU_KEY is not set" in endpoints["m/keyed"]
    assert ended.err == "Warning: m/keyed can't be called: EU_KEY is not set\n"
    assert rows(ended.out, "Policy")["balance"].split()[-4:] == ["order", "registry", "line", "14"]
    shown = paymaster("check", file, "--origins").out + paymaster("check", file, "--json").out
    assert "secret-team-of-ours" not in shown + ended.out + ended.err


def test_check_as_json_has_the_endpoints_of_each_model(paymaster, file):
    shown = json.loads(paymaster("check", file, "--json").out)
    [model] = shown["models"]
    assert [each["place"] for each in model["endpoints"]] == ["m/direct", "m/eu", "m/keyed"]
    assert [each["limits"]["rpm"]["origin"] for each in model["endpoints"]] == [f"registry line {line}" for line in (11, 9, 9)]
    assert (model["balance"]["value"], model["key_missing"]) == ("order", None)
    assert shown["warnings"] == [
        "m/keyed can't be called: EU_KEY and TEAM are not set (TEAM in models.m.endpoints[2].extra_headers.X-Team, line 13)"
    ]


def test_live_asks_each_endpoint(paymaster, file, monkeypatch):
    monkeypatch.setenv("EU_KEY", "k")
    monkeypatch.setenv("TEAM", "t")
    ended = paymaster("check", file, "--live")
    assert ended.status == 1
    assert {place: row.split()[1] for place, row in rows(ended.out, "Live check").items() if "/" in place} == {
        "m/direct": "yes",
        "m/eu": "no",
        "m/keyed": "yes",
    }


def test_a_variable_that_is_not_set_does_not_end_the_program(tmp_path, server):
    path = tmp_path / "r.yaml"
    common = f"{{provider: openai_compatible, base_url: '{server.base_url}', model_id: fast, price: free"
    path.write_text(
        f"default: a\nmodels:\n  a: {common}, extra_headers: {{X: $NOT_SET}}}}\n  b: {common}}}\npolicies: {{fallback_chain: [a, b]}}\n"
    )
    with Client(path, state_dir=tmp_path, environ={}) as client:
        assert client.complete([{"role": "user", "content": "Why?"}]).model == "b"
