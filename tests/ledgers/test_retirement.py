"""Budgets whose period ended leave the accounts of every kind of ledger; their sums stay, and no budget is granted twice."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sqlite3
import struct
import subprocess
import sys
import textwrap
from contextlib import closing
from pathlib import Path

import pytest
import redis

from paymaster.accounting.account_names import is_money
from paymaster.accounting.accounts import Balance, Charge, Held, Hold, Post, Refused, Settlement
from paymaster.errors import LedgerUnusable
from paymaster.ledgers import retirement
from paymaster.ledgers.admin.earlier_formats import up_to_date
from paymaster.ledgers.admin.export_format import AccountSums, ExportHead, InvalidExport, RetiredAccount, read_lines, write_lines
from paymaster.ledgers.admin.reconciling import reconcile
from paymaster.ledgers.redis.address import read_address
from paymaster.ledgers.redis.ledger import RedisLedger
from paymaster.ledgers.retirement import LOOK_EVERY_MS, PAGE_EVERY_MS, RETIRE_DAYS, leaving
from paymaster.ledgers.sqlite import file
from paymaster.ledgers.sqlite.file import APPLICATION_ID
from paymaster.ledgers.sqlite.ledger import SqliteLedger
from paymaster.ledgers.urls import admin_for
from paymaster.runtime import run
from paymaster.testing import ManualRuntime

DAY_MS = 86_400_000
NOON = 1_795_608_000_000  # of 2026-11-25
DAY, MONTH, RUN = "usd/day/2026-11-25", "usd/user/ann/month/2026-11", "usd/run/a"
DAY_ENDS, MONTH_ENDS = NOON + DAY_MS // 2, NOON + DAY_MS // 2 + 5 * DAY_MS
LEAVES, MONTH_LEAVES = DAY_ENDS + RETIRE_DAYS * DAY_MS, MONTH_ENDS + RETIRE_DAYS * DAY_MS
RPM, SLOT = Charge("requests/m", 1, 3, 60_000), Charge("slots/m", 1, 2, 0)


def day(amount=10, cap=100):
    return Charge(DAY, amount, cap)


def names(ledger, at):
    return set(run(ledger.balances("", at)))


@pytest.fixture
def spent(books):
    """60 of 100 were spent on the day, 60 by ann in the month and by the run."""
    charges = (day(60), Charge(MONTH, 60, None), Charge(RUN, 60, 100), RPM, SLOT)
    books.reserve("h1", *charges, at=NOON)
    books.settle("h1", *((charge, charge.amount) for charge in charges), at=NOON, held_at=NOON)
    return books


@pytest.fixture
def left(spent):
    """The same after all that may leave has left."""
    assert run(spent.ledger.retire(MONTH_LEAVES)) == 4
    assert names(spent.ledger, MONTH_LEAVES) == {RUN}
    return spent


@pytest.mark.parametrize(
    ("at", "gone"),
    [
        (NOON + 59_999, {SLOT.account}),
        (NOON + 60_000, {SLOT.account, RPM.account}),
        (LEAVES - 1, {SLOT.account, RPM.account}),
        (LEAVES, {SLOT.account, RPM.account, DAY}),
        (MONTH_LEAVES - 1, {SLOT.account, RPM.account, DAY}),
        (MONTH_LEAVES, {SLOT.account, RPM.account, DAY, MONTH}),
        (MONTH_LEAVES + 10_000 * DAY_MS, {SLOT.account, RPM.account, DAY, MONTH}),
    ],
)
def test_accounts_leave_when_their_time_is_over_and_a_run_stays(spent, at, gone):
    assert run(spent.ledger.retire(at)) == len(gone)
    assert names(spent.ledger, at) == {DAY, MONTH, RUN, RPM.account, SLOT.account} - gone
    for account in (DAY, MONTH, RUN):
        assert spent.balance(account, at) == Balance(settled=60)
    assert run(spent.ledger.retire(at)) == 0


def test_the_time_is_chosen_by_the_caller_of_the_command(spent):
    run(spent.ledger.retire(DAY_ENDS - 1, days=0))
    assert DAY in names(spent.ledger, DAY_ENDS - 1)
    run(spent.ledger.retire(DAY_ENDS, days=0))
    assert names(spent.ledger, DAY_ENDS) == {RUN, MONTH}


def test_what_holds_something_stays(spent):
    books, ledger = spent, spent.ledger
    long_ms = 400 * DAY_MS
    books.reserve("open", day(1), Charge("requests/n", 1, 3, long_ms), Charge("slots/n", 1, 2, 0), at=NOON, lease_ms=long_ms)
    books.post(Post("pause/n", 1, long_ms), Post("parallel/n", -1, None), at=NOON)
    run(ledger.retire(LEAVES))
    stay = {DAY, "requests/n", "slots/n", "pause/n", "parallel/n"}
    assert stay <= names(ledger, LEAVES)
    books.settle("open", (day(1), 1), (Charge("requests/n", 1, 3, long_ms), 1), (Charge("slots/n", 1, 2, 0), 1), at=LEAVES, held_at=NOON)
    run(ledger.retire(LEAVES))
    assert stay & names(ledger, LEAVES) == {"requests/n", "pause/n", "parallel/n"}
    assert books.balance(DAY, LEAVES) == Balance(settled=61)


# --------------------------------------------------------------------------------------------- the sum is taken back first


def test_a_hold_counts_what_was_spent(left):
    """A caller whose clock is behind asks for a day of long ago."""
    refused = left.reserve("h2", day(41), at=NOON)
    assert isinstance(refused, Refused)
    assert refused.shortfalls[0].balance.settled == 60
    assert DAY not in names(left.ledger, MONTH_LEAVES)
    held = left.reserve("h3", day(40), at=NOON)
    assert held.balances == (Balance(settled=60, held=40),)
    assert left.balance(DAY, MONTH_LEAVES) == Balance(settled=60, held=40)
    left.settle("h3", (day(40), 40), at=NOON, held_at=NOON)
    assert not isinstance(left.reserve("h4", day(1), at=NOON), Held)
    run(left.ledger.retire(MONTH_LEAVES + 1))
    assert DAY not in names(left.ledger, MONTH_LEAVES + 1)
    assert left.balance(DAY, MONTH_LEAVES) == Balance(settled=100)


def test_a_late_settlement_adds_to_what_was_spent(left):
    settled = left.settle("late", (day(0), 7), (Charge(MONTH, 0, None), 7), at=MONTH_LEAVES, held_at=NOON)
    assert [(change.before, change.after) for change in settled.changes] == [(60, 67), (60, 67)]
    assert left.balance(DAY, MONTH_LEAVES) == Balance(settled=67)


def test_a_lost_call_is_corrected_after_its_account_has_left(spent):
    spent.reserve("lost", day(30), at=NOON, lease_ms=10)
    run(spent.ledger.sweep(LEAVES))
    run(spent.ledger.retire(LEAVES))
    assert DAY not in names(spent.ledger, LEAVES)
    late = spent.settle("lost", (day(30), 5), at=LEAVES, held_at=NOON)
    assert [(change.before, change.after) for change in late.changes] == [(90, 65)]
    assert spent.balance(DAY, LEAVES) == Balance(settled=65)


def test_a_hold_of_nothing_does_not_keep_its_account(spent):
    spent.reserve("soft", day(0, None), at=NOON, lease_ms=400 * DAY_MS)
    run(spent.ledger.retire(LEAVES))
    assert DAY not in names(spent.ledger, LEAVES)
    spent.settle("soft", (day(0, None), 8), at=LEAVES, held_at=NOON)
    assert spent.balance(DAY, LEAVES) == Balance(settled=68)


def test_a_loss_is_charged_on_an_account_that_left(spent):
    """A hold that was made when its account had left already, and whose process died."""
    run(spent.ledger.retire(LEAVES))
    spent.reserve("dead", day(30), at=NOON, lease_ms=10)
    run(spent.ledger.retire(LEAVES + 10))
    assert spent.balance(DAY, LEAVES + 10) == Balance(settled=90)
    (lost,) = run(spent.ledger.sweep(LEAVES + 10))
    assert [(change.before, change.after) for change in lost.changes] == [(60, 90)]
    run(spent.ledger.retire(LEAVES + 10))
    assert (DAY in names(spent.ledger, LEAVES + 10), spent.balance(DAY, LEAVES + 10)) == (False, Balance(settled=90))


def test_a_withdrawn_hold_leaves_the_sum(left):
    left.reserve("h2", day(40), at=NOON)
    run(left.ledger.withdraw("h2"))
    assert left.balance(DAY, MONTH_LEAVES) == Balance(settled=60)


@pytest.mark.parametrize(("amount", "after"), [(-10, 50), (-60, 0), (5, 65)])
def test_a_correction_is_made_on_the_sum(left, amount, after):
    change = left.post(Post(DAY, amount, None), at=MONTH_LEAVES)[0]
    assert (change.before, change.after) == (60, after)
    run(left.ledger.retire(MONTH_LEAVES))
    assert left.balance(DAY, MONTH_LEAVES) == Balance(settled=after)


def test_a_limit_that_left_begins_empty(left):
    for number in range(3):
        assert isinstance(left.reserve(f"n{number}", RPM, at=MONTH_LEAVES), Held)
    assert not isinstance(left.reserve("n3", RPM, at=MONTH_LEAVES), Held)


def test_names_that_only_look_like_a_period_stay(books):
    stay = {"usd", "usd/run/day/2026-11-25", "usd/run/a%2Fday/2026-11-25", "usd/day/2026-13-01", "usd/instance/b:month/2026-11"}
    books.post(*(Post(name, 5, None) for name in stay), at=NOON)
    assert run(books.ledger.retire(NOON + 10_000 * DAY_MS)) == 0
    assert names(books.ledger, NOON) == stay


# -------------------------------------------------------------------------------------------------------------- in passing


def settled_at(books, at):
    books.settle(f"s{at}", (Charge(RUN, 0, None), 1), at=at, held_at=at)


def test_settlements_take_a_page_each_second_once_an_hour(books):
    many = {f"usd/user/u{number:04}/day/2026-11-25" for number in range(2_500)}
    books.post(*(Post(name, 1, None) for name in sorted(many)), at=NOON)
    settled_at(books, LEAVES)  # the first settlement of a new ledger only sets the time
    assert many <= names(books.ledger, LEAVES)
    at, counts = LEAVES + LOOK_EVERY_MS, []
    settled_at(books, at - 1)
    assert many <= names(books.ledger, at)
    while many & names(books.ledger, at):
        settled_at(books, at)
        settled_at(books, at + PAGE_EVERY_MS - 1)
        counts.append(len(many & names(books.ledger, at)))
        at += PAGE_EVERY_MS
        assert len(counts) < 20
    assert counts[0] >= 200  # a bounded part of them
    assert len(counts) > 1
    assert names(books.ledger, at) == {RUN}
    assert {books.balance(name, at).settled for name in sorted(many)[::100]} == {1}
    settled_at(books, at)
    books.post(Post(DAY, 1, None), at=at)
    settled_at(books, at + LOOK_EVERY_MS - 2 * PAGE_EVERY_MS)
    assert DAY in names(books.ledger, at)
    settled_at(books, at + LOOK_EVERY_MS)
    assert DAY not in names(books.ledger, at)


@pytest.mark.parametrize("column", ["settled", "live", "held"])
def test_a_damaged_account_fails_no_settlement_of_others(tmp_path, column):
    ledger = SqliteLedger(tmp_path / "ledger.sqlite3", ManualRuntime().sleep)
    run(ledger.post((Post("usd/user/ann/day/2026-11-25", 1, None), Post(DAY, 1, None)), (), NOON))
    late = [Settlement(Hold(f"s{at}", (Charge(RUN, 0, None),), 60_000), NOON, (1,), "{}") for at in range(2)]
    run(ledger.settle(late[0], LEAVES))
    with closing(sqlite3.connect(ledger.path)) as connection:
        connection.execute(f"UPDATE account SET {column} = 'junk' WHERE name LIKE '%ann%'")  # noqa: S608 - a column of the test's own
        connection.commit()
    run(ledger.settle(late[1], LEAVES + LOOK_EVERY_MS))
    assert list(run(ledger.balances_of([RUN, DAY], LEAVES))) == [DAY, RUN]
    with closing(sqlite3.connect(ledger.path)) as connection:
        assert connection.execute("SELECT account FROM retired").fetchall() == [(DAY,)]
    with pytest.raises(LedgerUnusable, match="is damaged"):
        run(ledger.balances("", LEAVES))
    run(ledger.close())


def test_the_settlement_that_needs_an_account_does_not_lose_it(books):
    books.post(Post(DAY, 5, None), at=NOON)
    settled_at(books, LEAVES)
    books.settle("late", (day(0), 2), at=LEAVES + LOOK_EVERY_MS, held_at=NOON)
    assert books.balance(DAY, LEAVES + LOOK_EVERY_MS) == Balance(settled=7)


def test_a_caller_whose_clock_is_a_month_ahead_does_not_take_the_current_month(spent):
    """Even in a ledger that follows its callers' clocks."""
    at = NOON + 31 * DAY_MS
    settled_at(spent, at)
    settled_at(spent, at + LOOK_EVERY_MS)
    assert {DAY, MONTH, RUN} <= names(spent.ledger, at)


