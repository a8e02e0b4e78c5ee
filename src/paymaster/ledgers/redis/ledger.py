"""A ledger on a Redis or Valkey server that many machines share; knows how to ask its scripts, which restate the rule of accounts."""

import random
import time
from asyncio import CancelledError
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from secrets import token_hex
from typing import TypeVar
from uuid import uuid4

from redis.exceptions import ReadOnlyError

from paymaster.accounting.accounts import (
    Balance,
    Change,
    EndedHolder,
    Hold,
    HoldEnded,
    Lost,
    Post,
    Queued,
    Record,
    ReserveOutcome,
    Settled,
    Settlement,
    check_hold,
    check_posts,
    check_settlement,
)
from paymaster.errors import LedgerUnavailable, LedgerUnusable, PaymasterError
from paymaster.ledgers.identity import KnownLedger, new_id
from paymaster.ledgers.redis import retirement
from paymaster.ledgers.redis.address import Address
from paymaster.ledgers.redis.connections import Reply
from paymaster.ledgers.redis.damage import DamagedValue
from paymaster.ledgers.redis.damage import to_error as damage_error
from paymaster.ledgers.redis.ended_holders import find_ended_holders, read_pages
from paymaster.ledgers.redis.expectation import REPLICA_MAY_LACK_MS, Expectation
from paymaster.ledgers.redis.faults import (
    FAULTS,
    Fault,
    damaged_value,
    is_of_another_type,
    may_pass,
    not_reached,
    not_up_to_date,
    of_another_version,
    to_error,
)
from paymaster.ledgers.redis.figures import check_hold_size, check_posts_size, check_settlement_size, too_large
from paymaster.ledgers.redis.messages import (
    ScriptRequest,
    bytes_of,
    changed_accounts,
    figures,
    list_of,
    posts_request,
    read_changes,
    read_held,
    read_refused,
    reserve_request,
    settle_request,
    split_reply,
)
from paymaster.ledgers.redis.migration import OUTDATED, bring_up_to_date
from paymaster.ledgers.redis.reading import RedisReading
from paymaster.ledgers.redis.renewal import SHORT, UNRENEWED, LeaseRenewal, LeaseTimes
from paymaster.ledgers.redis.scripts import ABOUT_NO_LEDGER, MAKES, WAITED_FOR, NotAcknowledged, ScriptRunner

SCHEMA_VERSION = 4
NO_LEDGER = "NONE"
# Waits for an unavailable server double up to this length; each is drawn anew, so that workers don't come back all at once.
FIRST_PAUSE_MS, LONGEST_PAUSE_MS = 10, 400
Parsed = TypeVar("Parsed")
R = TypeVar("R", bound="Reply | list[Reply]")


