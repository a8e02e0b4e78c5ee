"""Every registry in the documentation loads unchanged, and its figures are those of the code."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from paymaster.accounting.prices.catalogue import Catalogue
from paymaster.agents.sampling import PUBLISHED
from paymaster.registry.completing import Sources
from paymaster.registry.loading import read_registry
from paymaster.registry.model_data import ModelData
from paymaster.registry.overrides import Overrides
from paymaster.registry.sections import registry_part
from paymaster.registry.yamltext import read_yaml

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
HOSTED_ONLY = {"claude", "gemini-3", "gpt-5", "gpt-6"}


def registries() -> list[object]:
    """Every block of YAML that is a registry: one in which each model names its provider."""
    found = []
    for page in PAGES:
        for block in re.finditer(r"^```yaml\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE):
            tree = YAML(typ="safe", pure=True).load(block[1])
            section = tree.get("model_registry", tree) if isinstance(tree, dict) else {}
            models = section.get("models") if isinstance(section, dict) else None
            if isinstance(models, dict) and all(isinstance(model, dict) and "provider" in model for model in models.values()):
                line = page.read_text(encoding="utf-8")[: block.start()].count("\n") + 2
                found.append(pytest.param(block[1], id=f"{page.stem}-{line}"))
    return found


@pytest.mark.parametrize("text", registries())
def test_a_registry_in_the_documentation_loads_unchanged(text):
    sources = Sources(catalogue=Catalogue(), model_data=ModelData(), environ={"TEAM": "x"}, at=datetime.now(UTC), directory=ROOT)
    document = read_yaml(text, "example")
    registry = read_registry(registry_part(document) if "agent:" in text else document, Overrides(), sources)
    assert registry.models


def test_the_page_on_models_has_its_examples():
    assert sum(1 for one in registries() if one.id.startswith("models-")) >= 9


@pytest.mark.parametrize("name", ["A hosted model", "A model on your own machine", "Prices", "Budgets", "Fallbacks"])
def test_every_model_of_the_examples_has_a_price(name):
    section = (ROOT / "docs" / "models.md").read_text(encoding="utf-8").partition(f"\n## {name}\n")[2].partition("\n## ")[0]
    for text in re.findall(r"^```yaml\n(.*?)^```", section, flags=re.DOTALL | re.MULTILINE):
        sources = Sources(catalogue=Catalogue(), model_data=ModelData(), environ={}, at=datetime.now(UTC), directory=ROOT)
        for model in read_registry(read_yaml(text, "example"), Overrides(), sources).models.values():
            assert model.price is not None, (name, model.name)


def test_the_recommended_settings_are_those_of_the_code():
    page = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w.-]+)` \| ([\d.]+) \| ([\d.]+) \| (.*) \|$", page, flags=re.MULTILINE)
    assert rows == [
        (name, sampling.temperature, sampling.top_p, sampling.source) for name, sampling in PUBLISHED if name not in HOSTED_ONLY
    ]