def test_a_clock_that_is_not_believed_takes_nothing(tmp_path):
    uptime = [0]
    ledger = SqliteLedger(tmp_path / "ledger.sqlite3", ManualRuntime().sleep, machine_time=lambda: ("boot", uptime[0]))
    run(ledger.post((Post(DAY, 5, None),), (), NOON))
    run(ledger.reserve(Hold("open", (RPM,), 10**9), NOON))  # a ledger that is idle believes every clock
    for step in range(3):
        uptime[0] += LOOK_EVERY_MS
        at = NOON + 90 * DAY_MS + step * LOOK_EVERY_MS
        run(ledger.settle(Settlement(Hold(f"s{step}", (Charge(RUN, 0, None),), 5), at, (1,), "{}"), at))
        run(ledger.retire(at, days=3))
    assert DAY in names(ledger, NOON)
    run(ledger.close())


# ------------------------------------------------------------------------------------------------------------- the choice


def test_the_choice_by_name_sum_and_time():
    idle = [(DAY, 5), (MONTH, 0), (RUN, 0), ("usd", 0), ("requests/m", 0), ("parallel/m", -1), ("slots/day/2026-11-25", 0)]
    empty = ["requests/m", "slots/day/2026-11-25"]
    assert leaving(idle, LEAVES - 1, RETIRE_DAYS) == ([], empty)
    assert leaving(idle, LEAVES, RETIRE_DAYS) == ([DAY], empty)
    assert leaving(idle, MONTH_ENDS, 0) == ([DAY, MONTH], empty)
    assert leaving(idle, LEAVES, retirement.MOST_DAYS) == ([], empty)


