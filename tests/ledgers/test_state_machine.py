"""Random histories: memory, SQLite and a naive model answer alike, with time as an argument."""

import copy
import os
import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import naive_ledger as model
from paymaster.accounting.accounts import Balance, Charge, Held, Hold, Post, Refused, Settlement
from paymaster.ledgers.memory import MemoryLedger
from paymaster.ledgers.sqlite.ledger import SqliteLedger
from paymaster.runtime import iterate, run
from paymaster.testing import ManualRuntime

OVER = "usd/day/1969-12-31"  # its period is over from the start
ACCOUNTS = {
    OVER: (100, None),
    "usd/a": (100, None),
    "usd/b": (None, None),
    "rpm/m": (4, 50),
    "tpm/m": (90, 80),
    "slots/m": (2, 0),
    "pause/m": (0, None),
}
LIMITS = {OVER: 60, "usd/a": 60, "usd/b": 60, "rpm/m": 2, "tpm/m": 50, "slots/m": 1, "pause/m": 0}


def some_charges():
    names = st.lists(st.sampled_from(sorted(ACCOUNTS)), min_size=1, max_size=4, unique=True)
    return names.flatmap(
        lambda chosen: st.tuples(
            *[st.integers(0, LIMITS[name]).map(lambda amount, name=name: Charge(name, amount, *ACCOUNTS[name])) for name in chosen]
        )
    )


IDS = st.integers(0, 11).map(lambda number: f"h{number}")
STEPS = st.sampled_from([0, 0, 1, 5, 10, 30, 60, -20])


