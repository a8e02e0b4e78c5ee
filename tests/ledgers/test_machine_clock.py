"""A ledger in a file follows the clocks of its callers within bounds: nobody who is ahead ends the holds and windows of others."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from paymaster.accounting.accounts import Charge, Held, Hold, Refused, Settlement
from paymaster.ledgers.admin.sqlite_admin import SqliteAdmin
from paymaster.ledgers.sqlite import machine_clock
from paymaster.ledgers.sqlite.ledger import SqliteLedger
from paymaster.ledgers.sqlite.machine_clock import AGREES_AFTER_MS, TOLERANCE_MS, Claim, MachineTime, is_agreed
from paymaster.runtime import BlockingRuntime, iterate, run

if TYPE_CHECKING:
    from collections.abc import Iterator

T = 1_700_000_000_000
HOUR_MS, MINUTE_MS = 3_600_000, 60_000
USD = Charge("usd/run/r", 10, 1_000)
RPM = Charge("requests/m", 1, 2, 61_000)
SLOT = Charge("slots/m", 1, 2, 0)


class Machine:
    """A machine with one clock that can't be set, and processes whose clocks may be off."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.boot_id, self.uptime_ms = "boot-1", 5_000_000
        self.opened: list[Process] = []

    def process(self, ahead_ms: int = 0) -> Process:
        self.opened.append(Process(self, ahead_ms))
        return self.opened[-1]

    def wait(self, time_ms: int) -> None:
        self.uptime_ms += time_ms

    def now_ms(self) -> int:
        return T + self.uptime_ms


class Process:
    """One process with a ledger of its own."""

    ids = count()

    def __init__(self, machine: Machine, ahead_ms: int) -> None:
        self.machine, self.ahead_ms = machine, ahead_ms
        self.ledger = SqliteLedger(
            machine.path,
            BlockingRuntime().sleep,
            machine_time=lambda: MachineTime(machine.boot_id, machine.uptime_ms),
            process_name=lambda: f"{os.getpid()}-{id(self)}",
        )

    def now_ms(self) -> int:
        return self.machine.now_ms() + self.ahead_ms

    def reserve(self, *charges: Charge, lease_ms: int = 30_000) -> Held | Refused:
        hold = Hold(f"h{next(self.ids)}", charges or (USD, RPM, SLOT), lease_ms, '{"lost": true}')
        return run(self.ledger.reserve(hold, self.now_ms()))

    def settle(self, held: Held | Refused, *charges: Charge) -> int:
        assert isinstance(held, Held)
        hold = Hold(held.hold_id, charges or (USD, RPM, SLOT), 30_000)
        settlement = Settlement(hold, held.at_ms, tuple(charge.amount for charge in hold.charges), "{}")
        return run(self.ledger.settle(settlement, self.now_ms())).at_ms

    def lost(self) -> list[str]:
        return [record.hold_id for record in iterate(self.ledger.records()) if record.lost]

    def balance(self, account: str) -> int:
        balances = run(self.ledger.balances("", self.now_ms()))
        return balances[account].total if account in balances else 0


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path / "l.sqlite3")
    yield made
    for process in made.opened:
        run(process.ledger.close())


AHEAD = [TOLERANCE_MS + 1, 3 * MINUTE_MS, HOUR_MS, 365 * 24 * HOUR_MS]


@pytest.mark.parametrize("ahead_ms", AHEAD)
def test_a_caller_that_is_ahead_charges_no_hold_of_others_as_lost(machine: Machine, ahead_ms: int) -> None:
    healthy, ahead = machine.process(), machine.process(ahead_ms)
    held = healthy.reserve()
    for _ in range(20):
        assert isinstance(ahead.reserve(USD), Held)
        machine.wait(500)
    run(ahead.ledger.sweep(ahead.now_ms()))
    assert ahead.lost() == []
    assert healthy.settle(held) == machine.now_ms()


@pytest.mark.parametrize("ahead_ms", AHEAD)
def test_a_caller_that_is_ahead_neither_empties_windows_nor_fills_them_for_long(machine: Machine, ahead_ms: int) -> None:
    healthy, ahead = machine.process(), machine.process(ahead_ms)
    healthy.settle(healthy.reserve())
    ahead.settle(ahead.reserve())
    refused = ahead.reserve()
    assert isinstance(refused, Refused)
    assert refused.retry_at_ms == machine.now_ms() + 61_000
    machine.wait(60_999)
    assert isinstance(healthy.reserve(), Refused)
    machine.wait(1)
    assert isinstance(healthy.reserve(), Held)


