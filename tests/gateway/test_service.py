"""What the gateway holds open: a replaced registry closes with its last call, and its ledger's events go to the new one's listeners."""

import asyncio
from pathlib import Path

import pytest

from paymaster.accounting.accounts import Hold, Settled, Settlement
from paymaster.accounting.records import AttemptRecord
from paymaster.flow.call_events import emit_posted
from paymaster.flow.events import Event
from paymaster.gateway.auth import Caller
from paymaster.gateway.service import AccessPolicy, Service
from paymaster.options import configure
from paymaster.resources import Resources
from paymaster.runtime import AsyncioRuntime
from paymaster.scope import Scope

REGISTRY = "models: {m: {provider: openai_compatible, model_id: m, base_url: 'http://127.0.0.1:9/v1', price: free}}"
RECORD = AttemptRecord(
    call_id="c", attempt=1, at_ms=1, model="m", provider="p", model_id="m", outcome="answered", billed="exact",
    cost_nanousd=5, held_nanousd=9, cost_source="registry", run="r",
)  # fmt: skip


class Closings:
    """Which resources were closed, in order, and whether their ledger was kept."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: list[tuple[Resources, bool]] = []
        close = Resources.close

        async def noted(resources: Resources, *, keep_ledger: bool = False) -> None:
            self.seen.append((resources, keep_ledger))
            await close(resources, keep_ledger=keep_ledger)

        monkeypatch.setattr(Resources, "close", noted)


def options_in(folder: Path, *listeners: object):
    (folder / "registry.yaml").write_text(REGISTRY)
    settings = {"ledger": "memory:", "state_dir": folder / "state", "run": "r", "environ": {}, "listeners": listeners}
    return configure(folder / "registry.yaml", settings)


def test_a_replaced_registry_is_closed_when_its_last_call_ends(tmp_path, monkeypatch):
    closings = Closings(monkeypatch)

    async def story():
        service = Service(options_in(tmp_path), AsyncioRuntime(), access=AccessPolicy())
        first = service.active.resources
        with service.call(Caller(Scope(run="r"))):
            await service.renew(options_in(tmp_path))
            await asyncio.sleep(0.01)
            assert closings.seen == []
            assert service.open_calls == 1
        await asyncio.sleep(0.01)
        assert closings.seen == [(first, True)]
        second = service.active.resources
        await service.close()
        assert closings.seen == [(first, True), (second, False)]

    asyncio.run(story())


def test_at_the_end_every_registry_is_closed_whether_its_calls_have_ended_or_not(tmp_path, monkeypatch):
    closings = Closings(monkeypatch)

    async def story():
        service = Service(options_in(tmp_path), AsyncioRuntime(), access=AccessPolicy())
        with service.call(Caller(Scope(run="r"))):
            await service.renew(options_in(tmp_path))
            await service.renew(options_in(tmp_path))
            assert await service.settle(0.05) == 1
            await service.close()
        assert len(closings.seen) == len({resources for resources, _ in closings.seen}) == 3
        assert [kept for _, kept in closings.seen] == [True, True, False]

    asyncio.run(story())


def test_what_a_ledger_reports_goes_to_the_registry_in_force(tmp_path):
    old, new = list[Event](), list[Event]()

    async def story():
        first = Resources(options_in(tmp_path, old.append), AsyncioRuntime(), blocking=False)
        second = Resources(options_in(tmp_path, new.append), AsyncioRuntime(), blocking=False, predecessor=first)
        settlement = Settlement(Hold("h", (), 1_000), 0, (), RECORD.to_json())
        emit_posted(first.ledger_events, settlement, Settled("h", 2, ()))
        await first.close(keep_ledger=True)
        await second.close()

    asyncio.run(story())
    assert [event.kind for event in new] == ["settlement_posted"]
    assert old == []
