"""A run goes on with the prices it began with, in every process, and its records name them."""

import json
import re
from pathlib import Path

import pytest
from genai_prices.data import providers as shipped

from paymaster import Client
from paymaster.accounting.prices.published import write_published
from paymaster.cli import main
from paymaster.options import configure
from paymaster.price_store.folder import SHIPPED, PriceFolder
from paymaster.price_store.updating import NewData, update
from paymaster.providers.scripted.script import Script
from paymaster.providers.scripted.server import ScriptedServer
from paymaster.registry.models import PriceUpdates

TEXT = write_published(shipped)
NOW_MS = 1_796_040_000_000
REGISTRY = "models: {m: {provider: openai, model_id: gpt-4.1, api_key_env: K}}"


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    path = tmp_path / "registry.yaml"
    path.write_text(REGISTRY)
    return path


def take(folder: PriceFolder, usd: str) -> str:
    text = re.sub(r'("id":"gpt-4\.1",.*?"input_mtok":)[\d.]+', rf"\g<1>{usd}", TEXT, count=1)
    return update(folder, NewData(text=text.encode(), source="here"), NOW_MS).edition.name


def source(registry: Path, run: str | None, **more: bool) -> str:
    price = configure(registry, {"run": run}, **more).registry.models["m"].price
    assert price is not None
    return price.source


def test_processes_of_a_named_run_have_the_same_prices(folder: PriceFolder, registry: Path) -> None:
    with Client(registry, run="exp-1"):
        pass
    assert folder.pinned("exp-1") == SHIPPED
    first = take(folder, "3")
    with Client(registry, run="exp-2"):
        pass
    second = take(folder, "4")
    assert source(registry, "exp-1") == "catalogue genai-prices 0.2.3"
    assert source(registry, "exp-2") == f"catalogue genai-prices {first}"
    assert source(registry, "exp-3") == source(registry, None) == f"catalogue genai-prices {second}"
    assert source(registry, "exp-1", newest_prices=True) == f"catalogue genai-prices {second}"


def test_a_loaded_registry_keeps_its_prices(folder: PriceFolder, registry: Path) -> None:
    loaded = configure(registry, {}).registry
    take(folder, "3")
    with Client(loaded, run="exp-1"):
        pass
    assert folder.pinned("exp-1") == SHIPPED


def test_models_that_the_registry_lacks_have_the_prices_of_the_run(folder: PriceFolder, registry: Path) -> None:
    first = take(folder, "3")
    with Client(registry, run="exp-1"):
        pass
    second = take(folder, "4")
    for run, name in (("exp-1", first), (None, second)):
        published = configure(registry, {"run": run}).registry.published
        assert published is not None
        price = published.history("openai", "gpt-4.1").periods[-1].price
        assert price is not None
        assert price.source == f"catalogue genai-prices {name}"


def test_a_run_without_a_name_or_a_ledger_on_disk_leaves_no_trace(folder: PriceFolder, registry: Path) -> None:
    with Client(registry):
        pass
    with Client(registry, run="exp-1", ledger="memory:"):
        pass
    configure(registry, {"run": "exp-1"})  # what `paymaster check` does: the run does not begin
    assert not folder.path.exists()


def test_records_and_events_name_the_prices(folder: PriceFolder, tmp_path: Path) -> None:
    name = take(folder, "3")
    with ScriptedServer(Script.model_validate({"models": {"*": {"answers": [{"text": "Hello."}]}}})) as server:
        path, events = tmp_path / "registry.yaml", tmp_path / "events.jsonl"
        path.write_text(REGISTRY.replace("api_key_env", f"base_url: '{server.base_url}', api_key_env"))
        with Client(path, run="exp-1", events=events, environ={"K": "k"}, state_dir=folder.path.parent) as client:
            client.complete([{"role": "user", "content": "Hello"}])
            take(folder, "4")
            client.complete([{"role": "user", "content": "Hello"}])
        with Client(path, run="exp-1", events=events, environ={"K": "k"}, state_dir=folder.path.parent) as client:
            client.complete([{"role": "user", "content": "Hello"}])
    settled = [row for line in events.read_text().splitlines() if (row := json.loads(line)).get("event") == "settled"]
    assert [row["cost_source"] for row in settled] == [f"catalogue genai-prices {name}"] * 3
    assert main(["ledger", "export", str(tmp_path / "export.jsonl")]) == 0
    exported = (tmp_path / "export.jsonl").read_text()
    assert exported.count(f"catalogue genai-prices {name}") == 3


def test_a_file_of_updates_is_relative_to_the_registry(tmp_path: Path) -> None:
    path = tmp_path / "registry.yaml"
    for written, expected in (("prices.json", str(tmp_path / "prices.json")), ("https://example.com/x", "https://example.com/x")):
        path.write_text(f"{REGISTRY}\nprices: {{auto_update: daily, update_from: '{written}'}}\n")
        updates = configure(path, {}).registry.updates
        assert (updates.daily, updates.source) == (True, expected)
    path.write_text(REGISTRY)
    assert configure(path, {}).registry.updates == PriceUpdates()