# ---------------------------------------------------------------------------------------------------- operators and moves


SHARED = pytest.mark.parametrize("ledger", ["sqlite", "redis"], indirect=True)


def exported(ledger):
    with closing(admin_for(ledger)) as admin:
        return b"".join(write_lines(admin.snapshot()))


def load(ledger, lines):
    with closing(admin_for(ledger)) as admin:
        admin.load(up_to_date(read_lines(lines)))


@SHARED
@pytest.mark.parametrize("to", ["sqlite", "redis"])
def test_a_move_keeps_the_sums_and_the_setting(left, to, tmp_path, request):
    ledger = left.ledger
    with closing(admin_for(ledger)) as admin:
        assert dict(admin.retired()) == {DAY: 60, MONTH: 60}
        admin.set_retire_days(90)
        described = admin.describe()
        assert (described.accounts, described.retired, described.retire_days) == (1, 2, 90)
    text = exported(ledger)
    if to == "sqlite":
        other = SqliteLedger(tmp_path / "other.sqlite3", ManualRuntime().sleep)
    else:
        url = f"{request.getfixturevalue('redis_url')}-other"
        other = RedisLedger(read_address(url), ManualRuntime().sleep, blocking=True, server_clock=False)
    load(other, text.splitlines(keepends=True))
    assert exported(other) == text
    found = reconcile(read_lines(text.splitlines(keepends=True)), adds_up=is_money)
    assert (found.accounts, found.retired, found.differences) == (1, 2, ())
    assert isinstance(run(other.reserve(Hold("h2", (day(41),), 5), NOON)), Refused)
    with closing(admin_for(other)) as admin, pytest.raises(LedgerUnusable, match="is not empty"):
        admin.load([])
    run(other.close())


