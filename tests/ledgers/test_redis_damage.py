"""A value that Paymaster did not write is reported as damage, by name and before anything is written, whatever it is."""

import random
import struct
import time

import pytest
import redis

from paymaster.accounting.accounts import Charge, Hold, Post, Settlement, Waiters
from paymaster.errors import LedgerUnusable
from paymaster.ledgers.admin.ledger_admin import JournalPosition
from paymaster.ledgers.redis.address import read_address
from paymaster.ledgers.redis.ledger import RedisLedger
from paymaster.ledgers.urls import admin_for
from paymaster.runtime import BlockingRuntime, iterate, run

T = 1_000_000
USD, RPM, SLOT = Charge("usd/run/a", 40, 1_000), Charge("requests/m", 1, 3, 60_000), Charge("slots/m", 1, 8, 0)
CHARGES = (USD, RPM, SLOT)
OLD = Charge("usd/day/1969-11-01", 1, 9)


def opened(url, **options):
    return RedisLedger(read_address(url + "&timeout_ms=300"), BlockingRuntime().sleep, blocking=True, server_clock=False, **options)


class WholeLedger:
    """A ledger that has something in each of its keys, which can be put back as it was."""

    def __init__(self, url, client):
        self.ledger, self.client = opened(url), client
        self.prefix = self.ledger.address.state_key.removesuffix("state").encode()
        self._live()
        self.accounts = sorted(client.hkeys(self.key("accounts")))
        self.id = admin_for(self.ledger).describe().id
        self.keys = {key: client.dump(key) for key in self.found()}
        self.record = client.xrange(self.prefix + b"records")[0][0].decode()

    def _live(self):
        ledger = self.ledger
        run(ledger.post((Post(OLD.account, 4, None),), (), T))
        run(ledger.retire(T))
        for name in ("dropped", "settled"):
            held = run(ledger.reserve(Hold(name, CHARGES, 60_000), T))
            run(ledger.settle(Settlement(Hold(name, CHARGES, 60_000), held.at_ms, (7, 1, 1), '{"paid":1}'), T))
        run(ledger.reserve(Hold("lost", (USD, SLOT), 5, '{"lost":1}'), T + 1))
        run(ledger.sweep(T + 10))
        admin = admin_for(ledger)
        admin.drop_records(admin.oldest_records(T + 1, 1)[0][0])
        run(ledger.reserve(Hold("open", CHARGES, 60_000, '{"lost":2}'), T + 20))
        run(ledger.post((Post("pause/m", 1, 9_000), Post("usd/run/b", 5, None)), (), T + 22))
        run(ledger.reserve(Hold("waits", CHARGES, 60_000, waiters=Waiters({"m": 2}, 100)), T + 23, queue_for_ms=50_000))

    def found(self):
        return sorted(self.client.scan_iter(self.prefix + b"*"))

    def digest(self, *, late):
        """What all keys have, but the ledger's own time. What has left its window may be taken out at any moment."""
        state, keys = self.key("state"), self.found()
        with self.client.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.dump(key)
            pipe.get(state)
            *dumped, text = pipe.execute(raise_on_error=False)
        found = dict(zip(keys, dumped, strict=True))
        if state in found and isinstance(text, bytes):  # else it is of another type
            found[state] = text[:8] + text[16:]
        return {key: value for key, value in found.items() if not late or (b":accounts" not in key and b":window:" not in key)}

    def restore(self):
        with self.client.pipeline(transaction=False) as pipe:
            pipe.delete(*self.found(), *self.keys)
            for key, value in self.keys.items():
                pipe.restore(key, 0, value)
            pipe.execute()
        self.ledger.replaced_by(self.id)  # what was put back is older than what a verb has seen

    def key(self, name):
        return self.prefix + name.encode()


@pytest.fixture
def whole(redis_url, redis_server):
    with redis.Redis(port=redis_server.port) as client:
        made = WholeLedger(redis_url, client)
        yield made
        run(made.ledger.close())