class Histories(RuleBasedStateMachine):
    @initialize()
    def open_books(self):
        # A hundred new files, each forced onto the disk: a disk in memory spares seconds.
        fast = Path("/dev/shm")  # noqa: S108 - mkdtemp makes a folder of its own there
        self.folder = Path(tempfile.mkdtemp(prefix="paymaster-test-", dir=fast if os.access(fast, os.W_OK) else None))
        self.ledgers = [MemoryLedger(), SqliteLedger(self.folder / "ledger.sqlite3", ManualRuntime().sleep)]
        self.naive = model.NaiveLedger()
        self.holds = {}
        self.time_ms = 1_000

    def teardown(self):
        if hasattr(self, "ledgers"):
            for ledger in self.ledgers:
                run(ledger.close())
            shutil.rmtree(self.folder)

    def both(self, call):
        first, second = (call(ledger) for ledger in self.ledgers)
        assert first == second
        return first

    def tick(self, step_ms):
        self.time_ms += step_ms
        self.naive.tick(self.time_ms)

    @rule(
        hold_id=IDS, charges=some_charges(), lease_ms=st.sampled_from([5, 40, 200]), queue_for_ms=st.sampled_from([0, 0, 20]), step_ms=STEPS
    )
    def reserve(self, hold_id, charges, lease_ms, queue_for_ms, step_ms):
        seen_ms = self.naive.now_ms
        self.tick(step_ms)
        hold = Hold(hold_id, charges, lease_ms, '{"lost":1}')
        if hold_id in self.naive.holds:
            hold = self.naive.holds[hold_id].hold

        def ask(ledger):
            try:
                return run(ledger.reserve(hold, self.time_ms, queue_for_ms=queue_for_ms))
            except ValueError as error:
                return str(error)

        answer = self.both(ask)
        kind, detail = self.naive.reserve(hold, queue_for_ms)
        match answer:
            case Held():
                assert (kind, detail) == ("held", answer.at_ms)
                sums = [self.naive.sums(charge.account, self.naive.now_ms) for charge in hold.charges]
                assert [(balance.settled, balance.live, balance.held) for balance in answer.balances] == sums
            case Refused():
                assert (kind, detail) == ("refused", {reason.charge.account: reason.retry_at_ms for reason in answer.shortfalls})
            case str():
                assert kind == "ended"
                self.naive.now_ms = seen_ms  # a mistake leaves no trace, not even its time
                return
        assert [lost.hold_id for lost in answer.lost] == self.naive.lost

    @rule(
        hold_id=IDS,
        charges=some_charges(),
        amounts=st.lists(st.integers(0, 70), min_size=4, max_size=4),
        back_ms=st.integers(0, 60),
        step_ms=STEPS,
    )
    def settle(self, hold_id, charges, amounts, back_ms, step_ms):
        self.tick(step_ms)
        history = self.naive.holds.get(hold_id)
        hold = history.hold if history else Hold(hold_id, charges, 40)
        held_at_ms = history.at_ms if history else self.naive.now_ms - back_ms
        settlement = Settlement(hold, held_at_ms, tuple(amounts[: len(hold.charges)]), '{"paid":1}')
        answer = self.both(lambda ledger: run(ledger.settle(settlement, self.time_ms)))
        again, changes = self.naive.settle(settlement)
        assert (answer.again, list(answer.changes)) == (again, changes)
        assert [lost.hold_id for lost in answer.lost] == self.naive.lost

    @rule(
        account=st.sampled_from(["usd/b", OVER, "rpm/m", "pause/m"]),
        amount=st.integers(-1, 3),
        for_ms=st.sampled_from([None, 10, 60]),
        step_ms=STEPS,
    )
    def post(self, account, amount, for_ms, step_ms):
        self.tick(step_ms)
        if account not in {"usd/b", OVER}:
            for_ms = for_ms or 10
        post = Post(account, amount, for_ms)
        assert self.both(lambda ledger: run(ledger.post([post], [], self.time_ms))) == (self.naive.post(post),)

    @rule(account=st.sampled_from(["rpm/m", "pause/m"]), step_ms=STEPS)
    def clear(self, account, step_ms):
        self.tick(step_ms)
        assert self.both(lambda ledger: run(ledger.post([], [account], self.time_ms))) == (self.naive.clear(account),)

    @rule(hold_id=IDS)
    def withdraw(self, hold_id):
        self.both(lambda ledger: run(ledger.withdraw(hold_id)))
        self.naive.withdraw(hold_id)

    @rule(step_ms=STEPS)
    def sweep(self, step_ms):
        self.tick(step_ms)
        answer = self.both(lambda ledger: run(ledger.sweep(self.time_ms)))
        assert [lost.hold_id for lost in answer] == self.naive.sweep()

    @rule(step_ms=STEPS)
    def retire(self, step_ms):
        """Nothing that is asked for shows it."""
        self.tick(step_ms)
        self.both(lambda ledger: run(ledger.sweep(self.time_ms)))
        self.naive.sweep()
        for ledger in self.ledgers:
            run(ledger.retire(self.time_ms, days=0))
        for ledger in self.ledgers[:2]:  # a server keeps an account until entries of 0 have left its window, too
            balances = run(ledger.balances("", self.time_ms))
            assert OVER not in balances or balances[OVER].held or balances[OVER].live
            assert not [name for name, balance in balances.items() if "usd" not in name and balance == Balance()]

    @rule(step_ms=STEPS)
    def look(self, step_ms):
        at_ms = self.time_ms + max(0, step_ms)
        seen = copy.deepcopy(self.naive)
        seen.tick(at_ms)
        seen.sweep()

        def not_empty(ledger):
            found = {**run(ledger.balances("", at_ms)), **run(ledger.balances_of(list(ACCOUNTS), at_ms))}
            return {account: balance for account, balance in found.items() if balance.total or balance.ahead or balance.free_at}

        answer = self.both(not_empty)
        for account in ACCOUNTS:
            expected = seen.balance(account)
            if account in answer:
                assert answer[account] == expected
            else:
                assert expected.total == 0

    @rule(after_ms=st.integers(900, 2_000))
    def read(self, after_ms):
        answer = self.both(lambda ledger: list(iterate(ledger.records(after_ms=after_ms))))
        seen = [(record.hold_id, record.at_ms, record.lost, dict(record.amounts)) for record in answer]
        assert seen == [entry for entry in self.naive.journal if entry[1] > after_ms]

    @invariant()
    def records_add_up_to_what_is_settled(self):
        if not hasattr(self, "ledgers"):
            return
        ledger = self.ledgers[0]
        for account in ("usd/a", OVER):
            charged = sum(record.amounts.get(account, 0) for record in iterate(ledger.records()))
            posts = [part for part in self.naive.posts if part.until_ms is None]
            posted = sum(part.charge.amount for part in posts if part.charge.account == account)
            # The stored sums: as in the records, a loss counts in them once it was swept.
            rows = [*ledger._store.list_accounts(account), *ledger._store.read_retired([account])]
            assert [charged + posted] == ([row.settled for row in rows] or [0])


Histories.TestCase.settings = settings(stateful_step_count=30)
test_ledgers_and_the_naive_model_answer_alike = Histories.TestCase
