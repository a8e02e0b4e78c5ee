"""Environment variables in addresses, headers and parameters: put in where they are set, named where they are not, never shown."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from paymaster.cli.registry_tables import warnings
from paymaster.registry.describe import describe
from paymaster.registry.provider_keys import first_key, missing_key, other_variables, secrets_of, unset_variables, with_variables
from paymaster.registry.secrets import filled, variable_names
from paymaster.registry.variables import named_in, with_values

HOSTS = {"HOST": "gpu.example.com", "PORT": "8000", "BASE": "https://x.example.com/v9", "EMPTY": " "}


@pytest.mark.parametrize(
    ("text", "names", "result"),
    [
        ("$A", ("A",), "1"),
        ("${A}", ("A",), "1"),
        ("x-$A-${B}y", ("A", "B"), "x-1-2y"),
        ("$A$A", ("A",), "11"),
        ("$Ab", ("Ab",), "$Ab"),
        ("${C}", ("C",), "${C}"),
        ("$$A", (), "$A"),
        ("$$$A", ("A",), "$1"),
        ("$$$$", (), "$$"),
        ("5 $ or $5, ${}, ${A", (), "5 $ or $5, ${}, ${A"),
        ("plain", (), "plain"),
    ],
)
def test_a_variable_in_a_text(text, names, result):
    assert variable_names(text) == names
    assert filled(text, {"A": "1", "B": "2"}.get) == result


def test_variables_are_found_at_any_depth_but_not_in_references_of_a_schema():
    value = {"a": ["$X", {"b": "${Y}"}], "schema": {"$ref": "#/$defs/Z", "items": {"pattern": "^$W$"}}, "n": 5, "t": ("$X",)}
    assert list(named_in(value)) == [("X", ("a", 0)), ("Y", ("a", 1, "b")), ("W", ("schema", "items", "pattern")), ("X", ("t", 0))]
    assert with_values(value, {"X": "1", "Y": "2", "W": "w", "defs": "no"}.get) == {
        "a": ["1", {"b": "2"}],
        "schema": {"$ref": "#/$defs/Z", "items": {"pattern": "^w$"}},
        "n": 5,
        "t": ["1"],
    }


@pytest.mark.parametrize(
    ("written", "address"),
    [
        ("https://$HOST/v1", "https://gpu.example.com/v1"),
        ("http://${HOST}:$PORT", "http://gpu.example.com:8000/v1"),
        ("$BASE", "https://x.example.com/v9"),
        ("${BASE}/deep", "https://x.example.com/v9/deep"),
        ("https://x.example.com/$$5", "https://x.example.com/$5"),
        ("https://$NOT_SET/v1", "https://$NOT_SET/v1"),
        ("http://localhost:$NOT_SET", "http://localhost:$NOT_SET/v1"),
        ("$NOT_SET", "$NOT_SET"),
        ("https://$EMPTY/v1", "https://$EMPTY/v1"),
    ],
)
def test_an_address_has_the_values_of_its_variables(load, written, address):
    model = load(f"models: {{m: {{provider: openai, model_id: gpt-4o, base_url: '{written}'}}}}", environ=HOSTS).models["m"]
    assert (model.base_url or "").removesuffix("/v1") == address.removesuffix("/v1")
    unset = variable_names(address)
    assert (other_variables(model), tuple(model.variables)) == (unset, unset)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("$X", "no address"),
        ("https://$X/v1", "user:secret-word@host"),
        ("https://h/$X", "?key=secret-word"),
        ("http://h:$X", "secret-word"),
    ],
)
def test_a_value_that_makes_no_address_is_a_mistake_and_not_shown(problems, written, value):
    [problem] = problems(f"models:\n  m:\n    provider: vllm\n    base_url: '{written}'\n", environ={"X": value})
    assert problem == (
        "4: models.m.base_url: with the value of X this is no http:// or https:// address (it has no user, query or fragment)"
    )


@pytest.mark.parametrize("written", ["https://$USER:$PASS@host/v1", "https://host/v1?key=$KEY", "ftp://$HOST"])
def test_an_address_that_can_be_none_is_a_mistake_before_its_variables_are_known(problems, written):
    assert "models.m.base_url: must " in problems(f"models: {{m: {{provider: vllm, base_url: '{written}'}}}}")[0]


def test_headers_and_parameters_are_filled_only_for_the_request(load):
    text = """\
