"""A ledger on a server from before it had an id is brought up to date by the first call, whole and without reading its accounts."""

import base64
import json
import struct
from pathlib import Path

import pytest
import redis

from paymaster.accounting.accounts import Balance, Charge, Hold, Settlement
from paymaster.errors import LedgerReplaced, LedgerUnusable
from paymaster.ledgers.identity import KnownLedger
from paymaster.ledgers.redis.address import read_address
from paymaster.ledgers.redis.ledger import RedisLedger
from paymaster.ledgers.urls import admin_for
from paymaster.runtime import BlockingRuntime, iterate, run

MADE = json.loads((Path(__file__).parents[1] / "fixtures" / "redis_schema_2" / "redis.json").read_text(encoding="utf-8"))
EXPECTED = MADE["expected"]
T = 2_200_000_000_000
CHARGES = (Charge("usd/run/a", 40, 1_000), Charge("requests/m", 1, 3, 60_000), Charge("slots/m", 1, 8, 0))


def unpacked(kept):
    return kept.encode() if isinstance(kept, str) else base64.b64decode(kept["base64"])


def put_back(client, prefix):
    for name, kept in MADE["keys"].items():
        key, value = prefix + name, kept["value"]
        match kept["type"]:
            case "string":
                client.set(key, unpacked(value))
            case "hash":
                client.hset(key, mapping={unpacked(field): unpacked(text) for field, text in value})
            case "zset":
                client.zadd(key, {unpacked(member): score for member, score in value})
            case _:
                for position, parts in value:
                    pairs = [unpacked(part) for part in parts]
                    client.xadd(key, dict(zip(pairs[::2], pairs[1::2], strict=True)), id=position)
                client.execute_command("XSETID", key, kept["last_id"])


@pytest.fixture
def client(redis_server):
    with redis.Redis(port=redis_server.port) as made:
        yield made


@pytest.fixture
def open_old(redis_url, client, tmp_path):
    """Opens the ledger as it was written, as a process of a state directory does."""
    address, opened = read_address(redis_url), []
    put_back(client, address.state_key.removesuffix("state"))

    def make(state="state"):
        known = KnownLedger(tmp_path / state, "ledger")
        opened.append(RedisLedger(address, BlockingRuntime().sleep, blocking=True, server_clock=False, known=known))
        return opened[-1]

    yield make
    for ledger in opened:
        run(ledger.close())


FIRST_CALLS = {
    "reserve": lambda ledger: run(ledger.reserve(Hold("new", (), 60_000), T + 24)),
    "settle": lambda ledger: run(ledger.settle(Settlement(Hold("new", (), 60_000), T, (), "{}"), T + 24)),
    "withdraw": lambda ledger: run(ledger.withdraw("new")),
    "post": lambda ledger: run(ledger.post((), (), T + 24)),
    "sweep": lambda ledger: run(ledger.sweep(T + 24)),
    "balances": lambda ledger: run(ledger.balances("", T + 24)),
    "records": lambda ledger: list(iterate(ledger.records())),
    "describe": lambda ledger: admin_for(ledger).describe(),
    "migrate": lambda ledger: admin_for(ledger).migrate(),
    "make": lambda ledger: admin_for(ledger).make(),
}


@pytest.mark.parametrize("first", FIRST_CALLS)
def test_it_is_what_it_was_whatever_comes_first(open_old, first):
    ledger = open_old()
    FIRST_CALLS[first](ledger)
    balances = run(ledger.balances("", T + 24))
    assert {name: json.loads(json.dumps(list(each))) for name, each in balances.items()} == EXPECTED["balances"]
    waiting = [[each.hold_id, list(each.accounts), each.names, each.since_ms] for each in run(ledger.waiting(T + 24))]
    assert waiting == EXPECTED["waiting"]
    records = [[each.hold_id, each.at_ms, each.lost, each.amounts, each.body] for each in iterate(ledger.records())]
    assert [record for record in records if record[0] != "new"] == EXPECTED["records"]
    assert admin_for(ledger).opening_balances() == EXPECTED["opening"]
    description = admin_for(ledger).describe()
    assert (description.version, description.newest_version, len(description.id)) == (4, 4, 32)


def test_its_open_holds_are_settled_and_charged_when_their_leases_end(open_old):
    ledger = open_old()
    settled = run(ledger.settle(Settlement(Hold("open", CHARGES, 1), T + 20, (4, 1, 1), "{}"), T + 30))
    assert [change.after - change.before for change in settled.changes] == [4, 1, 0]
    (lost,) = run(ledger.sweep(T + 40_000))
    assert (lost.hold_id, lost.record, lost.charges) == ("short", '{"lost":3}', (CHARGES[0], CHARGES[2]))
    assert run(ledger.balances("usd/run/a", T + 40_000)) == {"usd/run/a": Balance(settled=58 + 4 + 40)}


def test_the_processes_that_meet_it_agree_on_its_id_and_miss_it_when_it_is_put_back(open_old, client):
    first, second = open_old(), open_old()
    for number, ledger in enumerate((first, second)):
        run(ledger.reserve(Hold(f"n{number}", (CHARGES[0],), 60_000), T + 24))
    assert admin_for(open_old("fresh")).describe().id == KnownLedger(first._expectation._known._file.parent, "ledger").id()
    prefix = first.address.state_key.removesuffix("state")
    client.delete(*client.scan_iter(prefix + "*"))
    put_back(client, prefix)  # an old backup: it has no id yet, and so it is another ledger
    for ledger in (first, open_old()):
        with pytest.raises(LedgerReplaced, match="Another ledger"):
            run(ledger.reserve(Hold("n3", (CHARGES[0],), 60_000), T + 24))
    assert struct.unpack("<d", client.get(prefix + "state")[:8]) == (2,)


def test_a_hold_that_is_damaged_is_named_before_anything_changes(open_old, client):
    ledger = open_old()
    prefix = ledger.address.state_key.removesuffix("state")
    client.hset(prefix + "holds", "open", b"mine")
    before = {key: client.dump(key) for key in client.scan_iter(prefix + "*")}
    with pytest.raises(LedgerUnusable, match="the hold 'open' can't be read"):
        run(ledger.sweep(T))
    assert {key: client.dump(key) for key in client.scan_iter(prefix + "*")} == before


def test_it_holds_up_the_server_no_longer_with_many_accounts(open_old, client):
    ledger = open_old()
    row = struct.pack("<4d", 5, 0, 0, 0)
    for first in range(0, 200_000, 10_000):
        mapping = {f"usd/model/m{number}": row for number in range(first, first + 10_000)}
        client.hset(ledger.address.state_key.replace("state", "accounts"), mapping=mapping)
    client.config_resetstat()
    client.config_set("slowlog-log-slower-than", 100_000)
    client.slowlog_reset()
    run(ledger.reserve(Hold("new", (CHARGES[0],), 60_000), T + 24))
    assert client.slowlog_len() == 0
    assert "cmdstat_hkeys" not in client.info("commandstats")
    assert admin_for(ledger).describe().accounts == 200_000 + len(EXPECTED["balances"])
