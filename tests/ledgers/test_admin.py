"""What an operator does with a ledger is the same for every kind: describe it, move it without loss, shorten its journal."""

import random
from contextlib import ExitStack, closing

import orjson
import pytest
import redis

from old_schema import make_first_version
from paymaster.accounting.accounts import Balance, Charge, Hold, Post, Settlement
from paymaster.errors import LedgerUnusable
from paymaster.ledgers.admin.export_format import ExportHead, InvalidExport, OpeningBalance, read_lines, write_lines
from paymaster.ledgers.redis.address import read_address
from paymaster.ledgers.redis.ledger import RedisLedger
from paymaster.ledgers.sqlite.ledger import SqliteLedger
from paymaster.ledgers.urls import admin_for
from paymaster.runtime import iterate, run

T = 1_700_000_000_000
USD = Charge("usd/run/a", 40, 10**9)
RPM = Charge("requests/m", 1, 1_000, 60_000)
SLOT = Charge("slots/m", 1, 8, 0)


@pytest.fixture
def open_another(request, tmp_path, runtime):
    """Opens new ledgers of a kind."""
    opened = []

    def make(kind):
        if kind == "sqlite":
            ledger = SqliteLedger(tmp_path / f"ledger-{len(opened)}.sqlite3", runtime.sleep)
        else:
            url = f"{request.getfixturevalue('redis_url')}-{len(opened)}"
            ledger = RedisLedger(read_address(url), runtime.sleep, blocking=True, server_clock=False)
        opened.append(ledger)
        return ledger

    yield make
    for ledger in opened:
        run(ledger.close())


@pytest.fixture
def open_admin():
    """The admin of a ledger, closed with the test."""
    with ExitStack() as admins:
        yield lambda ledger: admins.enter_context(closing(admin_for(ledger)))


def live(ledger, calls=40, seed=1):
    """A history: calls settled, lost, corrected, open; posts, pauses, an emptied window."""
    draw = random.Random(seed)
    now = T
    for number in range(calls):
        now += draw.randrange(3_000)
        charges = (USD, Charge(f"usd/day/{number % 3}", 40, None), RPM, SLOT)
        hold = Hold(f"h{number}", charges, draw.choice([4_000, 10**9]), orjson.dumps({"lost": number, "é": "\n\u2028"}).decode())
        held = run(ledger.reserve(hold, now))
        if draw.random() < 0.7:
            cost = draw.randrange(60)
            record = orjson.dumps({"cost": cost, "text": "ü\U0001f600"}).decode()
            posts = (Post("pause/m", 1, 5_000),) * (number % 3) + (Post("usd/day/0", -1, None),) * (number % 2)
            late = draw.choice([0, 5_000])
            run(ledger.settle(Settlement(hold, held.at_ms, (cost, cost, 1, 1), record, posts), now + late))
    run(ledger.post((Post("failures/m", 2, 900_000), Post("failures/m", 3, 900_000), Post("usd", 7, None)), ("pause/m",), now))
    return now


def exported(ledger):
    with closing(admin_for(ledger)) as admin:
        return b"".join(write_lines(admin.snapshot()))


def imported(text, ledger):
    with closing(admin_for(ledger)) as admin:
        admin.load(read_lines(text.splitlines(keepends=True)))
    return ledger