models:
  m:
    provider: vllm
    base_url: http://gpu
    extra_headers: {A: 'Bearer $ONE, ${TWO}', B: plain, C: $ONE, D: $$ONE}
    params: {extra_body: {user_tags: [$TWO, {x: '${THREE}'}]}, stop: $$, seed: 1}
"""
    model = load(text, environ={"ONE": "1"}).models["m"]
    assert model.extra_headers["C"] == "$ONE"
    assert other_variables(model) == ("ONE", "TWO", "THREE")
    filled_in = with_variables(model, {"ONE": "1", "TWO": "2", "THREE": "3"})
    assert filled_in.extra_headers == {"A": "Bearer 1, 2", "B": "plain", "C": "1", "D": "$ONE"}
    assert filled_in.params == {"extra_body": {"user_tags": ["2", {"x": "3"}]}, "stop": "$", "seed": 1}
    assert unset_variables(model, {"ONE": "1", "TWO": ""}) == ("TWO", "THREE")
    assert with_variables(model, {"ONE": "1"}).extra_headers["A"] == "Bearer 1, ${TWO}"
    assert {"Bearer 1, 2", "2", "3"} <= set(secrets_of([model], {"ONE": "1", "TWO": "2", "THREE": "3"}))
    assert "Bearer 1, 2" not in repr(filled_in)


TEXT = """\
model_registry:
  models:
    m:
      provider: openai
      model_id: gpt-4o
      extra_headers: {X-Team: $TEAM}
      endpoints:
        - {name: direct, api_key_env: KEY}
        - name: proxy
          base_url: https://$PROXY/v1
          params: {extra_body: {route: [$ROUTE]}}
          price: free
        - {name: other, provider: groq, account: x, price: free}
"""


@pytest.mark.parametrize(
    ("environ", "missing", "whole"),
    [
        ({"KEY": "k", "TEAM": "t", "OPENAI_API_KEY": "o", "PROXY": "p", "ROUTE": "secret-route", "GROQ_API_KEY": "g"}, {}, None),
        ({"KEY": "k", "TEAM": "t"}, {"m/proxy": "OPENAI_API_KEY, PROXY and ROUTE", "m/other": "GROQ_API_KEY"}, None),
        (
            {"OPENAI_API_KEY": "o", "PROXY": "p"},
            {"m/direct": "KEY and TEAM", "m/proxy": "TEAM and ROUTE", "m/other": "GROQ_API_KEY"},
            "KEY and TEAM or TEAM and ROUTE or GROQ_API_KEY",
        ),
    ],
)
def test_a_variable_that_is_not_set_is_like_a_missing_key(load, environ, missing, whole):
    registry = load(TEXT, environ=environ)
    model = registry.models["m"]
    assert {place.place: names for place in model.places if (names := missing_key(place, environ))} == missing
    assert missing_key(model, environ) == whole
    described = describe(registry, environ)
    assert described.models[0].key_missing == whole
    assert [text.partition(" can't")[0] for text in warnings(described)] == list(missing)
    assert "secret-route" not in json.dumps(asdict(described))


def test_what_is_not_set_is_named_with_key_and_line(load):
    team, proxy = "TEAM in models.m.extra_headers.X-Team, line 6", "models.m.endpoints[1]"
    route = f"ROUTE in {proxy}.params.extra_body.route[0], line 11"
    assert warnings(describe(load(TEXT), {"KEY": "k", "OPENAI_API_KEY": "o"})) == [
        f"m/direct can't be called: TEAM is not set ({team})",
        f"m/proxy can't be called: PROXY, TEAM and ROUTE are not set (PROXY in {proxy}.base_url, line 10; {team}; {route})",
        "m/other can't be called: GROQ_API_KEY is not set",
    ]


@pytest.mark.parametrize(("environ", "key"), [({}, None), ({"A": " "}, None), ({"B": "b"}, "b"), ({"A": "a", "B": "b"}, "a")])
def test_the_first_key_that_is_set_counts(load, environ, key):
    model = load("models: {m: {provider: openai, model_id: gpt-4o, api_key_env: [A, B]}}").models["m"]
    assert first_key(model, environ) == key
