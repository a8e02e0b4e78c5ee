"""Importing litellm stops no event loop, and nothing is looked up on the network: shown in processes that have not imported it yet."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import json
import logging
import subprocess
import sys

import pytest

from paymaster.errors import ExtraMissing
from paymaster.options import configure
from paymaster.providers import litellm_import
from paymaster.providers.provider_set import ProviderSet
from paymaster.resources import Resources
from paymaster.runtime import AsyncioRuntime
from paymaster.testing import ManualRuntime

pytestmark = [pytest.mark.xdist_group("litellm"), pytest.mark.filterwarnings("ignore")]
SCRIPT = """
models:
  m:
    prices: {usd_per_1m_input: 1, usd_per_1m_output: 2}
    answers: [{text: "There is a file."}]
"""
REGISTRY = """
default: m
models:
  m: {provider: openai_compatible, base_url: "%(url)s", price: free, max_output_tokens: 100}
  heavy: {provider: openai, adapter: litellm, model_id: m, base_url: "%(url)s", price: free, max_output_tokens: 100, api_key_env: KEY}
"""
WATCHED = """
import asyncio, json, sys, time
looked_up = []

def watch(event, arguments):
    if event == "socket.getaddrinfo":
        looked_up.append(str(arguments[0]))
    elif event == "socket.connect" and isinstance(arguments[1], tuple):
        looked_up.append(str(arguments[1][0]))

sys.addaudithook(watch)

async def tick(gaps):
    last = time.perf_counter()
    while True:
        await asyncio.sleep(0.005)
        now = time.perf_counter()
        gaps.append(now - last)
        last = now

def report(**found):
    found["elsewhere"] = [host for host in looked_up if host not in ("127.0.0.1", "localhost", "None")]
    print(json.dumps(found))
"""
FIRST_CALL = """
from paymaster import AsyncClient

async def main():
    gaps = []
    async with AsyncClient(sys.argv[1]) as client:
        await client.complete([{"role": "user", "content": "hi"}])
        ticking = asyncio.create_task(tick(gaps))
        before = "litellm" in sys.modules
        messages = [{"role": "user", "content": "hi"}]
        began = time.perf_counter()
        replies = await asyncio.gather(*(client.complete(messages, model="heavy") for _ in range(3)))
        ticking.cancel()
        report(before=before, after="litellm" in sys.modules, took=time.perf_counter() - began, gap=max(gaps), text=replies[0].text)

asyncio.run(main())
"""
GATEWAY = """
from pathlib import Path
from paymaster.gateway.serving import GatewayConfig, listen, serve_here
from paymaster.options import configure

registry = Path(sys.argv[1])
light = registry.with_name("light.yaml")
light.write_text("\\n".join(line for line in registry.read_text().splitlines() if "heavy" not in line))
written = [registry if sys.argv[2] == "start" else light]
gaps, found = [], {}

async def task(reload):
    ticking = asyncio.create_task(tick(gaps))
    written[0] = registry
    began = time.perf_counter()
    reload()
    while "litellm" not in sys.modules or "heavy" not in running.service.active.world.registry.models:
        await asyncio.sleep(0.01)
    found["took"] = time.perf_counter() - began
    ticking.cancel()
    running.end()

def ready(gateway):
    global running
    running = gateway
    found["at_start"] = "litellm" in sys.modules

config = GatewayConfig(read_options=lambda: configure(written[0], {"run": "r"}), tasks=(task,))
serve_here(config, listen("127.0.0.1", 0), ready)
report(**found, gap=max(gaps, default=0))
"""


@pytest.fixture
def registry(tmp_path, serve):
    path = tmp_path / "registry.yaml"
    path.write_text(REGISTRY % {"url": serve(SCRIPT).base_url})
    return path


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run a program in a process of its own; what it reported."""
    monkeypatch.setenv("KEY", "sk-x")
    monkeypatch.setenv("PAYMASTER_STATE_DIR", str(tmp_path / "state"))

    def run_program(program: str, *arguments: object) -> dict[str, object]:
        command = [sys.executable, "-W", "ignore", "-c", WATCHED + program, *map(str, arguments)]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout.splitlines()[-1])

    return run_program


def test_the_first_call_of_an_async_client_stops_no_other(registry, run):
    found = run(FIRST_CALL, registry)
    assert (found["before"], found["after"], found["text"]) == (False, True, "There is a file.")
    assert found["elsewhere"] == []
    assert found["took"] > 0.5  # so the import was seen
    assert found["gap"] < found["took"] / 2


def test_a_gateway_imports_it_before_the_first_request(registry, run):
    found = run(GATEWAY, registry, "start")
    assert found["at_start"] is True
    assert found["elsewhere"] == []


def test_a_gateway_imports_it_beside_its_calls_when_a_reloaded_registry_needs_it(registry, run):
    found = run(GATEWAY, registry, "reload")
    assert found["at_start"] is False
    assert found["elsewhere"] == []
    assert found["took"] > 0.5
    assert found["gap"] < found["took"] / 2


# -------------------------------------------------------------------------------------------------- without the real one


@pytest.fixture
def heavy(make_call):
    return make_call("http://a/v1", "a", adapter="litellm").model


def test_calls_that_come_together_share_one_import(monkeypatch, heavy, make_call):
    imports = []
    monkeypatch.setattr(litellm_import, "import_beside_a_loop", lambda: imports.append(1) or object())

    async def main():
        providers = ProviderSet(ManualRuntime(), blocking=False)
        await providers.prepare(make_call("http://a/v1", "b").model)
        assert not imports
        cancelled = asyncio.ensure_future(providers.prepare(heavy))
        await asyncio.sleep(0)
        cancelled.cancel()
        await asyncio.gather(*(providers.prepare(heavy) for _ in range(5)))
        await providers.prepare(heavy)

    asyncio.run(main())
    assert len(imports) == 1


def test_a_blocking_caller_imports_it_with_its_provider(monkeypatch, heavy):
    monkeypatch.setattr(litellm_import, "import_beside_a_loop", lambda: pytest.fail("not here"))
    with pytest.raises(StopIteration):
        ProviderSet(ManualRuntime(), blocking=True).prepare(heavy).send(None)


def test_a_missing_extra_stops_no_gateway_from_starting(monkeypatch, registry, tmp_path, caplog):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    monkeypatch.setenv("KEY", "sk-x")

    async def main():
        resources = Resources(configure(registry, {"run": "r", "state_dir": tmp_path}), AsyncioRuntime(), blocking=False)
        await resources.prepare()
        with pytest.raises(ExtraMissing):
            await resources.world.prepare(resources.world.registry.models["heavy"])
        await resources.close()

    with caplog.at_level(logging.WARNING):
        asyncio.run(main())
    assert "this model needs litellm" in caplog.text


def test_a_broken_installation_is_reported_as_one(monkeypatch):
    def broken(name: str) -> object:
        raise ImportError(f"no {name}")

    monkeypatch.setattr(importlib, "import_module", broken)
    with pytest.raises(ExtraMissing, match="can't be imported: no litellm"):
        litellm_import.import_litellm()