def settle(ledger, name, held_at, at, charges=CHARGES, posts=(), clears=()):
    costs = (4, 1, 1) if charges == CHARGES else (4,) * len(charges)
    return run(ledger.settle(Settlement(Hold(name, charges, 60_000), held_at, costs, "{}", posts, clears), at))


POSTS, CLEARS = (Post("usd/run/b", 1, None), Post("pause/m", 1, 500)), ("failures/m", "pause/m")
VERBS = {
    "reserve": lambda ledger: run(ledger.reserve(Hold("new", (USD, SLOT), 60_000), T + 30)),
    "reserve and be refused": lambda ledger: run(ledger.reserve(Hold("full", CHARGES, 60_000), T + 30, queue_for_ms=5_000)),
    "reserve after the window": lambda ledger: run(ledger.reserve(Hold("later", (RPM, Charge("pause/m", 0, 0)), 60_000), T + 60_010)),
    "reserve again": lambda ledger: run(ledger.reserve(Hold("open", CHARGES, 60_000), T + 30)),
    "reserve after the lease": lambda ledger: run(ledger.reserve(Hold("next", (Charge("usd/x", 1, None),), 60_000), T + 70_000)),
    "settle": lambda ledger: settle(ledger, "open", T + 20, T + 30),
    "settle with posts": lambda ledger: settle(ledger, "open", T + 20, T + 30, posts=POSTS, clears=CLEARS),
    "settle after the lease": lambda ledger: settle(ledger, "other", T + 20, T + 70_000, posts=POSTS, clears=CLEARS),
    "settle a lost one": lambda ledger: settle(ledger, "lost", T + 1, T + 30, (USD, SLOT)),
    "settle again": lambda ledger: settle(ledger, "settled", T, T + 30),
    "settle an unknown one": lambda ledger: settle(ledger, "unknown", T, T + 30),
    "renew": lambda ledger: run(ledger.ask("renew", {"clock_ms": T + 30, "holds": ["open"], "own_ms": [90_000], "lease_ms": 70_000})),
    "holders": lambda ledger: run(ledger.ask("holders", {"clock_ms": T + 30, "cursor": "0", "count": 9, "within_ms": 90_000})),
    "withdraw": lambda ledger: run(ledger.withdraw("open")),
    "withdraw a waiter": lambda ledger: run(ledger.withdraw("waits")),
    "post": lambda ledger: run(ledger.post(POSTS, CLEARS, T + 30)),
    "sweep after the lease": lambda ledger: run(ledger.sweep(T + 70_000)),
    "balances": lambda ledger: run(ledger.balances("", T + 30)),
    "balances after the lease": lambda ledger: run(ledger.balances("", T + 70_000)),
    "waiting": lambda ledger: run(ledger.waiting(T + 30)),
    "records": lambda ledger: list(iterate(ledger.records())),
    "make": lambda ledger: admin_for(ledger).make(),
    "describe": lambda ledger: admin_for(ledger).describe(),
    "snapshot": lambda ledger: list(admin_for(ledger).snapshot()),
    "opening balances": lambda ledger: admin_for(ledger).opening_balances(),
    "oldest records": lambda ledger: admin_for(ledger).oldest_records(T + 99_000, 5),
    "retired": lambda ledger: admin_for(ledger).retired(),
    "reserve on a retired one": lambda ledger: run(ledger.reserve(Hold("old", (OLD,), 60_000), T + 30)),
    "retire": lambda ledger: run(ledger.retire(T + 30)),
    "drop records": lambda ledger: admin_for(ledger).drop_records(JournalPosition(T + 99_000, 0)),
}
RANDOM = random.Random(7)
VALUES = {
    "empty": lambda _: b"",
    "one byte": lambda _: b"x",
    "cut off by one": lambda value: value[:-1],
    "cut in half": lambda value: value[: len(value) // 2],
    "no numbers": lambda value: b"\xff" * max(len(value), 1),
    "infinite": lambda value: (struct.pack("<d", float("inf")) * (len(value) // 8 + 1))[: len(value)],
    "other numbers": lambda value: (struct.pack("<d", 1.5e-300) * (len(value) // 8 + 1))[: len(value)],
    "large numbers": lambda value: (struct.pack("<d", -1e300) * (len(value) // 8 + 1))[: len(value)],
    "other bytes": lambda value: bytes(RANDOM.randrange(128, 256) for _ in value),  # none is a digit
    "text": lambda _: b"mine",
    "JSON": lambda _: b'{"mine":[1]}',
}
HASHES = {
    "accounts": "account",
    "holds": "hold",
    "line": "ticket",
    "lost": "lost hold",
    "opening": "opening balance",
    "retired": "retired account",
}
TYPES = ["string", "list", "hash", "set", "zset", "stream"]


def outcome(ask, whole, *, late):
    """The message of the damage that was met, if there was any. Nothing else is raised, and nothing is written then."""
    before = whole.digest(late=late)
    met = None
    try:
        ask(whole.ledger)
    except LedgerUnusable as error:
        met = str(error)
    if met:
        assert "is damaged" in met
        assert f"?name={whole.ledger.address.name}" in met
        assert "paymaster ledger verify" in met
        assert whole.digest(late=late) == before
    return met


def all_outcomes(whole, damage):
    """What each verb met; every verb finds the same damage."""
    met = {}
    for verb, ask in VERBS.items():
        whole.restore()
        damage(whole.client)
        met[verb] = outcome(ask, whole, late="after" in verb)
    return {verb: message for verb, message in met.items() if message}


@pytest.mark.parametrize("name", HASHES)
@pytest.mark.parametrize("value", VALUES)
def test_a_value_that_is_damaged_is_named(whole, name, value):
    key, change = whole.key(name), VALUES[value]
    for field, kept in sorted(whole.client.hgetall(key).items())[-3:]:
        changed = change(kept)
        met = all_outcomes(whole, lambda client, field=field, changed=changed: client.hset(key, field, changed))
        assert met
        assert {f"the {HASHES[name]} {field.decode()!r} can't be read" in message for message in met.values()} == {True}
        whole.restore()


@pytest.mark.parametrize("value", [name for name in VALUES if name != "JSON"])
def test_a_state_that_is_damaged_stops_every_verb(whole, value):
    key = whole.key("state")
    kept = whole.client.get(key)
    met = all_outcomes(whole, lambda client: client.set(key, VALUES[value](kept)))
    assert met.keys() == VERBS.keys()
    assert all("its state is not one that Paymaster wrote" in message for message in met.values())
    met = all_outcomes(whole, lambda client: client.set(key, kept + b"x"))
    assert met.keys() == VERBS.keys()


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("name", [*HASHES, "state", "ended", "records", "window:requests/m", "window:pause/m"])
def test_a_key_of_another_type_is_named(whole, name, kind):
    key = whole.key(name)
    if whole.client.type(key).decode() == kind:
        return
    met = all_outcomes(whole, lambda client: make_key(client, key, kind))
    assert met
    assert all(f"the key {key.decode()} lacks what it had, or it is of another type" in message for message in met.values()) or (
        name == "state"
    )


def make_key(client, key, kind):
    client.delete(key)
    match kind:
        case "string":
            client.set(key, "mine")
        case "list":
            client.rpush(key, "mine")
        case "hash":
            client.hset(key, "mine", "1")
        case "set":
            client.sadd(key, "mine")
        case "zset":
            client.zadd(key, {"mine": 1})
        case _:
            client.xadd(key, {"mine": "1"})


READING = {"balances", "waiting", "retired", "records", "describe", "snapshot", "opening balances", "oldest records"}


def test_accounts_that_were_removed_stop_every_verb_that_needs_them(whole):
    """Without them a budget would begin again."""
    key = whole.key("accounts")
    met = all_outcomes(whole, lambda client: client.delete(key))
    assert VERBS.keys() - met.keys() == {"renew", "withdraw a waiter", "make", "drop records"}
    assert all(f"the key {key.decode()} lacks what it had" in message for message in met.values())
    for account in whole.accounts:
        met = all_outcomes(whole, lambda client, account=account: client.hdel(key, account))
        assert met.keys() >= READING
        assert "settle with posts" in met
        assert all(f"the key {key.decode()} lacks what it had" in message for message in met.values())


def test_sums_of_accounts_that_left_stop_every_verb_that_may_need_them_if_they_were_removed(whole):
    key = whole.key("retired")
    met = all_outcomes(whole, lambda client: client.delete(key))
    assert met.keys() >= READING | {"retire", "reserve on a retired one"}
    assert all(f"the key {key.decode()} lacks what it had" in message for message in met.values())


@pytest.mark.parametrize("entry", [{"mine": 5}, {"1:": float("inf")}, {"x@1": T + 50_000}, {b"\xff\xfe": T + 1}])
def test_an_entry_of_a_window_that_is_damaged_is_named(whole, entry):
    met = all_outcomes(whole, lambda client: client.zadd(whole.key("window:requests/m"), entry))
    assert {"balances", "snapshot"} <= met.keys()
    assert all("the window 'requests/m' can't be read" in message for message in met.values())


GOOD = {"hold": "h", "lost": "0", "amounts": '{"usd/run/a":1}', "body": "{}"}


@pytest.mark.parametrize(
    "change",
    [
        {"amounts": "x"},
        {"amounts": "[]"},
        {"amounts": '{"usd/run/a":"1"}'},
        {"amounts": '{"usd/run/a":1.5}'},
        {"amounts": '{"usd/run/a":'},
        {"amounts": b"\xff\xff"},
        {"amounts": "{}", "lost": "1"},
        {"amounts": '["usd/run/a",1,-1]', "lost": "1"},
        {"amounts": '["usd/run/a","1",-1,-1]', "lost": "1"},
        {"body": "{"},
        {"body": b"\xff"},
        {"hold": b"\xff"},
        {"amounts": None},
        {"body": None},
        {"hold": None},
        {"lost": None},
    ],
)
def test_a_record_that_is_damaged_is_named(whole, change):
    fields = {name: value for name, value in {**GOOD, **change}.items() if value is not None}
    position = f"{T + 10}-5"
    met = all_outcomes(whole, lambda client: client.xadd(whole.key("records"), fields or {"mine": "1"}, id=position))
    assert {"records", "snapshot", "oldest records"} <= met.keys()
    assert all(f"the record '{position}' can't be read" in message for message in met.values())


def test_a_name_that_looks_like_a_passing_fault_is_not_tried_again(whole):
    """A fault that passes is known by a word in its text; an account may have any name."""
    account = "usd/run/OOM LOADING BUSY READONLY"
    run(whole.ledger.post((Post(account, 1, None),), (), T + 30))
    whole.client.hset(whole.key("accounts"), account, b"x")
    started = time.monotonic()
    with pytest.raises(LedgerUnusable, match="OOM LOADING"):
        run(whole.ledger.reserve(Hold("new", (Charge(account, 1, None),), 60_000), T + 40))
    assert time.monotonic() - started < 0.25


def test_a_hold_that_is_damaged_inside_is_named(whole):
    key = whole.key("holds")
    for charges in (b"", b"[1", b'["usd/run/a"]', b'["usd/run/a",1,1,1.5]', b"[1,1,1,1]", b'["usd/run/a","x",1,1]', b"{}", b"\xff\xff"):
        value = struct.pack("<dddd", T, T + 60_000, len(charges), 0) + charges + b"{}"
        met = all_outcomes(whole, lambda client, value=value: client.hset(key, "open", value))
        assert {"settle", "sweep after the lease", "snapshot"} <= met.keys()
        assert all("the hold 'open' can't be read" in message for message in met.values())
    charges = b'["usd/run/a",1,-1,-1]'
    for lost_record in (b"", b"{", b"\xff"):
        value = struct.pack("<dddd", T, T + 60_000, len(charges), 0) + charges + lost_record
        met = all_outcomes(whole, lambda client, value=value: client.hset(key, "open", value))
        assert "snapshot" in met
