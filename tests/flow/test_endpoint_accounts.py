"""Limits and circuits belong to what is called: two projects share those of one server, and one name for two servers shares nothing."""

import asyncio
import contextlib
import hashlib
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from call_box import HELLO, Box, Limits, answer, failure, model, registry
from fleet import LoopbackProvider, Seen
from paymaster import Client
from paymaster.accounting.accounts import Balance, Charge, Hold, Post, Settlement
from paymaster.errors import LedgerUnavailable, LimitReached, PaymasterError
from paymaster.flow.identities import LOOK_MS, Identities
from paymaster.ledgers.memory import MemoryLedger
from paymaster.ledgers.spool.ledger import SpoolingLedger
from paymaster.registry.models import Model
from paymaster.routing.failures import FailureKind
from paymaster.routing.requests import Request
from paymaster.runtime import run

KEY = "sk-live-0123456789abcdef0123456789"


def well(_: Seen) -> tuple[int, dict[str, str]]:
    return 200, {}


def project(folder: Path, name: str, provider: LoopbackProvider, extra: str = "") -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.yaml"
    path.write_text(
        f"models:\n  {name}: {{provider: openai_compatible, model_id: served, base_url: '{provider.base_url}', price: free, "
        f"api_key_env: [PROJECT_KEY, OTHER_KEY], max_output_tokens: 100{extra}}}\npolicies: {{max_wait_s: 0.05, patience_s: 0.05}}\n"
    )
    return path


def client(path: Path, ledger: str, state: Path, key: str = KEY, **environ: str) -> Client:
    return Client(path, ledger=ledger, state_dir=state, run="r", environ={"PROJECT_KEY": key, **environ})


def answered(asked: Client, calls: int) -> int:
    """How many of so many calls were answered; the others met a limit or a circuit."""
    count = 0
    for _ in range(calls):
        with contextlib.suppress(PaymasterError):
            asked.complete(HELLO)
            count += 1
    return count


def test_two_projects_share_the_limits_of_one_server_each_with_its_own_caps(tmp_path: Path, shared_ledger: str) -> None:
    with (
        LoopbackProvider(well) as provider,
        client(project(tmp_path / "p1", "mine", provider, ", rpm: 3"), shared_ledger, tmp_path / "s1") as first,
        client(project(tmp_path / "p2", "theirs", provider, ", rpm: 5"), shared_ledger, tmp_path / "s2") as second,
    ):
        assert answered(first, 2) == 2
        assert answered(second, 9) == 3
        with pytest.raises(LimitReached, match="requests/mine: 5 of 3 used"):
            first.complete(HELLO)


def test_two_projects_share_the_circuit_of_one_server(tmp_path: Path, shared_ledger: str) -> None:
    with LoopbackProvider(lambda _: (401, {})) as provider:
        with client(project(tmp_path / "p1", "mine", provider), shared_ledger, tmp_path / "s1") as first:
            assert answered(first, 1) == 0
        with client(project(tmp_path / "p2", "theirs", provider), shared_ledger, tmp_path / "s2") as second:
            assert answered(second, 3) == 0
        assert len(provider.seen) == 1


def test_one_name_for_two_servers_shares_nothing(tmp_path: Path, shared_ledger: str) -> None:
    with LoopbackProvider(lambda _: (401, {})) as failing, LoopbackProvider(well) as provider:
        with client(project(tmp_path / "p1", "m", failing, ", rpm: 2"), shared_ledger, tmp_path / "s1") as first:
            assert answered(first, 2) == 0
        with client(project(tmp_path / "p2", "m", provider, ", rpm: 2"), shared_ledger, tmp_path / "s2") as second:
            assert answered(second, 3) == 2


@pytest.mark.parametrize(
    ("environ", "shares"),
    [
        ({"PROJECT_KEY": KEY}, True),
        ({"PROJECT_KEY": "sk-another"}, False),
        ({"PROJECT_KEY": KEY, "OTHER_KEY": "sk-second"}, True),  # several keys count as the first of them
        ({"PROJECT_KEY": "", "OTHER_KEY": "sk-second"}, False),
    ],
)
def test_a_key_says_whose_limits_count(tmp_path: Path, environ: Mapping[str, str], shares: bool) -> None:
    ledger = f"sqlite:{tmp_path}/ledger.sqlite3"
    with LoopbackProvider(well) as provider:
        path = project(tmp_path / "p", "m", provider, ", rpm: 2")
        with client(path, ledger, tmp_path / "s") as first:
            assert answered(first, 2) == 2
        with Client(path, ledger=ledger, state_dir=tmp_path / "s", run="r", environ=environ) as second:
            assert answered(second, 1) == (0 if shares else 1)


