"""Each example registry loads with prices and limits, and is listed on the page of the examples."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from paymaster.accounting.prices.catalogue import Catalogue
from paymaster.registry.completing import Sources
from paymaster.registry.loading import read_registry
from paymaster.registry.model_data import ModelData
from paymaster.registry.overrides import Overrides
from paymaster.registry.yamltext import read_file, read_yaml

FOLDER = Path(__file__).resolve().parent.parent / "examples" / "registries"
FILES = sorted(FOLDER.glob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_example_loads_with_prices_limits_and_capabilities(path: Path) -> None:
    sources = Sources(catalogue=Catalogue(), model_data=ModelData(), environ={}, at=datetime.now(UTC), directory=FOLDER)
    registry = read_registry(read_yaml(read_file(path), str(path)), Overrides(), sources)
    assert registry.policy.hard_stop_on_budget
    assert not registry.warnings
    for model in registry.models.values():
        assert model.price is not None, model.name
        assert model.context_window is not None, model.name
        assert model.max_output_tokens is not None, model.name
        assert model.capabilities is not None, model.name


def test_the_page_lists_every_example() -> None:
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert FILES
    assert all(f"({path.name})" in page for path in FILES)
