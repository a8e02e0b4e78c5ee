"""A name that ends in `*` is a family of models: each is completed when it is asked for, as if the registry named it."""

# ruff: noqa: E501 -- a row of a table is an input and its whole message

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest

from paymaster.cli.registry_tables import warnings
from paymaster.errors import RequestInvalid
from paymaster.registry.completing import override_registry
from paymaster.registry.describe import describe
from paymaster.registry.families import LONGEST_NAME, MOST_MEMBERS, Family, FamilyTable, family_of, member_of, part_of
from paymaster.registry.overrides import read_overrides
from paymaster.routing.budgets import budget_accounts
from paymaster.routing.chains import chain, has_name, resolve
from paymaster.scope import Scope

TEXT = """\
default: openai/gpt-4o
models:
  openai/*: {provider: openai, rpm: 100, budget_usd_per_day: 5, fallbacks: [openrouter/*, claude]}
  openai/o*: {provider: openai, rpm: 5}
  openrouter/*: {provider: openrouter}
  claude: {provider: anthropic, model_id: claude-sonnet-5, aliases: [fast]}
  openai/gpt-4o-mini: {provider: openai, model_id: gpt-4o-mini, rpm: 7}
  vllm/*: {provider: vllm, endpoints: [{name: a, base_url: http://a}, {name: b, base_url: http://b, model_id: org/*}]}
policies:
  fallback_chain: [claude, openai/gpt-4.1, openrouter/*]
  budgets: [{usd: 9, per: total, models: ["openai/*", claude]}, {usd: 8, per: [model, day]}, {usd: 1, per: total, models: [openai/gpt-4o]}]
"""


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("openai/gpt-4o", "openai/*"),
        ("openai/o3", "openai/o*"),
        ("openai/", "*"),
        ("openai/o", "openai/*"),
        (" ", None),
        ("openai/*", None),
        ("openai/a*b", None),
        ("other/x", "*"),
        ("gpt", "*"),
        ("", None),
        ("gp\nt", None),
        ("x" * LONGEST_NAME, "*"),
        ("x" * (LONGEST_NAME + 1), None),
    ],
)
def test_the_family_with_the_longest_beginning_has_a_name(name, family):
    assert family_of(name, ["*", "openai/*", "openai/o*", "openai/gpt-4o-mini", "plain"]) == family


def test_a_member_stands_for_what_follows_the_last_slash_of_the_family():
    parts = {
        family: part_of(name, family) for family, name in {"a/*": "a/x/y", "a/x*": "a/x3", "*": "a/x", "g*": "g4", "a/b/*": "a/b/c"}.items()
    }
    assert parts == {"a/*": "x/y", "a/x*": "x3", "*": "a/x", "g*": "g4", "a/b/*": "c"}
    assert [member_of(family, parts[family]) for family in parts] == ["a/x/y", "a/x3", "a/x", "g4", "a/b/c"]


def test_members_are_made_once_and_bounded():
    made: list[str] = []

    def make(name: str) -> str:
        made.append(name)
        return name.upper()

    table = FamilyTable({"b": "own"}, {"a*": Family(make)})
    assert (table["ab"], table["ab"], table["b"], table.find("ac"), table.find("c"), list(table)) == ("AB", "AB", "own", "AC", None, ["b"])
    assert made == ["ab", "ac"]
    with pytest.raises(KeyError):
        table["a"]
    for number in range(MOST_MEMBERS * 3):
        table[f"a{number}"]
        assert len(table._made) <= MOST_MEMBERS


def test_a_member_is_complete(load):
    registry = load(TEXT)
    alone = load("models: {m: {provider: openai, model_id: gpt-4o}}").models["m"]
    member = registry.models["openai/gpt-4o"]
    assert (member.name, member.family, member.model_id, member.limits.rpm) == ("openai/gpt-4o", "openai/*", "gpt-4o", 100)
    assert (member.price, member.context_window, member.capabilities) == (alone.price, alone.context_window, alone.capabilities)
    assert member.origins["rpm"] == "registry line 3"
    assert (registry.models["openai/o3"].limits.rpm, registry.models["openai/o3"].model_id) == (5, "o3")
    assert (registry.models["openai/gpt-4o-mini"].family, registry.models["openai/gpt-4o-mini"].limits.rpm) == ("", 7)
    assert registry.models["openai/nobody-knows"].price is None
    assert registry.models["openrouter/openai/gpt-4o"].model_id == "openai/gpt-4o"
    assert registry.models["openai/gpt-4o"] is member


