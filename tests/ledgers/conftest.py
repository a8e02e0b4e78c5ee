"""Ledgers of every kind, and holds to put into them."""

import pytest

from paymaster.accounting.accounts import Balance, Hold, Settlement
from paymaster.ledgers.memory import MemoryLedger
from paymaster.ledgers.redis.address import read_address
from paymaster.ledgers.redis.ledger import RedisLedger
from paymaster.ledgers.sqlite.ledger import SqliteLedger
from paymaster.runtime import iterate, run
from paymaster.testing import ManualRuntime

T = 1_000_000


class BlockingBooks:
    """The ledger's methods without `await`."""

    def __init__(self, ledger):
        self.ledger = ledger

    def reserve(self, hold_id, *charges, at=T, lease_ms=10_000, queue_for_ms=0):
        hold = Hold(hold_id, charges, lease_ms, f'{{"lost":"{hold_id}"}}')
        return run(self.ledger.reserve(hold, at, queue_for_ms=queue_for_ms))

    def settle(self, hold_id, *pairs, at=T, held_at=T, record=None, posts=(), clears=()):
        hold = Hold(hold_id, tuple(charge for charge, _ in pairs), 10_000)
        body = record or f'{{"paid":"{hold_id}"}}'
        return run(self.ledger.settle(Settlement(hold, held_at, tuple(amount for _, amount in pairs), body, posts, clears), at))

    def post(self, *posts, clears=(), at=T):
        return run(self.ledger.post(posts, clears, at))

    def balance(self, account, at=T):
        return run(self.ledger.balances_of([account], at)).get(account, Balance())

    def records(self, after_ms=0):
        return list(iterate(self.ledger.records(after_ms=after_ms)))


@pytest.fixture
def runtime():
    return ManualRuntime()


@pytest.fixture(params=["memory", "sqlite", "redis"])
def ledger(request, tmp_path, runtime):
    match request.param:
        case "memory":
            made = MemoryLedger()
        case "sqlite":
            made = SqliteLedger(tmp_path / "ledger.sqlite3", runtime.sleep)
        case _:
            address = read_address(request.getfixturevalue("redis_url"))
            made = RedisLedger(address, runtime.sleep, blocking=True, server_clock=False)
    yield made
    run(made.close())


@pytest.fixture
def books(ledger):
    return BlockingBooks(ledger)