def test_64_callers_of_two_projects_never_exceed_a_limit_together(tmp_path: Path, shared_ledger: str) -> None:
    with LoopbackProvider(well) as provider:
        paths = [project(tmp_path / name, name, provider, ", rpm: 20") for name in ("mine", "theirs")]
        with (
            client(paths[0], shared_ledger, tmp_path / "s1") as first,
            client(paths[1], shared_ledger, tmp_path / "s2") as second,
            ThreadPoolExecutor(64) as pool,
        ):
            counts = list(pool.map(lambda number: answered((first, second)[number % 2], 1), range(64)))
        assert sum(counts) == len(provider.seen) == 20


def test_processes_that_meet_a_new_ledger_at_once_agree(tmp_path: Path, shared_ledger: str) -> None:
    program = (
        "import sys\nfrom paymaster import Client\n"
        "with Client(sys.argv[1], ledger=sys.argv[2], state_dir=sys.argv[3], run='r') as client:\n"
        "    client.complete([{'role': 'user', 'content': 'Hello'}])\n"
        "    print(sorted(name for name in client.balances('slots/')))\n"
    )
    with LoopbackProvider(well) as provider:
        path = project(tmp_path / "p", "m", provider)
        workers = [
            subprocess.Popen(
                [sys.executable, "-c", program, str(path), shared_ledger, str(tmp_path / f"s{number}")],
                env={**os.environ, "PROJECT_KEY": KEY},
                stdout=subprocess.PIPE,
                text=True,
            )
            for number in range(3)
        ]
        names = {worker.communicate()[0] for worker in workers}
    assert len(names) == 1
    assert next(iter(names)).startswith("['slots/openai_compatible:served:")
    assert next(iter(names)).count("slots/") == 1


def test_no_key_and_no_plain_digest_of_it_is_kept_anywhere(tmp_path: Path) -> None:
    ledger = f"sqlite:{tmp_path}/kept/ledger.sqlite3"
    (tmp_path / "kept").mkdir()
    with (
        LoopbackProvider(lambda _: (401, {})) as provider,
        client(project(tmp_path / "p", "m", provider), ledger, tmp_path / "kept") as asked,
    ):
        answered(asked, 2)
        kept = repr(asked.balances("")).encode()
    kept += b"".join(file.read_bytes() for file in (tmp_path / "kept").rglob("*") if file.is_file())
    assert b"openai_compatible:served:" in kept
    plain = [getattr(hashlib, name)(KEY.encode()).hexdigest() for name in ("md5", "sha1", "sha256", "sha512", "blake2b", "blake2s")]
    for trace in (KEY, KEY[:16], KEY[-12:], *(digest[:12] for digest in plain)):
        assert trace.encode() not in kept


# ---------------------------------------------------------------------------------------------- in memory, with a clock


SERVED = replace(model("a", limits=Limits(rpm=2, rpd=3)), provider="openai", base_url="https://api.example.com/v1", identity="")


def box(books: Any, of: Model, key: str = KEY, **policy: Any) -> Box:
    known = registry(of, max_wait_ms=0, **policy)
    asked = Box(known, {of.name: [answer()]}, books=books)
    asked.world.identities = Identities(known, lambda _: key)  # type: ignore[misc]  # frozen for the type checker alone
    return asked


def outcome(asked: Box) -> str:
    try:
        return asked.ask().text
    except PaymasterError as error:
        return type(error).__name__


def test_in_memory_too() -> None:
    books = MemoryLedger()
    mine, theirs = box(books, SERVED), box(books, replace(SERVED, name="b", limits=Limits(rpm=3)))
    others = box(books, replace(SERVED, base_url="https://other.example.com/v1"))
    assert [outcome(each) for each in (mine, mine, theirs, theirs, mine, others)] == [
        "Hi", "Hi", "Hi", "LimitReached", "LimitReached", "Hi",
    ]  # fmt: skip


def test_accounts_join_keys_and_separate_them() -> None:
    books = MemoryLedger()
    team, guests = replace(SERVED, account="team"), replace(SERVED, account="guests")
    assert [outcome(box(books, team, key)) for key in ("sk-1", "sk-2", "sk-3")] == ["Hi", "Hi", "LimitReached"]
    assert outcome(box(books, guests, "sk-1")) == "Hi"


def test_a_new_key_begins_with_a_closed_circuit() -> None:
    books = MemoryLedger()
    before = box(books, SERVED)
    before.outcomes["a"][:] = [failure(FailureKind.AUTHENTICATION, status=401)]
    assert outcome(before) == "NoModelAvailable"
    assert outcome(box(books, SERVED)) == "NoModelAvailable"
    assert outcome(box(books, SERVED, "sk-new")) == "Hi"