def test_a_family_may_have_endpoints(load):
    member = load(TEXT).models["vllm/qwen"]
    assert [(place.place, place.model_id, place.family) for place in member.places] == [
        ("vllm/qwen/a", "qwen", "vllm/*"),
        ("vllm/qwen/b", "org/qwen", "vllm/*"),
    ]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (None, ("openai/gpt-4o", "openrouter/gpt-4o", "claude")),
        ("openai/gpt-4.1", ("openai/gpt-4.1", "openrouter/gpt-4.1", "claude")),
        ("openai/o3", ("openai/o3", "claude", "openai/gpt-4.1", "openrouter/o3")),
        ("claude", ("claude", "openai/gpt-4.1")),
        ("fast", ("claude", "openai/gpt-4.1")),
        ("openrouter/x/y", ("openrouter/x/y",)),
        ("openai/gpt-4o-mini", ("openai/gpt-4o-mini", "claude", "openai/gpt-4.1")),
        ("openai/gpt-4o-mini-2024-07-18", ("openai/gpt-4o-mini", "claude", "openai/gpt-4.1")),
    ],
)
def test_a_chain_may_name_members_and_families(load, asked, expected):
    assert chain(load(TEXT), asked) == expected


def test_a_family_itself_is_no_model(load):
    registry = load(TEXT)
    with pytest.raises(RequestInvalid, match="is a family of models") as caught:
        resolve(registry, "openai/*")
    assert "such as 'openai/" in caught.value.advice
    only = load("models: {my/*: {provider: openai_compatible, base_url: http://x}}")
    with pytest.raises(RequestInvalid) as caught:
        resolve(only, None)
    assert "such as 'my/NAME'" in caught.value.advice
    assert resolve(only, "my/own") == "my/own"
    assert (has_name(only, "my/own"), has_name(only, "own"), has_name(only, "my/*")) == (True, False, True)
    with pytest.raises(RequestInvalid, match="not in the registry"):
        resolve(only, "own")


def test_budgets_are_those_of_the_family(load):
    registry = load(TEXT)

    def accounts(name: str) -> list[str]:
        return [each.account for each in budget_accounts(registry.models[name], registry.policy, Scope(run="r"), 0)]

    of_all, of_family = "usd/models/claude+openai/*", "usd/model/openai/*/day/1970-01-01"
    assert {name.replace("openai/*+claude", "claude+openai/*") for name in accounts("openai/gpt-4.1")} == {
        of_all,
        of_family,
    }
    assert "usd/models/openai/gpt-4o" in accounts("openai/gpt-4o")
    assert accounts("openai/gpt-4o-mini") == ["usd/model/openai/gpt-4o-mini/day/1970-01-01"]


def test_a_change_of_all_models_reaches_members(load):
    registry = load(TEXT, flags={"rpm_limit": 3})
    assert registry.models["openai/gpt-4o"].limits.rpm == 3
    later = override_registry(load(TEXT), replace(read_overrides({"rpm_limit": 4}, {})))
    assert (later.models["openai/gpt-4o"].limits.rpm, later.models["claude"].limits.rpm) == (4, 4)
    again = replace(later, models={"claude": later.models["claude"]})
    assert again.models["openai/gpt-4o"].limits.rpm == 4


def test_known_members_are_listed(load, model_data):
    names = load(TEXT).families["openai/*"].known()
    assert "openai/gpt-4o" in names
    assert len(names) == len(model_data.names("openai"))
    assert load(TEXT).families["vllm/*"].known() == ()
    few = load(TEXT).families["openai/o*"].known()
    assert "openai/o3" in few
    assert all(name.startswith("openai/o") for name in few)


def test_a_family_is_described_without_warnings(load):
    described = describe(load(TEXT), {})
    [row] = [row for row in described.models if row.name == "openai/*"]
    assert (row.price.value, row.model_id.value, row.key_missing) == ("by model", "*", "OPENAI_API_KEY")
    assert not [text for text in warnings(described) if "price" in text]
    json.dumps(asdict(described))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("models: {openai/*: {provider: openai, aliases: [x]}}", "1: models.openai/*.aliases[0]: openai/* is a family of models, and 'x' names none of them (give the model a name of its own)"),
        ("models: {openai/*: {provider: openai, fallbacks: [groq/x]}}", "1: models.openai/*.fallbacks[0]: unknown model 'groq/x' (known: openai/*)"),
        ("models: {openai/*: {provider: openai, fallbacks: [openai/*]}}", "1: models.openai/*.fallbacks[0]: openai/* can't fall back to itself"),
        ("models: {openai/*: {provider: openai}, a: {provider: ollama}}", "1: default: is missing; it is needed with more than one model and no fallback_chain (default: a)"),
        ("models: {openai/*/*: {provider: openai}}", "1: models.openai/*/*: only the end of a name can be a *, for a family of models (openai/*)"),
        ("models: {a*b: {provider: openai}}", "1: models.a*b: only the end of a name can be a *, for a family of models (openai/*)"),
        ("models: {a*: {provider: openai, model_id: '*-*'}}", "1: models.a*.model_id: can have one *, for what follows in the names of the family (model_id: eu.anthropic.*)"),
        ("models: {a: {provider: openai, model_id: gpt-*}}", "1: models.a.model_id: has a *, and a is no family of models (end the model's name in *, too)"),
        ("default: groq/x\nmodels: {openai/*: {provider: openai}}", "1: default: unknown model 'groq/x' (known: openai/*)"),
    ],
)  # fmt: skip
def test_mistakes_in_families(problems, text, expected):
    assert problems(text) == [expected]
