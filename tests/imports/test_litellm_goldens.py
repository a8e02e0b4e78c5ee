"""Configs of LiteLLM's shapes become the registries and findings that are kept beside them, and these load."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from imports.goldens import FOLDER, NAMES, RESULTS, read, results
from paymaster.accounting.prices.catalogue import Catalogue
from paymaster.imports.findings import Outcome, fields_of
from paymaster.imports.litellm.importing import import_config
from paymaster.imports.litellm.including import Joined
from paymaster.registry.completing import Sources
from paymaster.registry.loading import read_registry
from paymaster.registry.model_data import ModelData
from paymaster.registry.overrides import Overrides
from paymaster.registry.yamltext import read_file, read_yaml

SECRET_PARTS = (
    "Zx81aQ0p", "Mn34bV56", "Qw12Er34", "Aa11Bb22", "Ff66Gg77", "Ll22Mm33", "Qq77Rr88", "Tt00Uu11", "Yy55Zz66", "Cc99Dd00", "55aa66bb",
    "0a1b2c3d",
)  # fmt: skip
"""Of every secret in the golden config `literal-keys`."""


@pytest.fixture(scope="module")
def sources() -> Sources:
    at = datetime(2026, 11, 23, 12, tzinfo=UTC)
    return Sources(catalogue=Catalogue(), model_data=ModelData(), environ={}, at=at, directory=Path("/where/it/is"))


@pytest.mark.parametrize("name", NAMES)
def test_a_config_becomes_what_is_kept_beside_it(name):
    made = results(name)
    assert {file: (FOLDER / name / file).read_text(encoding="utf-8") for file in RESULTS} == made


@pytest.mark.parametrize("name", NAMES)
def test_the_registry_loads(name, sources):
    made = read(name)
    document = read_yaml(made.text, "registry.yaml")
    assert document.tree == made.tree
    registry = read_registry(document, Overrides(), sources)
    assert registry.models[registry.default].name == registry.default


@pytest.mark.parametrize("name", NAMES)
def test_every_field_has_one_finding(name):
    paths = [finding.path for finding in read(name).findings if finding.file == "config.yaml"]
    tree = read_yaml(read_file(FOLDER / name / "config.yaml"), "config.yaml").tree
    assert sorted(map(repr, paths)) == sorted(map(repr, fields_of(tree)))


def test_the_example_of_the_page_is_what_its_config_becomes():
    page = (Path(__file__).parents[2] / "docs" / "litellm.md").read_text(encoding="utf-8")
    config, registry = re.findall(r"^```yaml\n(.*?)^```", page, flags=re.DOTALL | re.MULTILINE)
    assert import_config(Joined(read_yaml(config, "config.yaml"))).tree == read_yaml(registry, "registry.yaml").tree


def test_no_secret_is_in_any_result():
    config = (FOLDER / "literal-keys" / "config.yaml").read_text(encoding="utf-8")
    written = "\n".join(results("literal-keys").values()) + str(read("literal-keys").findings)
    for part in SECRET_PARTS:
        assert part in config
        assert part not in written


def test_together_the_configs_have_every_outcome_often():
    outcomes = [finding.outcome for name in NAMES for finding in read(name).findings]
    assert min(outcomes.count(outcome) for outcome in Outcome) > 50