def test_what_an_earlier_version_counted_today_still_counts() -> None:
    books, day_ms = MemoryLedger(), 86_401_000
    asked = box(books, replace(SERVED, limits=Limits(rpd=3)))
    began_ms = asked.runtime.now_ms()
    for number in range(2):
        hold = Hold(f"h{number}", (Charge("requests-day/a", 1, 3, day_ms),), 60_000)
        run(books.reserve(hold, began_ms))
        run(books.settle(Settlement(hold, began_ms, (1,), "{}"), began_ms))
    assert [outcome(asked), outcome(asked)] == ["Hi", "LimitReached"]
    assert asked.world.identities.former == {"requests-day/a": began_ms + day_ms}
    asked.runtime.advance(day_ms)  # type: ignore[attr-defined]  # a clock that a test holds
    assert [outcome(asked) for _ in range(4)] == ["Hi", "Hi", "Hi", "LimitReached"]
    assert not any(balance.total for balance in run(books.balances("requests-day/a", asked.runtime.now_ms())).values())
    assert asked.world.identities.former == {}
    asked.runtime.advance(LOOK_MS)
    assert asked.world.identities._looks_at_ms is None


class Slow(MemoryLedger):
    """A ledger that lets other tasks run before it answers a reading; the first `failing` of them fail."""

    def __init__(self, failing: int = 0) -> None:
        super().__init__()
        self.failing = failing

    async def balances_of(self, accounts: Sequence[str], now_ms: int) -> dict[str, Balance]:
        await asyncio.sleep(0)
        if self.failing:
            self.failing -= 1
            raise LedgerUnavailable("the ledger is unavailable")
        return await super().balances_of(accounts, now_ms)


def counted_today(books: MemoryLedger, at_ms: int, account: str, cap: int) -> None:
    """Two calls that an earlier version made and counted under the model's name."""
    for number in range(2):
        hold = Hold(f"h{number}", (Charge(account, 1, cap, 86_401_000),), 60_000)
        run(books.reserve(hold, at_ms))
        run(books.settle(Settlement(hold, at_ms, (1,), "{}"), at_ms))


def test_calls_that_come_before_the_first_reading_is_done_count_with_an_earlier_version_too() -> None:
    books = Slow()
    asked = box(books, replace(SERVED, limits=Limits(rpd=3)))
    counted_today(books, asked.runtime.now_ms(), "requests-day/a", 3)

    async def outcomes() -> list[str]:
        found = await asyncio.gather(*(asked.items(Request(messages=HELLO)) for _ in range(6)), return_exceptions=True)
        return sorted(type(each).__name__ for each in found)

    assert asyncio.run(outcomes()) == ["LimitReached"] * 5 + ["list"]


def test_a_first_reading_that_fails_is_made_again() -> None:
    books = Slow(failing=1)
    asked = box(books, replace(SERVED, limits=Limits(rpd=3)))
    counted_today(books, asked.runtime.now_ms(), "requests-day/a", 3)
    run(books.post((Post("pause/a", 1, 5_000),), (), asked.runtime.now_ms()))
    first, paused = outcome(asked), outcome(asked)
    asked.runtime.advance(5_000)  # type: ignore[attr-defined]  # a clock that a test holds
    assert [first, paused, outcome(asked), outcome(asked)] == ["Hi", "LimitReached", "Hi", "LimitReached"]


class Unreachable(MemoryLedger):
    """A ledger that is unavailable until it is not, and then unknown no longer."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.is_there = 0, False

    def _check(self) -> None:
        self.asked += 1
        if not self.is_there:
            raise LedgerUnavailable("the ledger is unavailable")

    async def ledger_id(self, now_ms: int, *, may_go_unbooked: bool = False) -> str:
        self._check()
        return await super().ledger_id(now_ms, may_go_unbooked=may_go_unbooked)

    async def reserve(self, hold: Hold, now_ms: int, *, queue_for_ms: int = 0) -> Any:
        self._check()
        return await super().reserve(hold, now_ms, queue_for_ms=queue_for_ms)


@pytest.mark.parametrize("hard", [True, False])
def test_an_outage_at_the_start_stops_no_call_that_may_go_unbooked_and_asks_once(tmp_path: Path, hard: bool) -> None:
    below = Unreachable()
    books = SpoolingLedger(below, tmp_path / "spool", posted=lambda *_: None)
    asked = box(books, SERVED, hard_stop_on_budget=hard)
    assert [outcome(asked), outcome(asked)] == (["LedgerUnavailable"] * 2 if hard else ["Hi", "Hi"])
    assert below.asked == (2 if hard else 1)
    below.is_there = True
    asked.runtime.advance(60_000)
    assert outcome(asked) == "Hi"
    names = run(below.balances("slots/", asked.runtime.now_ms()))
    assert [name for name in names if name != "slots/a"] == [f"slots/{asked.provider.calls[-1].model.identity}"]


def test_identities_are_computed_once_for_each_part_of_a_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paymaster.flow.identities._MOST_REGISTRIES", 2)
    books, known = MemoryLedger(), registry(SERVED)
    found = Identities(known, lambda _: KEY)
    parts = [known, *(replace(known, default=name) for name in ("a", "b", "c"))]

    async def named() -> list[str]:
        first = await found.of(known, books, 0)
        assert await found.of(known, books, 0) is first
        return [(await found.of(part, books, 0)).models["a"].subject for part in parts]

    assert len(set(asyncio.run(named()))) == 1