@SHARED
def test_the_ledgers_setting_counts_in_passing(spent):
    ledger = spent.ledger
    with closing(admin_for(ledger)) as admin:
        admin.set_retire_days(1)
    settled_at(spent, DAY_ENDS + DAY_MS - 1)
    settled_at(spent, DAY_ENDS + 2 * DAY_MS)
    assert names(ledger, DAY_ENDS) == {RUN, MONTH}


@SHARED
def test_a_sum_that_was_changed_is_a_difference(left):
    text = exported(left.ledger).replace(b'{"retired":"usd/day/2026-11-25","settled":60}', b'{"retired":"usd/day/2026-11-25","settled":59}')
    (difference,) = reconcile(_unchecked(text), adds_up=is_money).differences
    assert (difference.account, difference.what, difference.stored, difference.adds_up_to) == (DAY, "settled", 59, 60)


def _unchecked(text):
    lines = text.splitlines(keepends=True)
    try:
        yield from read_lines(lines)
    except InvalidExport as invalid:
        assert "digest differs" in str(invalid)  # noqa: PT017  the text was changed on purpose


def test_an_account_can_not_have_left_and_be_there():
    lines = list(write_lines([ExportHead(5), AccountSums(DAY, 1, 0, 0), RetiredAccount(DAY, 1)]))
    with pytest.raises(InvalidExport, match="has left the ledger, but an earlier line has it as well"):
        list(read_lines(lines))


