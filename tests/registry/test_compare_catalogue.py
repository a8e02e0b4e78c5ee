"""`make catalogue` lists what our prices and litellm's table state differently."""

import importlib.util
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

import pytest

from paymaster.accounting.prices.catalogue import Catalogue

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
AT = datetime(2026, 11, 30, tzinfo=UTC)
GPT = {"mode": "chat", "litellm_provider": "openai", "input_cost_per_token": 2.5e-06, "output_cost_per_token": 1e-05}


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    spec = importlib.util.spec_from_file_location("compare_catalogue", SCRIPTS / "compare_catalogue.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"input_cost_per_token": 2.5000000001e-06, "max_input_tokens": 131_072}, []),  # as good as the same
        ({"output_cost_per_token": 2e-05}, [("output", "$10", "$20")]),
        ({"cache_read_input_token_cost": 1e-06}, [("cache_read", "$1.25", "$1")]),
        ({"max_input_tokens": 1_000_000}, [("window", "128,000", "1,000,000")]),
        ({"mode": "image_generation", "output_cost_per_token": 2e-05}, []),
    ],
)
def test_what_two_tables_state_differently_is_listed(script: ModuleType, changes: dict, expected: list) -> None:
    found = list(script.disagreements({"gpt-4o": {**GPT, **changes}, "sample_spec": {}}, Catalogue(), AT))
    assert [(row.what, row.ours, row.theirs) for row in found] == expected


def test_models_that_only_the_other_table_has_are_counted(script: ModuleType) -> None:
    assert script.shared({"gpt-4o": GPT, "gpt-99-only-there": GPT}, Catalogue(), AT) == (1, 1)