@pytest.mark.parametrize("kinds", [("sqlite", "redis", "sqlite"), ("redis", "sqlite", "redis")])
def test_a_ledger_moves_there_and_back_without_losing_a_byte(open_another, kinds):
    first, second, third = map(open_another, kinds)
    now = live(first)
    text = exported(first)
    assert exported(imported(text, second)) == text
    assert exported(imported(exported(second), third)) == text
    kinds_of_lines = {next(iter(orjson.loads(line))) for line in text.splitlines()}
    assert kinds_of_lines == {"paymaster_ledger", "account", "hold", "entry", "record", "end"}
    assert {record.lost for record in iterate(first.records())} == {True, False}
    # They also live on alike.
    for ledger in (first, second, third):
        run(ledger.sweep(now + 10_000))
        hold = Hold("next", (USD, RPM, SLOT), 1_000)
        run(ledger.settle(Settlement(hold, run(ledger.reserve(hold, now + 10_001)).at_ms, (5, 1, 1), "{}"), now + 10_002))
    expected = run(first.balances("", now + 10_003))
    assert run(second.balances("", now + 10_003)) == run(third.balances("", now + 10_003)) == expected
    assert list(iterate(first.records())) == list(iterate(second.records())) == list(iterate(third.records()))


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_what_was_settled_before_a_move_is_not_settled_again_after_it(open_another, kind):
    first, second = open_another("sqlite"), open_another(kind)
    lost, paid = Hold("lost", (USD, RPM), 1_000), Hold("paid", (USD, RPM), 1_000)
    for hold in (lost, paid):
        run(first.reserve(hold, T))
    run(first.settle(Settlement(paid, T, (5, 1), "{}"), T))
    run(first.sweep(T + 1_000))
    imported(exported(first), second)
    assert run(second.settle(Settlement(paid, T, (5, 1), "{}"), T + 2_000)).again
    late = run(second.settle(Settlement(lost, T, (6, 1), "{}"), T + 2_000))
    assert (late.changes[0].before, late.changes[0].after) == (45, 11)
    with pytest.raises(ValueError, match="already ended"):
        run(second.reserve(paid, T + 2_000))


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_a_ledger_that_is_not_empty_takes_no_import(open_another, kind):
    ledger = open_another(kind)
    live(ledger, 3)
    before = exported(ledger)
    with pytest.raises(LedgerUnusable, match=r"is not empty: \d+ accounts, \d+ records"):
        imported(before, ledger)
    assert exported(ledger) == before


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
@pytest.mark.parametrize("keep", [1, 5, 12, -1])
def test_an_import_that_is_cut_off_leaves_nothing_behind(open_another, kind, keep):
    first, second = open_another("sqlite"), open_another(kind)
    live(first)
    text = exported(first)
    cut = b"".join(text.splitlines(keepends=True)[:keep])
    with pytest.raises(InvalidExport, match="without its last line"):
        imported(cut, second)
    assert list(iterate(second.records())) == []
    assert run(second.balances("", T)) == {}
    assert exported(imported(text, second)) == text


def change(text, old, new):
    assert old in text
    return text.replace(old, new, 1)


@pytest.mark.parametrize(
    ("edit", "line", "reason"),
    [
        (lambda text: change(text, b'{"account"', b'{"acount"'), 2, "no line of a ledger's export"),
        (lambda text: change(text, b'"settled":', b'"settled":1'), -1, "digest differs"),
        (lambda text: change(text, b'"live":', b'"live":"x",'), 2, "it is not JSON"),
        (lambda text: change(text, b'"held":0', b'"held":0.5'), 2, "'held' is a whole number"),
        (lambda text: change(text, b'"held":0', b'"hold":0'), 2, "it has no 'held'"),
        (lambda text: text[:200], None, "cut off there"),
        (lambda text: b"".join(text.splitlines(keepends=True)[1:]), 1, "first line"),
        (lambda text: text + text, None, "can't follow"),
        (lambda text: change(text, b'"paymaster_ledger":4', b'"paymaster_ledger":9'), 1, "later Paymaster"),
        (lambda text: double(text, 1), 3, "a duplicate of an earlier line"),
        (lambda text: double(text, -2), -1, "lines are missing or doubled"),
        (lambda _text: b"", 0, "without its last line"),
        (lambda _text: b"\n", 1, "not JSON"),
    ],
)
def test_an_invalid_line_of_an_export_is_named(open_another, edit, line, reason):
    first = open_another("sqlite")
    live(first)
    text = edit(exported(first))
    with pytest.raises(InvalidExport, match=reason) as caught:
        imported(text, open_another("sqlite"))
    if line is not None:
        assert caught.value.number == (line if line >= 0 else text.count(b"\n"))


def double(text, at):
    lines = text.splitlines(keepends=True)
    lines.insert(at, lines[at])
    return b"".join(lines)


def test_figures_beyond_what_redis_counts_are_refused_whole(open_another):
    first, second = open_another("sqlite"), open_another("redis")
    run(first.post((Post("usd", 10**16, None),), (), T))
    with pytest.raises(LedgerUnusable, match="counts to"):
        imported(exported(first), second)
    assert run(second.balances("", T)) == {}


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_dropped_records_become_opening_balances(open_another, open_admin, kind):
    ledger = open_another(kind)
    live(ledger, 60)
    admin = open_admin(ledger)
    everything = list(iterate(ledger.records()))
    before = run(ledger.balances("usd", T))
    (first, _), *_, (last, _) = admin.oldest_records(T + 60_000, 10)
    assert first < last
    assert admin.drop_records(last) == 10
    assert list(iterate(ledger.records())) == everything[10:]
    expected = {}
    for record in everything[:10]:
        for account, amount in record.amounts.items():
            expected[account] = expected.get(account, 0) + amount
    assert dict(admin.opening_balances()) == {account: amount for account, amount in expected.items() if amount}
    assert run(ledger.balances("usd", T)) == before
    assert admin.drop_records(last) == 0
    moved = imported(exported(ledger), open_another("redis" if kind == "sqlite" else "sqlite"))
    assert dict(open_admin(moved).opening_balances()) == dict(admin.opening_balances())
    assert admin.oldest_records(1, 10) == []