def test_money_of_a_dead_worker_is_charged_when_its_lease_ends_whoever_is_ahead_or_behind(machine: Machine) -> None:
    dead, ahead, behind = machine.process(), machine.process(HOUR_MS), machine.process(-24 * HOUR_MS)
    dead.reserve(USD)
    for process in (ahead, behind):
        machine.wait(14_999)
        assert isinstance(process.reserve(USD, lease_ms=HOUR_MS), Held)
        assert process.lost() == []
    machine.wait(2)
    behind.reserve(USD)
    assert len(behind.lost()) == 1


def test_a_caller_that_is_behind_neither_stops_the_time_nor_turns_it_back(machine: Machine) -> None:
    behind = machine.process(-24 * HOUR_MS)
    machine.process().settle(machine.process().reserve(RPM), RPM)
    behind.settle(behind.reserve(RPM), RPM)
    assert isinstance(behind.reserve(RPM), Refused)
    machine.wait(61_000)
    assert isinstance(behind.reserve(RPM), Held)


def test_a_jump_is_believed_when_nothing_is_open(machine: Machine) -> None:
    one = machine.process()
    one.settle(one.reserve())
    one.ahead_ms = HOUR_MS
    assert one.settle(one.reserve(USD), USD) == machine.now_ms()  # the window of the first call is open
    machine.wait(61_000)
    assert one.settle(one.reserve(USD), USD) == one.now_ms()
    later = machine.process()  # whose clock is right: the ledger's time goes on from where it is
    machine.wait(10_000)
    assert later.settle(later.reserve(USD), USD) == machine.now_ms() + HOUR_MS


def test_a_jump_is_believed_when_a_second_process_agrees(machine: Machine) -> None:
    healthy = machine.process()
    healthy.reserve(USD, lease_ms=10 * HOUR_MS)
    first, second = machine.process(HOUR_MS), machine.process(HOUR_MS + 100)
    for _ in range(3):
        first.reserve(USD, lease_ms=10 * HOUR_MS)
        machine.wait(AGREES_AFTER_MS)
    assert second.settle(second.reserve(USD), USD) == second.now_ms()


def test_a_jump_is_not_believed_while_somebody_knows_better(machine: Machine) -> None:
    healthy, first, second = machine.process(), machine.process(HOUR_MS), machine.process(HOUR_MS)
    held = healthy.reserve(USD)
    for _ in range(10):
        for process in (first, second, healthy):
            process.settle(process.reserve(SLOT), SLOT)
            machine.wait(400)
    assert healthy.settle(held, USD) == machine.now_ms()


def test_processes_that_claim_different_times_do_not_agree(machine: Machine) -> None:
    machine.process().reserve(USD, lease_ms=10 * HOUR_MS)
    for ahead_ms in (HOUR_MS, 2 * HOUR_MS, 3 * HOUR_MS):
        process = machine.process(ahead_ms)
        machine.wait(2_000)
        assert process.settle(process.reserve(SLOT), SLOT) == machine.now_ms()


def test_after_a_restart_of_the_machine_its_clock_is_believed(machine: Machine) -> None:
    machine.process().reserve(USD)
    machine.boot_id, machine.uptime_ms = "boot-2", 1_000
    later = machine.process(10 * HOUR_MS)
    later.settle(later.reserve(SLOT), SLOT)
    assert len(later.lost()) == 1
    machine.boot_id = "boot-3"
    early = machine.process(-365 * 24 * HOUR_MS)  # a machine without a battery for its clock
    assert early.settle(early.reserve(SLOT), SLOT) == later.now_ms()
    machine.wait(500)
    assert early.settle(early.reserve(SLOT), SLOT) == later.now_ms()


def test_the_first_caller_of_a_migrated_ledger_is_not_believed_while_a_hold_is_open(machine: Machine) -> None:
    earlier = SqliteLedger(machine.path, BlockingRuntime().sleep)  # as before: it follows the latest of its callers
    run(earlier.reserve(Hold("open", (USD,), 30_000), machine.now_ms()))
    run(earlier.close())
    ahead = machine.process(HOUR_MS)
    ahead.settle(ahead.reserve(SLOT), SLOT)
    assert ahead.lost() == []
    right = machine.process()
    machine.wait(30_001)
    right.settle(right.reserve(SLOT), SLOT)
    assert right.lost() == ["open"]