class RedisLedger:
    """`Books` at `address`, whose own clock counts: the workers' may differ.

    `blocking` callers are threads, others tasks of a loop; `pause` waits so many milliseconds in their way (`Runtime.sleep`). A server
    that cannot be reached is tried again for the address's `patience_ms` in all, as every script may be repeated; then LedgerUnavailable.
    What will not pass, such as a wrong password, a newer schema or a damaged value, raises LedgerUnusable; another ledger than the one that
    is `known`, an older copy of it, or none in its place, LedgerReplaced. Reading makes no ledger. With `server_clock=False` the time of
    the ledger is that of its callers, as in a file, and no lease is renewed; this is for tests and replays.
    """

    def __init__(
        self,
        address: Address,
        pause: Callable[[int], Awaitable[None]],
        *,
        blocking: bool,
        server_clock: bool = True,
        jitter: Callable[[], float] = random.random,
        known: KnownLedger | None = None,
        leases: LeaseTimes = SHORT,
    ) -> None:
        self.address = address
        self._pause = pause
        self._server_clock = server_clock
        self._jitter = jitter
        self._worked = False
        self.known = known or KnownLedger()
        self._expectation = Expectation(self.known, address.location, REPLICA_MAY_LACK_MS if address.kind in {"sentinel", "cluster"} else 0)
        # Two tries at least fit into the time, even if the first one gets no answer.
        connect = partial(ScriptRunner, address, address.patience_ms / 2_000)
        self._runner = connect(blocking=blocking)
        times = leases if server_clock else UNRENEWED
        self._leases = LeaseRenewal(partial(connect, blocking=True), self._expectation, times)
        self._reading = RedisReading(self._run_list, self._parse, server_clock=server_clock)

    @property
    def location(self) -> str:
        """Where it is, for a message: without user and password."""
        return self.address.location

    async def reserve(self, hold: Hold, now_ms: int, *, queue_for_ms: int = 0) -> ReserveOutcome:
        """Admit the hold whole or not at all; see `Books`.

        Raises:
            LedgerUnusable: an amount, a cap or a balance is more than one account counts here, `LARGEST_FIGURE`.
            LedgerUnavailable: also if the hold is not acknowledged as the address asks; it is then taken back.
        """
        check_hold(hold)
        check_hold_size(hold)
        request = self._clock(now_ms) | reserve_request(hold, queue_for_ms, self._leases.lease_ms(hold))
        before: tuple[Lost, ...] = ()
        try:
            word, detail, lost = self._split(await self._run("reserve", request))
            while word == "MORE":
                before += lost
                word, detail, lost = self._split(await self._run("reserve", request))
        except LedgerUnavailable as error:
            if isinstance(error.__cause__, NotAcknowledged):
                await self._take_back(hold.id)
            raise
        match word:
            case "HELD":
                self._leases.add(hold)
                return read_held(hold, detail, before + lost)
            case "REFUSED":
                return read_refused(hold, detail, before + lost)
            case "ENDED":
                raise HoldEnded(f"hold {hold.id!r} has already ended; a new attempt needs an id of its own")
            case _:
                raise self._fault(word, detail)

    async def ledger_id(self, now_ms: int, *, may_go_unbooked: bool = False) -> str:
        """The id of the ledger, which is made if there is none."""
        if self.known.id() is None:
            await self._make(self._clock(now_ms))
        return self.known.id() or ""

    async def withdraw(self, hold_id: str) -> None:
        """Give up a ticket in the queue, or an open hold of which nothing was sent."""
        self._leases.remove(hold_id)
        word, detail, _ = self._split(await self._run("withdraw", {"hold": hold_id}))
        if word not in {"OK", NO_LEDGER}:
            raise self._fault(word, detail)

    async def settle(self, settlement: Settlement, now_ms: int) -> Settled:
        """Post the actual amounts and the record, once. Until then the lease is renewed, and no longer if the ledger does not take it."""
        try:
            return await self._settle(settlement, now_ms)
        finally:
            self._leases.remove(settlement.hold.id)

    async def _settle(self, settlement: Settlement, now_ms: int) -> Settled:
        check_settlement(settlement)
        check_settlement_size(settlement)
        request = self._clock(now_ms) | settle_request(settlement, self.address.keep_ms)
        while True:
            word, detail, lost = self._split(await self._run("settle", request))
            match word:
                case "SETTLED" | "SETTLED_AND_DUE":
                    at_ms, *sums = figures(detail)
                    self._expectation.note_record(at_ms)
                    if word == "SETTLED_AND_DUE":
                        await retirement.retire_some(self._runner.run, {**self._clock(now_ms), **self._expectation.fields()})
                    return Settled(settlement.hold.id, at_ms, read_changes(changed_accounts(settlement), sums), lost=lost)
                case "AGAIN":
                    return Settled(settlement.hold.id, figures(detail)[0], (), again=True, lost=lost)
                case "FORGOTTEN":
                    request["journal"] = await self._reading.look_up(settlement)
                    if request["journal"] == "settled":
                        return Settled(settlement.hold.id, now_ms, (), again=True, lost=await self.sweep(now_ms))
                case _:
                    raise self._fault(word, detail)

    async def post(self, posts: Sequence[Post], clears: Sequence[str], now_ms: int) -> tuple[Change, ...]:
        """Empty windows, then add entries that no hold carries."""
        check_posts(posts)
        check_posts_size(posts)
        request = {"token": f"post:{uuid4().hex}", "posts": posts_request(posts), "clears": list(clears)}
        word, detail, _ = self._split(await self._run("post", self._clock(now_ms) | request))
        if word != "POSTED":
            raise self._fault(word, detail)
        return read_changes([*(post.account for post in posts), *clears], figures(detail))

    async def sweep(self, now_ms: int) -> tuple[Lost, ...]:
        """Charge and record the holds whose lease is over."""
        lost: tuple[Lost, ...] = ()
        while True:
            word, detail, some = self._split(await self._run("sweep", self._clock(now_ms)))
            lost += some
            match word:
                case "MORE":
                    continue
                case "SWEPT":
                    return lost
                case "NONE":
                    return ()
                case _:
                    raise self._fault(word, detail)

    async def balances(self, prefix: str, now_ms: int) -> dict[str, Balance]:
        """The accounts whose names start so, as a sweep would leave them; read in pages, so not all at one instant."""
        return await self._reading.balances(prefix, now_ms)

    def balance_pages(self, prefixes: Sequence[str], now_ms: int) -> AsyncGenerator[Mapping[str, Balance], None]:
        """The same page by page, with windows in short."""
        return self._reading.balance_pages(prefixes, now_ms)

    async def balances_of(self, accounts: Sequence[str], now_ms: int) -> dict[str, Balance]:
        """These accounts, as a sweep would leave them."""
        return await self._reading.balances_of(accounts, now_ms)

    async def waiting(self, now_ms: int) -> tuple[Queued, ...]:
        """The queue, first come first."""
        return await self._reading.waiting(now_ms)

    async def ended_holders(self, now_ms: int) -> tuple[EndedHolder, ...]:
        """What processes that are no longer heard of still hold."""
        if not self._server_clock:
            return ()
        pages = await read_pages(partial(self._run_list, "holders"), self._leases.times.missed_ms)
        return self._parse(partial(find_ended_holders, now_ms=now_ms), pages)

    async def retire(self, now_ms: int, *, days: int | None = None) -> int:
        """Take out the accounts that may leave now; how many left. See `retirement`."""
        return await retirement.retire(lambda request: self.ask("retire", {**self._clock(now_ms), **request}), days)

    def records(self, *, after_ms: int = 0) -> AsyncGenerator[Record, None]:
        """The records written after that time, in order, up to the last one when the reading begins; other callers write on meanwhile.

        A record that is corrected during the reading is left out if it was not read yet.
        """
        return self._reading.records(after_ms)

    async def close(self) -> None:
        """Close the connections. Open holds are left to their lease; another call connects again."""
        self._leases.close()
        await self._runner.connections.close()

    async def _take_back(self, hold_id: str) -> None:
        """Free a hold that no call will use; if that fails, it is charged when its lease ends."""
        with suppress(*FAULTS):
            await self._runner.run("withdraw", {"hold": hold_id, **self._expectation.fields()})

    def _clock(self, now_ms: int) -> dict[str, object]:
        """The clock that counts, as a part of a request: the server's, if there is none in it."""
        return {} if self._server_clock else {"clock_ms": now_ms}

    async def make(self) -> bool:
        """Make the ledger, if there is none; whether it was made now. Raises LedgerReplaced if one was expected here."""
        return await self._make({})

    async def _make(self, clock: ScriptRequest) -> bool:
        word, detail, _ = self._split(await self._run("make", {"new_id": new_id(), **clock}))
        if word not in {"MADE", "THERE"}:
            raise self._fault(word, detail)
        self._meet(detail)
        return word == "MADE"

    async def ask(self, verb: str, request: ScriptRequest | None = None) -> Reply:
        """Run a script that is none of `Books`: an admin's. Raises like every other call."""
        reply = await self._run(verb, request or {})
        if not isinstance(reply, list):
            word, detail, _ = self._split(reply)
            if word == "VERSION":
                raise self._fault(word, detail)
        return reply

    def replaced_by(self, ledger_id: str) -> None:
        """An operator put the ledger with this id here."""
        self._expectation.replace(ledger_id)

    def damaged(self, value: DamagedValue) -> LedgerUnusable:
        """The message for a value that can't be read."""
        return damage_error(value, self.address.location)

    async def _run_list(self, verb: str, request: ScriptRequest) -> "list[Reply]":
        """Run a script whose answer is a list, unless it is a fault."""
        reply = await self._run(verb, request)
        if not isinstance(reply, list):
            word, detail, _ = self._split(reply)
            raise self._fault(word, detail)
        return reply

    async def _run(self, verb: str, request: ScriptRequest) -> Reply:
        """Run a script on the ledger that is expected; the first one that a process meets is remembered, or made if the verb needs one."""
        if verb in ABOUT_NO_LEDGER:
            return await self._try(verb, request)
        while True:
            expected = self._expectation.fields()
            reply = await self._try(verb, {**request, **expected}, waits=bool(expected))  # without one, nothing is written
            word, detail, _ = split_reply(reply) if isinstance(reply, bytes) else ("", b"", ())
            match word:
                case "MISSING" | "ANOTHER" | "OLDER":
                    if not self._expectation.has_changed(word, expected):
                        raise self._expectation.refusal(word, int(detail or b"0"))
                case "UNNAMED":
                    self._meet(detail)
                case "NONE" if verb in MAKES:
                    await self._make({name: value for name, value in request.items() if name == "clock_ms"})
                case _:
                    return reply

    def _meet(self, identity: bytes) -> None:
        ledger_id, _, newest_ms = identity.decode().partition(" ")
        self._expectation.meet(ledger_id, int(newest_ms))

    async def _try(self, verb: str, request: ScriptRequest, *, waits: bool = True) -> Reply:
        """Run a script, and again while the server is unavailable: a script that is repeated changes nothing more."""
        started, longest_ms, paused_ms = 0.0, FIRST_PAUSE_MS, 0
        while True:
            try:
                started = started or time.monotonic()
                reply = await self._runner.run(verb, request, waits=waits and verb in WAITED_FOR)
            except FAULTS as error:
                if not may_pass(error):
                    raise await self._explain(error, verb) from error
                waited_ms = max(paused_ms, int((time.monotonic() - started) * 1_000))
                if waited_ms + longest_ms >= self.address.patience_ms:
                    raise not_reached(error, self.address.label, waited_ms) from error
                if isinstance(error, ReadOnlyError):
                    await self._runner.connections.reset()
            else:
                self._worked = True
                if verb == "migrate" or reply not in OUTDATED:
                    return reply
                if await self._bring_up_to_date():
                    continue
                waited_ms = max(paused_ms, int((time.monotonic() - started) * 1_000))
                if waited_ms + longest_ms >= self.address.patience_ms:
                    raise not_up_to_date(self.address.name, self.address.label, waited_ms)
            pause_ms = 1 + int(self._jitter() * longest_ms)
            await self._pause(pause_ms)
            paused_ms += pause_ms
            longest_ms = min(2 * longest_ms, LONGEST_PAUSE_MS)

    async def _bring_up_to_date(self) -> bool:
        """Do what has to be done once for a ledger of an earlier version; whether it is done."""
        token = token_hex(16)

        async def ask(request: ScriptRequest) -> Reply:
            return await self._try("migrate", {"token": token, **request}, waits=request["step"] == "add")

        try:
            return await bring_up_to_date(ask)
        except (PaymasterError, DamagedValue, CancelledError, KeyboardInterrupt) as error:
            with suppress(*FAULTS):  # so that another caller need not wait until this one counts as dead
                await self._runner.run("migrate", {"token": token, "step": "leave"})
            if isinstance(error, DamagedValue):
                raise self.damaged(error) from error
            raise

    async def _explain(self, error: Fault, verb: str) -> PaymasterError:
        """The message for a fault that will not pass. One about a key's type does not name the key, so the server is asked."""
        if is_of_another_type(error) and verb != "kinds":
            _, *found = self._parse(
                lambda reply: [bytes_of(item).decode(errors="replace") for item in list_of(reply)], await self._try("kinds", {})
            )
            return self.damaged(DamagedValue("key", found[0]) if found else DamagedValue("value"))
        if (value := damaged_value(error)) is not None:
            return damage_error(value, self.address.location, str(error))
        return to_error(error, self.address.label, worked=self._worked)

    def _parse(self, read: Callable[[R], Parsed], reply: R) -> Parsed:
        """What `read` makes of an answer. Raises LedgerUnusable for values that can't be read."""
        try:
            return read(reply)
        except DamagedValue as value:
            raise self.damaged(value) from value

    def _split(self, reply: Reply) -> tuple[str, bytes, tuple[Lost, ...]]:
        return self._parse(split_reply, reply)

    def _fault(self, word: str, detail_bytes: bytes) -> LedgerUnusable:
        """Why a script refused to work, before it wrote anything."""
        detail = detail_bytes.decode(errors="replace")
        if word == "VERSION":
            return of_another_version(detail, SCHEMA_VERSION, self.address.name, self.address.label)
        return too_large(detail)