def test_a_lost_hold_settled_after_its_record_was_dropped_still_adds_up(open_another, open_admin):
    """On a server, which remembers the hold longer than its journal does."""
    ledger = open_another("redis")
    hold = Hold("lost", (USD, RPM), 1_000)
    run(ledger.reserve(hold, T))
    run(ledger.sweep(T + 1_000))
    admin = open_admin(ledger)
    admin.drop_records(admin.oldest_records(T + 5_000, 1)[0][0])
    assert dict(admin.opening_balances()) == {"usd/run/a": 40, "requests/m": 1}
    run(ledger.settle(Settlement(hold, T, (6, 1), "{}"), T + 2_000))
    assert run(ledger.balances("usd", T)) == {"usd/run/a": Balance(settled=6)}
    assert admin.opening_balances()["usd/run/a"] == 0


def test_a_server_drops_records_by_age_and_keeps_what_they_charged(redis_url, open_admin, runtime):
    ledger = RedisLedger(read_address(redis_url + "&keep_days=1"), runtime.sleep, blocking=True, server_clock=False)
    for number in range(600):
        at = T if number < 100 else T + 86_400_000 + 5
        run(ledger.settle(Settlement(Hold(f"h{number}", (USD,), 1_000), at, (number,), "{}"), at))
    kept = list(iterate(ledger.records()))
    assert [record.hold_id for record in kept] == [f"h{number}" for number in range(100, 600)]
    assert dict(open_admin(ledger).opening_balances()) == {"usd/run/a": sum(range(100))}
    assert run(ledger.balances("", T)) == {"usd/run/a": Balance(settled=sum(range(600)))}
    run(ledger.close())


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_a_ledger_describes_itself(open_another, open_admin, kind):
    ledger = open_another(kind)
    admin = open_admin(ledger)
    assert [admin.make(), admin.make()] == [True, False]
    empty = admin.describe()
    assert (empty.accounts, empty.open_holds, empty.records, empty.oldest_ms) == (0, 0, 0, None)
    live(ledger)
    description = admin.describe()
    records = list(iterate(ledger.records()))
    assert (description.records, description.oldest_ms, description.newest_ms) == (len(records), records[0].at_ms, records[-1].at_ms)
    assert description.open_holds > 0
    assert description.accounts == len(run(ledger.balances("", T)))
    assert description.size_bytes > 1_000
    assert description.version == description.newest_version
    assert admin.migrate() == (description.version, description.version)


def test_a_file_of_the_first_version_is_brought_up_to_date_in_place(open_another, open_admin):
    ledger = open_another("sqlite")
    live(ledger)
    text = exported(ledger)
    run(ledger.close())
    make_first_version(ledger.path)
    admin = open_admin(SqliteLedger(ledger.path, None))
    assert admin.describe().version == 1
    assert admin.migrate() == (1, 6)
    assert admin.migrate() == (6, 6)
    admin.close()
    assert exported(ledger) == text


def test_an_unfinished_import_refuses_every_caller_and_can_be_started_again(open_another, open_admin, redis_server):
    first, second = open_another("sqlite"), open_another("redis")
    live(first)
    text = exported(first)
    run(second.ask("import", {"step": "begin", "token": 5, "new_id": "ab" * 16}))
    account = {"kind": "account", "account": "usd/half", "settled": 1, "live": 0, "held": 0}
    entry = {"kind": "entry", "account": "usd/half", "until_ms": T, "owner": "", "amount": 1}
    run(second.ask("import", {"step": "put", "token": 5, "part": 1, "items": [account, entry]}))
    run(second.ask("import", {"step": "put", "token": 5, "part": 1, "items": [account | {"account": "usd/again"}]}))
    for ask in (
        lambda: run(second.balances("", T)),
        lambda: open_admin(second).describe(),
        lambda: run(second.reserve(Hold("h", (USD,), 5), T)),
    ):
        with pytest.raises(LedgerUnusable, match=r"import into the ledger .* has not finished"):
            ask()
    assert exported(imported(text, second)) == text
    with redis.Redis(port=redis_server.port) as client:
        assert not client.exists(second.address.state_key.replace("state", "window:usd/half"))


def test_of_two_imports_at_once_the_later_one_wins(open_another, open_admin):
    first, second = open_another("sqlite"), open_another("redis")
    live(first)
    text = exported(first)

    def items():
        for number, item in enumerate(read_lines(text.splitlines(keepends=True))):
            if number == 5:
                open_admin(second).load([ExportHead(T), OpeningBalance("usd", 3)])
            yield item

    with pytest.raises(LedgerUnusable, match="Another import"):
        open_admin(second).load(items())
    assert dict(open_admin(second).opening_balances()) == {"usd": 3}
