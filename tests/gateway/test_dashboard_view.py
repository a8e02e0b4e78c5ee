"""The dashboard of one instant: what its parts show fits together, however long each took to read."""

import asyncio
from types import SimpleNamespace

import pytest

from paymaster.accounting.accounts import EndedHolder
from paymaster.gateway.dashboard import DashboardData
from paymaster.gateway.status_readings import StatusReadings
from paymaster.registry.models import Registry
from paymaster.testing import ManualRuntime
from paymaster.views.visibility import Reader


class SlowBooks:
    """A ledger whose journal takes a while to read. A process that ended holds money, which the next call charges."""

    def __init__(self, runtime, takes_ms):
        self._runtime, self._takes_ms = runtime, takes_ms

    async def records(self, *, after_ms=0):
        await self._runtime.sleep(self._takes_ms)
        for record in ():
            yield record

    async def balance_pages(self, prefixes, now_ms):
        for page in ():
            yield page

    async def waiting(self, now_ms):
        return ()

    async def ended_holders(self, now_ms):
        return (EndedHolder("4711-1f2e3d4c", 1, {"usd/run/r": 180_000_000}, now_ms),)


@pytest.mark.parametrize("takes_ms", [0, 1, 1_500])
def test_what_is_due_when_the_status_is_read_is_due_on_the_page(tmp_path, takes_ms):
    runtime = ManualRuntime()
    nothing = Registry(default="", models={})
    world = SimpleNamespace(books=SlowBooks(runtime, takes_ms), registry=nothing, runtime=runtime, identities=None)
    resources = SimpleNamespace(options=SimpleNamespace(events=tmp_path / "events.jsonl", state_dir=tmp_path))
    service = SimpleNamespace(active=SimpleNamespace(world=world, resources=resources))
    data = DashboardData(service, StatusReadings(lambda: world, runtime), None)
    view = asyncio.run(data.view("24h", Reader()))
    assert view.ended == ("$0.18 is held by a process that ended (pid 4711); charged by the next call",)
    assert view.now_ms == runtime.now_ms()
