"""A ledger on a Redis or Valkey server that many machines share; knows how to ask its scripts, which restate the rule of accounts."""

import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import suppress
from uuid import uuid4

import orjson
from redis.exceptions import ReadOnlyError

from paymaster.accounting.accounts import (
    Admission,
    Balance,
    Change,
    Hold,
    HoldEnded,
    Lost,
    Post,
    Queued,
    Record,
    Settled,
    Settlement,
    check_hold,
    check_posts,
    check_settlement,
)
from paymaster.errors import LedgerUnavailable, LedgerUnusable
from paymaster.ledgers.redis.address import Address
from paymaster.ledgers.redis.connections import Argument, LoopWire, NotAcknowledged, Reply, ThreadWire, Wire, read_scripts
from paymaster.ledgers.redis.faults import ANOTHER_NAME, FAULTS, explain, may_pass, not_reached
from paymaster.ledgers.redis.messages import (
    figures,
    next_position,
    pack_charged,
    pack_charges,
    pack_queue,
    read_balances,
    read_changes,
    read_held,
    read_journal,
    read_refused,
    read_waiting,
    split_reply,
)

# What one account counts at most: 9 million dollars in nano-dollars. The scripts reckon in doubles, which are exact to 2**53.
LARGEST_FIGURE = 9 * 10**15
SCHEMA_VERSION = 1
# Waits for a server that is away double up to this length; each is drawn anew, so that workers don't come back all at once.
FIRST_PAUSE_MS, LONGEST_PAUSE_MS = 10, 400
JOURNAL_PAGE = 500
# What only reads, and what frees a hold: lost in a failover, it counts too much rather than too little.
NOT_WAITED_FOR = frozenset({"balances", "describe", "openings", "records", "server", "snapshot", "waiting", "withdraw"})


