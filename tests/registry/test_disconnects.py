"""Which endpoints stop when the connection goes: the provider's own statement, with a source, or the registry's."""

from __future__ import annotations

import pytest

from paymaster.registry.disconnects import OPENROUTER
from paymaster.registry.provider_facts import PROVIDERS

MODEL = "{models: {m: {provider: %s, model_id: openai/gpt-4o%s}}}"


def test_every_fact_has_a_source_and_a_date():
    stated = {facts.id: facts.stops for facts in PROVIDERS if facts.stops is not None}
    assert stated == {"openrouter": OPENROUTER}
    assert OPENROUTER.source.startswith("openrouter.ai/")
    assert len(OPENROUTER.stated_on) == len("2026-11-30")


@pytest.mark.parametrize(
    ("provider", "more", "source", "tokens_per_second"),
    [
        ("openrouter", "", OPENROUTER.source, 1_000),
        ("openrouter", ", max_tokens_per_second: 3000", OPENROUTER.source, 3_000),
        ("openrouter", ", stops_on_disconnect: false", None, None),
        ("openrouter", ", base_url: 'http://10.0.0.1'", None, None),
        ("openai", "", None, None),
        ("openai", ", max_tokens_per_second: 3000", None, None),
        ("openai", ", stops_on_disconnect: true", "registry line 1", 1_000),
        ("vllm", ", stops_on_disconnect: true, max_tokens_per_second: 50", "registry line 1", 50),
    ],
)
def test_the_registry_wins_over_the_provider(load, provider, more, source, tokens_per_second):
    model = load(MODEL % (provider, more)).models["m"]
    if source is None:
        assert model.stops is None
    else:
        assert (model.stops.source, model.stops.tokens_per_second) == (source, tokens_per_second)
        assert model.origins["stops_on_disconnect"].startswith(source)


def test_the_registry_s_own_statement_covers_every_answer(load):
    model = load(MODEL % ("openrouter", ", stops_on_disconnect: true")).models["m"]
    assert model.stops.holds_for(None)
    assert not OPENROUTER.holds_for(None)
    assert OPENROUTER.holds_for("OpenAI")


@pytest.mark.parametrize(("capabilities", "unseen"), [("", True), (", capabilities: []", False), (", capabilities: [reasoning]", True)])
def test_a_model_may_reason_unseen_unless_its_capabilities_say_it_does_not(load, capabilities, unseen):
    text = "{models: {m: {provider: openai_compatible, base_url: 'http://10.0.0.1', model_id: mine%s}}}"
    assert load(text % capabilities).models["m"].may_reason_unseen is unseen


@pytest.mark.parametrize(
    ("written", "estimates"), [("", True), ("interrupted_calls: estimate", True), ("interrupted_calls: full_hold", False)]
)
def test_interrupted_calls_are_estimated_unless_the_policy_says_full_hold(load, written, estimates):
    text = "{models: {m: {provider: openai, model_id: gpt-4o}}, policies: {%s}}"
    assert load(text % written).policy.estimates_interrupted is estimates
