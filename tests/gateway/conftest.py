"""Simulated models over real HTTP, and a gateway for them in a thread of its own."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from gateways import PRICES, Gateway, write_registry
from paymaster.cli.process import main
from paymaster.gateway.request_body import Bounds
from paymaster.gateway.service import AccessPolicy
from paymaster.gateway.serving import GatewayConfig, in_background, listen
from paymaster.options import configure
from paymaster.providers.scripted.script import Script
from paymaster.providers.scripted.server import ScriptedServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Gateway]]:
    """Start a gateway for simulated models: each keyword is a model with its section, or with its answers."""
    with ExitStack() as stack:

        def begin(
            *,
            policies: Mapping[str, object] | None = None,
            each: Mapping[str, object] | None = None,
            own: Mapping[str, Mapping[str, object]] | None = None,
            access: AccessPolicy | None = None,
            bounds: Bounds | None = None,
            drain_s: float = 5,
            **models: object,
        ) -> Gateway:
            sections = {name: model if isinstance(model, dict) else {"answers": model} for name, model in (models or {"fast": {}}).items()}
            script = Script.model_validate({"models": {name: {"prices": PRICES, **section} for name, section in sections.items()}})
            provider = stack.enter_context(ScriptedServer(script))
            registry, events = tmp_path / "registry.yaml", list[object]()
            write_registry(registry, provider, list(sections), policies or {}, each or {}, own or {})
            config = GatewayConfig(
                read_options=lambda: configure(registry, {"run": "r1", "listeners": [events.append]}),
                access=access or AccessPolicy(),
                bounds=bounds or Bounds(),
                drain_s=drain_s,
            )
            server_socket = listen("127.0.0.1", 0)
            port = server_socket.getsockname()[1]
            running = stack.enter_context(in_background(config, server_socket))
            return Gateway(f"http://127.0.0.1:{port}", running, provider, registry, events)

        yield begin


@pytest.fixture
def run_paymaster(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run a command in this process: its status, standard output and standard error."""

    def run(*words: str) -> tuple[int, str, str]:
        status = main(list(words))
        output = capsys.readouterr()
        return status, output.out, output.err

    return run
