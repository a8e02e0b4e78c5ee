"""Names that no registry has as they are: with a date, without it, a provider's own, with a mark of Claude Code."""

from dataclasses import replace

import pytest

from call_box import model, registry
from paymaster.errors import RequestInvalid
from paymaster.registry.models import Model, Registry
from paymaster.routing.chains import has_name, resolve
from paymaster.routing.model_names import dated


def named(name: str, model_id: str = "", *aliases: str) -> Model:
    return model(name, model_id=model_id or name, aliases=aliases)


def of(*entries: Model) -> Registry:
    return registry(named("first", "x-1"), *entries)


@pytest.mark.parametrize(
    ("asked", "entry"),
    [
        # Claude Code's background calls, OpenAI's dated names, Google's.
        ("claude-haiku-4-5-20251001", named("claude-haiku-4-5")),
        ("gpt-4o-2024-08-06", named("gpt-4o")),
        ("claude-haiku-4-5@20251001", named("claude-haiku-4-5")),
        # The registry has the date, and the client does not.
        ("claude-haiku-4-5", named("claude-haiku-4-5-20251001")),
        ("claude-haiku-4-5", named("claude-haiku-4-5@20251001")),
        ("claude-haiku-4-5-20251001", named("claude-haiku-4-5@20251001")),
        ("gpt-4o-2024-08-06", named("gpt-4o-20240806")),
        # By the id at the provider, with the date or without it.
        ("claude-haiku-4-5-20251001", named("small", "claude-haiku-4-5-20251001")),
        ("claude-haiku-4-5-20251001", named("small", "claude-haiku-4-5")),
        ("claude-haiku-4-5", named("small", "claude-haiku-4-5-20251001")),
        ("gpt-4o-2024-08-06", named("small", "gpt-4o")),
        ("gpt-4o", named("small", "gpt-4o")),
        # By an alias.
        ("claude-haiku-4-5-20251001", named("small", "scripted", "claude-haiku-4-5")),
        ("claude-haiku-4-5", named("small", "scripted", "claude-haiku-4-5-20251001")),
        # The newest.
        ("claude-3-5-haiku-latest", named("claude-3-5-haiku")),
        ("claude-3-5-haiku-latest", named("claude-3-5-haiku-20241022")),
        ("claude-3-5-haiku", named("claude-3-5-haiku-latest")),
        # Claude Code's mark of a long window.
        ("claude-sonnet-4-5[1m]", named("claude-sonnet-4-5")),
        ("claude-sonnet-4-5-20250929[1m]", named("claude-sonnet-4-5")),
        ("main[1m]", named("big", "claude-sonnet-4-5", "main")),
    ],
)
def test_a_name_that_differs_by_a_date_is_found(asked: str, entry: Model) -> None:
    entries = of(entry)
    assert resolve(entries, asked) == entry.name
    assert not has_name(entries, asked)


@pytest.mark.parametrize(
    ("asked", "entry"),
    [
        ("gpt-4o-2024-08-06", named("gpt-4o", "gpt-4o-2024-11-20")),
        ("gpt-4o-2024-08-06", named("gpt-4o-2024-11-20", "gpt-4o")),
        ("gpt-4o-2024-08-06", named("small", "gpt-4o-2024-11-20")),
        ("gpt-4o-mini", named("gpt-4o")),
        ("gpt-4o-mini-2024-07-18", named("gpt-4o")),
        ("gpt-4o-2024-13-06", named("gpt-4o")),
        ("claude-haiku-4-5-2025100", named("claude-haiku-4-5")),
        ("claude-haiku-4-5-20251001-v2", named("claude-haiku-4-5")),
        ("kimi-k2-0905", named("kimi-k2")),
        ("claude-haiku-4", named("claude-haiku-4-5")),
        ("[1m]", named("claude-haiku-4-5")),
        ("gpt-4o-2024-08-06\n", named("gpt-4o")),
        ("gpt-4o-latest\n", named("gpt-4o")),
        ("gpt-4o-20\u0662\u0664-08-06", named("gpt-4o")),
    ],
)
def test_another_model_is_not_found(asked: str, entry: Model) -> None:
    with pytest.raises(RequestInvalid, match="is not in the registry"):
        resolve(of(entry), asked)


def test_the_nearest_match_counts() -> None:
    dated_id, undated, by_alias = named("a", "gpt-4o-2024-08-06"), named("gpt-4o", "other"), named("b", "gpt-4o")
    assert resolve(of(undated, by_alias, dated_id), "gpt-4o-2024-08-06") == "a"
    assert resolve(of(undated, by_alias), "gpt-4o-2024-08-06") == "gpt-4o"
    assert resolve(of(by_alias), "gpt-4o-2024-08-06") == "b"


def test_a_name_that_fits_several_models_is_refused() -> None:
    entries = of(named("a", "gpt-4o-2024-08-06"), named("b", "gpt-4o-2024-11-20"))
    with pytest.raises(RequestInvalid) as caught:
        resolve(entries, "gpt-4o")
    assert caught.value.message == "model 'gpt-4o' may be 'a' (gpt-4o-2024-08-06) or 'b' (gpt-4o-2024-11-20)"
    assert caught.value.advice == "Ask for one of these names, or add `aliases: [gpt-4o]` to one of them in the registry."
    assert resolve(entries, "gpt-4o-2024-11-20") == "b"


def test_an_unknown_name_gets_the_nearest_name_or_alias() -> None:
    with pytest.raises(RequestInvalid) as caught:
        resolve(of(named("big", "claude-sonnet-4-5", "main-model")), "main-modell")
    assert caught.value.advice == "Did you mean 'main-model'? Known models: first, big."


def test_the_registrys_own_names() -> None:
    entries = of(named("big", "claude-sonnet-4-5", "main"))
    assert [has_name(entries, name) for name in ("", "default", "first", "big", "main", "claude-sonnet-4-5")] == [True] * 5 + [False]
    assert [resolve(entries, name) for name in (None, "", "default", "first", "big", "main")] == ["first"] * 4 + ["big"] * 2


def test_the_date_of_a_name() -> None:
    assert dated("gpt-4o-2024-08-06") == ("gpt-4o", "20240806")
    assert dated("claude-haiku-4-5@latest") == ("claude-haiku-4-5", "")
    assert dated("qwen-2025-0806") == ("qwen-2025-0806", "")


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("claude-sonnet-5", "big"),
        ("eu.claude-sonnet-5", "big"),
        ("claude-sonnet-5-20261001", "big"),
        ("big", "big"),
        ("big-20261001", "big"),
    ],
)
def test_the_id_at_any_endpoint_names_the_model(asked: str, found: str) -> None:
    places = tuple(replace(named("big", model_id), endpoint=model_id) for model_id in ("claude-sonnet-5", "eu.claude-sonnet-5"))
    entries = of(replace(places[0], endpoint="", endpoints=places))
    assert resolve(entries, asked) == found