@pytest.mark.parametrize("days", [-1, retirement.MOST_DAYS + 1])
def test_an_export_with_a_setting_out_of_range_is_refused(days):
    with pytest.raises(InvalidExport, match="retire_days"):
        list(read_lines(write_lines([ExportHead(5, retire_days=days)])))


def test_an_export_of_format_3_counts_no_accounts_that_left(tmp_path):
    lines = [b'{"paymaster_ledger":3,"clock_ms":5}\n', b'{"account":"usd/run/a","settled":0,"live":0,"held":0}\n']
    counts, digest = dict.fromkeys(("account", "opening", "hold", "entry", "record"), 0), hashlib.sha256(b"".join(lines))
    lines.append(json.dumps({"end": {**counts, "account": 1}, "sha256": digest.hexdigest()}).encode() + b"\n")
    ledger = SqliteLedger(tmp_path / "ledger.sqlite3", ManualRuntime().sleep)
    load(ledger, lines)
    assert names(ledger, 5) == {RUN}
    run(ledger.close())


# --------------------------------------------------------------------------------------- crashes and processes of before

SOURCE = str(Path(__file__).parents[2] / "src")
DYING = """
import os, signal, sys
from pathlib import Path
from paymaster.accounting.accounts import Charge, Hold, Post, Settlement
from paymaster.ledgers.sqlite.ledger import SqliteLedger
from paymaster.ledgers.sqlite.store import SqliteStore
from paymaster.runtime import BlockingRuntime, run

path, verb, when, day, now_ms = sys.argv[1:]
ledger = SqliteLedger(Path(path), BlockingRuntime().sleep)
do = getattr(SqliteStore, verb)

def die(store, *values):
    if when == "after":
        do(store, *values)
    os.kill(os.getpid(), signal.SIGKILL)

setattr(SqliteStore, verb, die)
if verb == "retire":
    run(ledger.retire(int(now_ms)))
else:
    run(ledger.post((Post(day, 1, None),), (), int(now_ms)))
"""


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("verb", ["retire", "forget_retired"])
def test_a_process_that_is_killed_on_the_way_loses_no_sum(tmp_path, verb, when):
    path = tmp_path / "ledger.sqlite3"
    ledger = SqliteLedger(path, ManualRuntime().sleep)
    run(ledger.post((Post(DAY, 60, None),), (), NOON))
    if verb == "forget_retired":
        run(ledger.retire(LEAVES))
    run(ledger.close())
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")} | {"PYTHONPATH": SOURCE}
    arguments = [str(path), verb, when, DAY, str(LEAVES)]
    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(DYING), *arguments], env=environment, check=False, timeout=60)
    assert ended.returncode == -signal.SIGKILL
    for _ in range(2):
        refused = run(ledger.reserve(Hold("h", (day(41),), 5), LEAVES))
        assert isinstance(refused, Refused)
        assert refused.shortfalls[0].balance.settled == 60
        run(ledger.retire(LEAVES))
    run(ledger.close())


OLD_FIND_KNOWN = """
SELECT clock.now_ms, clock.next_lease_end_ms, clock.queue_until_ms, (SELECT min(free_ms) FROM entry),
    clock.uptime_ms, clock.claimed_at_ms, clock.confirmed_at_ms, clock.boot_id, record.lost,
    hold.at_ms, hold.lease_until_ms, hold.charges, hold.lost_record, hold.process
FROM clock LEFT JOIN hold ON hold.id = ? LEFT JOIN record ON record.hold_id = ?
"""


