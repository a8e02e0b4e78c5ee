"""Every preset loads unchanged, without a warning, with a price for each model."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from ruamel.yaml import YAML

import paymaster.registry.presets
from paymaster.errors import UsageMistake
from paymaster.registry.presets import PRESETS, read_preset
from paymaster.registry.schema import registry_json_schema


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_loads_without_warnings_and_knows_prices_limits_and_capabilities(load, name):
    registry = load(read_preset(name))
    assert registry.warnings == ()
    for model in registry.models.values():
        assert model.price is not None, model.name
        assert model.context_window, model.name
        assert model.max_output_tokens, model.name
        assert "function_calling" in model.capabilities, model.name
        assert model.base_url or model.adapter == "litellm", model.name


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_fits_the_json_schema(name):
    jsonschema.validate(json.loads(json.dumps(YAML(typ="safe", pure=True).load(read_preset(name)))), registry_json_schema())


def test_paid_presets_have_hard_budgets(load):
    for name in ("hosted", "open-source", "mixed", "batch", "flex", "openrouter"):
        policy = load(read_preset(name)).policy
        assert policy.hard_stop_on_budget
        assert {budget.per for budget in policy.budgets} >= {("run",), ("month",)}


def test_the_preset_for_batches_holds_streams_back_and_no_other_does(load):
    assert [name for name in PRESETS if load(read_preset(name)).policy.stream_recovery == "hold_back"] == ["batch"]


def test_local_presets_are_free_and_need_no_key(load):
    for name in ("local", "ollama", "vllm", "sglang", "llamacpp", "lmstudio"):
        for model in load(read_preset(name)).models.values():
            assert model.price.is_free
            assert not model.key_required


def test_every_file_is_a_preset_and_every_preset_a_file():
    folder = Path(paymaster.registry.presets.__file__).parent / "presets"
    assert {path.stem for path in folder.iterdir()} == set(PRESETS)


def test_an_unknown_preset_is_a_mistake_with_the_nearest_name():
    with pytest.raises(UsageMistake, match=r"unknown preset 'opensource' .did you mean open-source"):
        read_preset("opensource")
