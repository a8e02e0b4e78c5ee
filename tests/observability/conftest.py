"""One event of every kind, from the tests of telemetry."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from types import ModuleType

    from paymaster.flow.events import Event


@pytest.fixture(scope="session")
def samples() -> ModuleType:
    spec = importlib.util.spec_from_file_location("events_for_tests", Path(__file__).parents[1] / "telemetry" / "conftest.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def events(samples: ModuleType) -> dict[str, Event]:
    return {event.kind: event for event in samples.EVENTS}