class RedisLedger:
    """`Books` at `address`, whose own clock counts: the workers' may differ.

    `blocking` callers are threads, others tasks of a loop; `pause` waits so many milliseconds in their way (`Runtime.sleep`). A server
    that cannot be reached is tried again for the address's `patience_ms` in all, as every script may be repeated; then LedgerUnavailable.
    What will not pass, such as a wrong password or a newer schema, raises LedgerUnusable. With `server_clock=False` the time of the
    ledger is that of its callers, as in a file; this is for tests and replays.
    """

    def __init__(
        self,
        address: Address,
        pause: Callable[[int], Awaitable[None]],
        *,
        blocking: bool,
        server_clock: bool = True,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.address = address
        self._pause = pause
        self._server_clock = server_clock
        self._jitter = jitter
        self._scripts = read_scripts()
        self._worked = False
        # Two tries at least fit into the time, even if the first one hears nothing.
        wire = ThreadWire if blocking else LoopWire
        self._wire: Wire = wire(address, address.patience_ms / 2_000)

    @property
    def place(self) -> str:
        """Where it is, for a message: without user and password."""
        return self.address.place

    async def reserve(self, hold: Hold, now_ms: int, *, queue_for_ms: int = 0) -> Admission:
        """Admit the hold whole or not at all; see `Books`.

        Raises:
            LedgerUnusable: an amount, a cap or a balance is more than one account counts here, `LARGEST_FIGURE`.
            LedgerUnavailable: also where the hold is not acknowledged as the address asks; it is then taken back.
        """
        check_hold(hold)
        for charge in hold.charges:
            _check_size(charge.account, max(charge.amount, charge.cap or 0))
        packed = pack_charges(hold.charges)
        try:
            queue = pack_queue(queue_for_ms, hold.waiters)
            reply = await self._run("reserve", self._clock(now_ms), hold.id, hold.lease_ms, packed, hold.lost_record, queue)
        except LedgerUnavailable as error:
            if isinstance(error.__cause__, NotAcknowledged):
                await self._take_back(hold.id)
            raise
        word, rest, lost = split_reply(reply)
        match word:
            case "HELD":
                return read_held(hold, rest, lost)
            case "REFUSED":
                return read_refused(hold, rest, lost)
            case "ENDED":
                raise HoldEnded(f"hold {hold.id!r} has already ended; a new attempt needs an id of its own")
            case _:
                raise self._fault(word, rest)

    async def withdraw(self, hold_id: str) -> None:
        """Give up a place in line, or an open hold of which nothing was sent."""
        word, rest, _ = split_reply(await self._run("withdraw", hold_id))
        if word != "OK":
            raise self._fault(word, rest)

    async def settle(self, settlement: Settlement, now_ms: int) -> Settled:
        """Post the actual amounts and the record, once."""
        check_settlement(settlement)
        for charge, amount in zip(settlement.hold.charges, settlement.amounts, strict=True):
            _check_size(charge.account, max(charge.amount, amount))
        for post in settlement.posts:
            _check_size(post.account, abs(post.amount))
        looked_up = ""
        while True:
            word, rest, lost = split_reply(await self._run("settle", *self._settling(settlement, now_ms, looked_up)))
            match word:
                case "SETTLED":
                    at_ms, *sums = figures(rest)
                    return Settled(settlement.hold.id, at_ms, read_changes(_accounts(settlement), sums), lost=lost)
                case "AGAIN":
                    return Settled(settlement.hold.id, figures(rest)[0], (), again=True, lost=lost)
                case "FORGOTTEN":
                    looked_up = await self._look_up(settlement)
                    if looked_up == "settled":
                        told = await self.sweep(now_ms)
                        return Settled(settlement.hold.id, now_ms, (), again=True, lost=told)
                case _:
                    raise self._fault(word, rest)

    async def post(self, posts: Sequence[Post], clears: Sequence[str], now_ms: int) -> tuple[Change, ...]:
        """Empty windows, then add entries that no hold carries."""
        check_posts(posts)
        for post in posts:
            _check_size(post.account, abs(post.amount))
        token = f"post:{uuid4().hex}"
        packed, cleared = _pack_posts(posts), orjson.dumps(list(clears))
        word, rest, _ = split_reply(await self._run("post", self._clock(now_ms), token, packed, cleared))
        if word != "POSTED":
            raise self._fault(word, rest)
        return read_changes([*(post.account for post in posts), *clears], figures(rest))

    async def sweep(self, now_ms: int) -> tuple[Lost, ...]:
        """Charge and record the holds whose lease is over."""
        word, rest, lost = split_reply(await self._run("sweep", self._clock(now_ms)))
        if word != "SWEPT":
            raise self._fault(word, rest)
        return lost

    async def balances(self, prefix: str, now_ms: int) -> dict[str, Balance]:
        """The accounts whose names start so, as a sweep would leave them."""
        reply = await self._run("balances", self._clock(now_ms), prefix)
        if not isinstance(reply, list):
            word, rest, _ = split_reply(reply)
            raise self._fault(word, rest)
        return read_balances(reply)

    async def waiting(self, now_ms: int) -> tuple[Queued, ...]:
        """Who stands in line, first come first."""
        reply = await self._run("waiting", self._clock(now_ms))
        if not isinstance(reply, list):
            word, rest, _ = split_reply(reply)
            raise self._fault(word, rest)
        return read_waiting(reply)

    async def records(self, *, after_ms: int = 0) -> AsyncGenerator[Record, None]:
        """The records written after that time, in order, up to the last one when the reading begins; other callers write on meanwhile.

        A record that is corrected during the reading is left out if it was not read yet.
        """
        place, last = f"{after_ms + 1}-0", ""
        while True:
            page, last = await self._read(place, last)
            for _, record in page:
                yield record
            if len(page) < JOURNAL_PAGE:
                return
            place = next_position(page[-1][0])

    async def close(self) -> None:
        """Close the connections. Open holds are left to their lease; another call connects again."""
        await self._wire.close()

    async def _take_back(self, hold_id: str) -> None:
        """Free a hold that nobody will use; where that fails, it is charged when its lease ends."""
        with suppress(*FAULTS):
            await self._wire.run(self._scripts["withdraw"], self.address.state_key, (hold_id,))

    def _clock(self, now_ms: int) -> Argument:
        return "" if self._server_clock else now_ms

    def _settling(self, settlement: Settlement, now_ms: int, looked_up: str) -> tuple[Argument, ...]:
        hold, keep_ms = settlement.hold, self.address.keep_ms
        return (
            self._clock(now_ms),
            hold.id,
            settlement.held_at_ms,
            pack_charges(hold.charges),
            orjson.dumps(settlement.amounts),
            pack_charged(settlement),
            settlement.record,
            _pack_posts(settlement.posts) if settlement.posts else "",
            orjson.dumps(settlement.clears) if settlement.clears else "",
            looked_up,
            "" if keep_ms is None else keep_ms,
        )

    async def _look_up(self, settlement: Settlement) -> str:
        """What the journal says of a hold that the ledger no longer remembers: "new", "settled" or the place of its record as lost."""
        place, last = f"{max(0, settlement.held_at_ms)}-0", ""
        while True:
            page, last = await self._read(place, last)
            for found, record in page:
                if record.hold_id == settlement.hold.id:
                    return found.decode() if record.lost else "settled"
            if len(page) < JOURNAL_PAGE:
                return "new"
            place = next_position(page[-1][0])

    async def _read(self, place: str, last: str) -> tuple[list[tuple[bytes, Record]], str]:
        """A page of the journal from `place` on, and where the reading ends."""
        reply = await self._run("records", place, last, JOURNAL_PAGE)
        if not isinstance(reply, list):
            word, rest, _ = split_reply(reply)
            raise self._fault(word, rest)
        return read_journal(reply)

    async def ask(self, verb: str, *arguments: Argument) -> Reply:
        """Run a script that is none of `Books`: a keeper's. Raises like every other call."""
        reply = await self._run(verb, *arguments)
        if not isinstance(reply, list):
            word, rest, _ = split_reply(reply)
            if word == "VERSION":
                raise self._fault(word, rest)
        return reply

    async def _run(self, verb: str, *arguments: Argument) -> Reply:
        """Run a script, and again while the server is away: what stands already is not changed by it."""
        script, key = self._scripts[verb], self.address.state_key
        started, longest_ms, paused_ms = 0.0, FIRST_PAUSE_MS, 0
        while True:
            try:
                started = started or time.monotonic()
                reply = await self._wire.run(script, key, arguments, waits=verb not in NOT_WAITED_FOR)
            except FAULTS as error:
                if not may_pass(error):
                    raise explain(error, self.address.label, worked=self._worked) from error
                waited_ms = max(paused_ms, int((time.monotonic() - started) * 1_000))
                if waited_ms + longest_ms >= self.address.patience_ms:
                    raise not_reached(error, self.address.label, waited_ms) from error
                if isinstance(error, ReadOnlyError):
                    await self._wire.reset()
            else:
                self._worked = True
                return reply
            pause_ms = 1 + int(self._jitter() * longest_ms)
            await self._pause(pause_ms)
            paused_ms += pause_ms
            longest_ms = min(2 * longest_ms, LONGEST_PAUSE_MS)

    def _fault(self, word: str, rest: bytes) -> LedgerUnusable:
        """What a script refused to work with, before it wrote anything."""
        detail = rest.decode()
        if word == "VERSION" and detail == "0":
            return LedgerUnusable(
                f"An import into the ledger {self.address.name!r} on {self.address.label} has not come to its end.",
                advice="Let it finish; or, if it was stopped, import the same file again: it begins anew, and nothing stands twice.",
            )
        if word == "VERSION":
            return LedgerUnusable(
                f"The ledger {self.address.name!r} on {self.address.label} was written by a later Paymaster "
                f"(schema version {detail}; this one knows up to {SCHEMA_VERSION}).",
                advice="Upgrade with `pip install --upgrade paymaster`. " + ANOTHER_NAME,
            )
        return too_large(detail)


def _accounts(settlement: Settlement) -> list[str]:
    """The accounts of a settlement in the order of its changes."""
    return [*(charge.account for charge in settlement.hold.charges), *(post.account for post in settlement.posts), *settlement.clears]


def _pack_posts(posts: Sequence[Post]) -> bytes:
    return orjson.dumps([(post.account, post.amount, post.for_ms) for post in posts])


def _check_size(account: str, figure: int) -> None:
    if figure > LARGEST_FIGURE:
        raise too_large(account)


def too_large(account: str) -> LedgerUnusable:
    """The message for more than one account counts here."""
    return LedgerUnusable(
        f"A ledger on Redis counts to {LARGEST_FIGURE:,} in one account (9 million dollars in nano-dollars); {account!r} would need more.",
        advice="Lower the cap, or split the budget by a shorter period; a ledger in a file (sqlite:) counts to 2**62.",
    )
