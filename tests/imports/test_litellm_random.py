"""Whatever a config of LiteLLM's looks like: one clear error, or a registry without mistakes and a finding for each field."""

from __future__ import annotations

import random
from decimal import Decimal

import pytest

from imports.goldens import FOLDER, NAMES
from paymaster.errors import RegistryInvalid, UsageMistake
from paymaster.imports.findings import fields_of
from paymaster.imports.litellm.importing import Imported, import_config, variables_text
from paymaster.imports.litellm.including import Joined
from paymaster.registry.checking import check
from paymaster.registry.problems import Findings
from paymaster.registry.sections import read_sections
from paymaster.registry.yamltext import Document, read_file, read_yaml

CANARY = "sk-ant-Canary00Secret11Value22Hidden33"
JUNK = (
    None, True, False, 0, 1, -1, 10**40, Decimal("0.5"), Decimal("-1e400"), Decimal("nan"), "", " ", "x", "*", "a/b", "openai/gpt-4o", "1d",
    "os.environ/KEY", "os.environ/", "$", "default", "key/x", "a/endpoint/b", "\x07bell", "\u2028", "\N{PILE OF POO}", "https://[::1",
    "http://h/?k=v",
    "ftp://h", CANARY, [], {}, [None], [[]], {"": ""}, {"a": [{}]}, [{"model_name": "x"}], "null", "~", "- a", "a: b", "#", "1_000", "0x1f",
    "2026-11-30",
)  # fmt: skip
KEYS = ("model", "api_key", "api_base", "rpm", "weight", "order", "timeout", "fallbacks", "max_budget", "budget_duration", "mode", "id",
    "x y", "", "default",
        CANARY,
        "litellm_params", "model_name", "extra_body", "extra_headers", "input_cost_per_token", "output_cost_per_token", "base_model",
        "region_name")  # fmt: skip
SEEDS = range(20)


def places(tree, path=()):
    """The containers of a tree, each with its path."""
    if isinstance(tree, dict | list) and tree:
        yield tree
        for value in tree.values() if isinstance(tree, dict) else tree:
            yield from places(value, path)


def mutate(tree, chance: random.Random):
    """Change one value, key or list somewhere in the tree."""
    container = chance.choice(list(places(tree)))
    junk = chance.choice(JUNK)
    if isinstance(container, list):
        index = chance.randrange(len(container))
        match chance.randrange(4):
            case 0:
                container[index] = junk
            case 1:
                container.append(container[index])
            case 2:
                container.insert(index, junk)
            case _:
                del container[index]
        return
    key = chance.choice(list(container))
    match chance.randrange(5):
        case 0 | 1:
            container[key] = junk
        case 2:
            container[chance.choice(KEYS)] = container[key]
        case 3:
            container[chance.choice(KEYS)] = junk
        case _:
            del container[key]


def copied(tree):
    if isinstance(tree, dict):
        return {key: copied(value) for key, value in tree.items()}
    return [copied(item) for item in tree] if isinstance(tree, list) else tree


def imported(tree):
    """The import, or the error of a config that has nothing to import."""
    try:
        return import_config(Joined(Document("config.yaml", tree)))
    except (RegistryInvalid, UsageMistake) as error:
        return error


def without_nan(tree):
    """The tree with a text for NaN, which equals nothing."""
    if isinstance(tree, dict):
        return {key: without_nan(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [without_nan(item) for item in tree]
    return "NaN" if isinstance(tree, Decimal) and tree.is_nan() else tree


@pytest.mark.parametrize("name", NAMES)
def test_a_changed_config_has_a_finding_for_each_field(name):
    original = read_yaml(read_file(FOLDER / name / "config.yaml"), "config.yaml").tree
    for seed in SEEDS:
        chance = random.Random(f"{name} {seed}")
        tree = copied(original)
        for _ in range(chance.randint(1, 6)):
            if tree:
                mutate(tree, chance)
        made = imported(tree)
        if not isinstance(made, Imported):
            assert str(made).startswith("config.yaml"), (name, seed)
            continue
        assert [finding.path for finding in made.findings] == list(fields_of(tree)), (name, seed)
        document = read_yaml(made.text, "registry.yaml")
        problems = Findings(document)
        check(read_sections(document, problems, {}), problems)
        assert [str(problem) for problem in problems.problems] == [], (name, seed)
        assert without_nan(document.tree) == without_nan(made.tree), (name, seed)
        written = (
            made.text + variables_text("config.yaml", made.variables) + "".join(finding.field + finding.text for finding in made.findings)
        )
        assert CANARY not in written, (name, seed)
