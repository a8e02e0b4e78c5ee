"""`prices: {auto_update: daily}` gives a gateway that runs new prices; without it nothing is fetched."""

import re
import time
from pathlib import Path

import pytest
from genai_prices.data import providers as shipped

from paymaster.accounting.prices.published import write_published
from paymaster.cli.commands.serve import GatewayWorker
from paymaster.cli.flags import Flags
from paymaster.gateway.observability import Observability
from paymaster.gateway.serving import RunningGateway, in_background, listen

TEXT = write_published(shipped)


def source_of(running: RunningGateway) -> str:
    price = running.service.active.world.registry.models["m"].price
    assert price is not None
    return price.source


@pytest.mark.parametrize("is_on", [True, False])
def test_a_gateway_takes_new_prices_by_itself_if_the_registry_says_so(tmp_path: Path, own_state: Path, is_on: bool) -> None:
    data = tmp_path / "data.json"
    data.write_text(re.sub(r'("id":"gpt-4\.1",.*?"input_mtok":)[\d.]+', r"\g<1>3", TEXT, count=1))
    registry = tmp_path / "registry.yaml"
    updates = f"prices: {{auto_update: daily, update_from: '{data}'}}" if is_on else ""
    registry.write_text(f"models: {{m: {{provider: openai, model_id: gpt-4.1, api_key_env: K}}}}\n{updates}\n")
    worker = GatewayWorker(
        Flags(state_dir=str(own_state)), str(registry), tmp_path / "keys.json", insecure=False, drain_s=1, open_calls=None
    )
    observability = Observability({})
    with listen("127.0.0.1", 0) as socket, in_background(worker.config(observability), socket) as running:
        until = time.monotonic() + (60 if is_on else 0.5)
        while time.monotonic() < until and not re.fullmatch(r"catalogue genai-prices \S+ [0-9a-f]{8}", source_of(running)):
            time.sleep(0.05)
        assert source_of(running).startswith("catalogue genai-prices 20" if is_on else "catalogue genai-prices 0.")
    observability.close()
    assert (own_state / "prices").exists() == is_on
