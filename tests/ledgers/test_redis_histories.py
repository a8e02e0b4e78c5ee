"""Random histories: Redis answers like memory, SQLite and the naive model, with time as an argument."""

import importlib.util
import itertools
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis.stateful import initialize

from paymaster.ledgers.redis.address import read_address
from paymaster.ledgers.redis.ledger import RedisLedger
from paymaster.runtime import run
from paymaster.testing import ManualRuntime

# Tests are files, not a package, so a neighbour is loaded by its path.
_spec = importlib.util.spec_from_file_location("histories", Path(__file__).with_name("test_state_machine.py"))
assert _spec is not None
assert _spec.loader is not None
histories = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(histories)

NUMBERS = itertools.count()


class RedisHistories(histories.Histories):
    server = None

    @initialize()
    def open_books(self):
        super().open_books()
        address = read_address(f"{self.server.url}?name=history-{next(NUMBERS)}")
        ledger = RedisLedger(address, ManualRuntime().sleep, blocking=True, server_clock=False)
        run(ledger.post([], [], 0))  # a ledger has no time before it is made, and looking at it does not make it
        self.ledgers.append(ledger)

    def both(self, call):
        first, *others = (call(ledger) for ledger in self.ledgers)
        for other in others:
            assert first == other
        return first


@pytest.fixture(autouse=True)
def server_of_histories(redis_server, monkeypatch):
    monkeypatch.setattr(RedisHistories, "server", redis_server)


RedisHistories.TestCase.settings = settings(stateful_step_count=30)
test_redis_and_the_others_answer_alike = RedisHistories.TestCase