def test_a_process_of_the_version_before_is_refused_once_the_file_is_brought_up_to_date(tmp_path):
    """It would not find the sums, and grant the budgets again."""
    path = tmp_path / "ledger.sqlite3"
    with closing(sqlite3.connect(path, isolation_level=None)) as before:
        before.execute("PRAGMA journal_mode = WAL")
        for version, script in file._migrations():
            if version <= 5:
                before.executescript(script)
        before.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        before.execute("PRAGMA user_version = 5")
        before.execute("INSERT INTO account VALUES (?, 60, 0, 0)", (DAY,))
        assert before.execute(OLD_FIND_KNOWN, ("", "")).fetchone()
        ledger = SqliteLedger(path, ManualRuntime().sleep)
        assert run(ledger.balances("", NOON)) == {DAY: Balance(settled=60)}
        with pytest.raises(sqlite3.OperationalError, match=r"no such column: clock\.claimed_at_ms") as caught:
            before.execute(OLD_FIND_KNOWN, ("", ""))
        assert isinstance(file.to_error(caught.value, path, worked=True), LedgerUnusable)
        assert run(ledger.retire(LEAVES)) == 1
        run(ledger.close())


@pytest.fixture
def server(redis_server):
    with redis.Redis(port=redis_server.port) as client:
        yield client


@pytest.fixture
def on_server(redis_url):
    made = RedisLedger(read_address(redis_url), ManualRuntime().sleep, blocking=True, server_clock=False)
    yield made
    run(made.close())


def as_version_3(state, version=3):
    """The state as the version before wrote it: nine figures and the id."""
    figures = struct.unpack("<13d", state[:104])
    return struct.pack("<9d", version, *figures[1:9]) + state[104:]


@pytest.mark.parametrize("version", [3, 1003])
def test_a_ledger_on_a_server_is_brought_up_to_date(on_server, server, version):
    """1003: a client of the version before was bringing it up to date, and died."""
    run(on_server.post((Post(DAY, 60, None),), (), NOON))
    before = admin_for(on_server).describe()
    key = on_server.address.state_key
    server.set(key, as_version_3(server.get(key), version))
    assert isinstance(run(on_server.reserve(Hold("h", (day(41),), 5), NOON)), Refused)
    assert run(on_server.retire(LEAVES)) == 1
    described = admin_for(on_server).describe()
    assert (described.version, described.retired, described.retire_days) == (4, 1, RETIRE_DAYS)
    assert described.id == before.id
    assert server.hgetall(key.replace("state", "retired")) == {DAY.encode(): b"60"}


def test_a_hold_between_the_two_steps_on_a_server_keeps_its_account(on_server):
    run(on_server.post((Post(DAY, 60, None), Post(MONTH, 5, None)), (), NOON))
    ask, steps = on_server._runner.run, []

    async def slowly(verb, request, *, waits=False):
        if verb == "retire":
            steps.append(request)
            if len(steps) == 2:
                await on_server.reserve(Hold("h", (day(10),), 10**12), LEAVES)
                await on_server.post((Post(MONTH, 2, None),), (), LEAVES)
        return await ask(verb, request, waits=waits)

    on_server._runner.run = slowly
    assert run(on_server.retire(MONTH_LEAVES)) == 1
    assert sorted(steps[1]["ended"]) == [DAY, MONTH]
    assert run(on_server.balances("", MONTH_LEAVES)) == {DAY: Balance(settled=60, held=10)}
    assert run(on_server.balances_of([MONTH], MONTH_LEAVES)) == {MONTH: Balance(settled=7)}


def test_a_settlement_on_a_server_ends_well_if_looking_for_accounts_fails(on_server, server):
    run(on_server.post((Post(DAY, 60, None),), (), NOON))
    run(on_server.settle(Settlement(Hold("first", (day(0),), 5), LEAVES, (1,), "{}"), LEAVES))
    server.hset(on_server.address.state_key.replace("state", "accounts"), "requests/x", b"damaged")
    at = LEAVES + LOOK_EVERY_MS
    settled = run(on_server.settle(Settlement(Hold("second", (day(0),), 5), at, (1,), "{}"), at))
    assert (settled.again, settled.changes[0].after) == (False, 62)
