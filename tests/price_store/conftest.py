from collections.abc import Iterator
from pathlib import Path

import pytest

from paymaster.price_store.folder import PriceFolder
from price_servers import PriceServer


@pytest.fixture
def server() -> Iterator[PriceServer]:
    running = PriceServer()
    yield running
    running.close()


@pytest.fixture
def folder(own_state: Path) -> PriceFolder:
    return PriceFolder(own_state)