@pytest.mark.parametrize("ahead_ms", [HOUR_MS, -HOUR_MS, 1_000, 0])
def test_a_reader_sees_the_times_by_its_own_clock(machine: Machine, ahead_ms: int) -> None:
    process, reader = machine.process(), machine.process(ahead_ms)
    process.settle(process.reserve(RPM), RPM)
    [(free_at_ms, _)] = run(reader.ledger.balances("requests/m", reader.now_ms()))["requests/m"].free_at
    assert free_at_ms - reader.now_ms() - 61_000 == (-ahead_ms if abs(ahead_ms) <= TOLERANCE_MS else 0)
    hold = Hold("waits", (Charge("requests/m", 2, 2, 61_000),), 30_000)
    run(process.ledger.reserve(hold, process.now_ms(), queue_for_ms=5_000))
    machine.wait(3_000)
    [queued] = run(reader.ledger.waiting(reader.now_ms()))
    assert reader.now_ms() - queued.since_ms - 3_000 == (ahead_ms if abs(ahead_ms) <= TOLERANCE_MS else 0)


def test_status_and_the_log_name_who_is_ahead(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    machine.process().reserve(USD)
    ahead = machine.process(HOUR_MS)
    ahead.settle(ahead.reserve(SLOT), SLOT)
    admin = SqliteAdmin(machine.path)
    [found] = admin.describe().clocks_ahead
    admin.close()
    assert [record.message for record in caplog.records] == [
        f"the clock of this process is 3600.0 s ahead of the time of the ledger {machine.path}, which does not follow it"
    ]
    assert (found.process.partition("-")[0], found.ahead_ms, found.at_ms) == (str(os.getpid()), HOUR_MS, machine.now_ms())


def test_the_clock_is_written_only_when_it_has_to_be(machine: Machine) -> None:
    process = machine.process()
    process.settle(process.reserve(USD), USD)
    statements: list[str] = []
    assert process.ledger._store is not None
    process.ledger._store.connection.set_trace_callback(statements.append)
    for _ in range(5):
        machine.wait(100)
        process.settle(process.reserve(USD), USD)
    assert not [statement for statement in statements if "UPDATE clock" in statement]


@pytest.mark.parametrize(
    ("others", "confirmed_at_ms", "agreed"),
    [
        ([], 0, False),
        ([Claim("b", 5_000, 100, 100)], 0, True),
        ([Claim("a", 5_000, 100, 100)], 0, False),
        ([Claim("b", 5_000 + TOLERANCE_MS, 100, 100)], 0, True),
        ([Claim("b", 5_001 + TOLERANCE_MS, 100, 100)], 0, False),
        ([Claim("b", 5_000, 100, 100)], 100, False),
        ([Claim("b", 5_000, 9_001, 9_999)], 0, False),
        ([Claim("b", 5_000, 9_001, 9_999), Claim("c", 5_000, 9_000, 9_000)], 0, True),
    ],
)
def test_who_agrees(others: list[Claim], confirmed_at_ms: int, agreed: bool) -> None:
    assert is_agreed(Claim("a", 5_000, 10_000, 10_000), others, confirmed_at_ms) is agreed


def test_a_system_without_such_a_clock_follows_its_callers(monkeypatch: pytest.MonkeyPatch) -> None:
    machine_clock._boot_id.cache_clear()
    monkeypatch.setattr(Path, "read_text", lambda *_: (_ for _ in ()).throw(OSError()))
    assert machine_clock.machine_clock() is None
    machine_clock._boot_id.cache_clear()


@pytest.mark.skipif(machine_clock.machine_clock() is None, reason="this system has no clock that all processes share")
def test_processes_of_this_machine_read_the_same_clock() -> None:
    code = "from paymaster.ledgers.sqlite.machine_clock import machine_clock; print(*machine_clock()())"
    read = machine_clock.machine_clock()
    assert read is not None
    before = read()
    boot_id, uptime_ms = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    after = read()
    assert boot_id == before.boot_id == after.boot_id
    assert before.uptime_ms <= int(uptime_ms) <= after.uptime_ms
