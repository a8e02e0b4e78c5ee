"""Wraps a worker's ledger and providers: shorter leases and windows, reports, and requests that carry their attempt's id."""

import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from paymaster.accounting.accounts import (
    Balance,
    Change,
    Charge,
    EndedHolder,
    Held,
    Hold,
    Lost,
    Post,
    Queued,
    Record,
    ReserveOutcome,
    Settled,
    Settlement,
)
from paymaster.flow.ports import Books, Provider, ProviderCall, ProviderChunk, ProviderReply
from paymaster.providers.scripted.bill import ATTEMPT_HEADER
from paymaster.routing.charges import MINUTE_MS, WINDOW_MARGIN_MS
from paymaster.routing.failures import Failure


def true_now_ms() -> int:
    """Milliseconds since 1970 by the machine's clock, which is right whatever a worker's clock shows."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class ShortTimes:
    """The length of a lease, and of what a rate limit calls a minute. The margin of a window is unchanged."""

    lease_ms: int
    minute_ms: int


class ShortTimesLedger:
    """`Books` with shorter leases and windows, so that a run of seconds shows what otherwise takes minutes.

    It reports each admission before anything is sent, and each hold that was charged because its lease seemed to be over; both in true
    time, whatever the clocks of the worker and the ledger show. An admission's time is when it was asked for.
    """

    def __init__(self, books: Books, times: ShortTimes, emit: Callable[[dict[str, object]], None]) -> None:
        self._books = books
        self._times = times
        self._emit = emit

    async def reserve(self, hold: Hold, now_ms: int, *, queue_for_ms: int = 0) -> ReserveOutcome:
        """See `Books`."""
        asked_at_ms = true_now_ms()
        outcome = await self._books.reserve(self._shortened(hold), now_ms, queue_for_ms=queue_for_ms)
        if isinstance(outcome, Held):
            self._emit({"admitted": hold.id, "at_ms": asked_at_ms, "answered_at_ms": true_now_ms(), "by": os.getpid()})
        self._report(outcome.lost)
        return outcome

    async def ledger_id(self, now_ms: int, *, may_go_unbooked: bool = False) -> str:
        """See `Books`."""
        return await self._books.ledger_id(now_ms, may_go_unbooked=may_go_unbooked)

    async def withdraw(self, hold_id: str) -> None:
        """See `Books`."""
        await self._books.withdraw(hold_id)

    async def settle(self, settlement: Settlement, now_ms: int) -> Settled:
        """See `Books`."""
        settled = await self._books.settle(replace(settlement, hold=self._shortened(settlement.hold)), now_ms)
        self._report(settled.lost)
        return settled

    async def post(self, posts: Sequence[Post], clears: Sequence[str], now_ms: int) -> tuple[Change, ...]:
        """See `Books`."""
        return await self._books.post(posts, clears, now_ms)

    async def sweep(self, now_ms: int) -> tuple[Lost, ...]:
        """See `Books`."""
        lost = await self._books.sweep(now_ms)
        self._report(lost)
        return lost

    async def balances(self, prefix: str, now_ms: int) -> dict[str, Balance]:
        """See `Books`."""
        return await self._books.balances(prefix, now_ms)

    def balance_pages(self, prefixes: Sequence[str], now_ms: int) -> AsyncIterator[Mapping[str, Balance]]:
        """See `Books`."""
        return self._books.balance_pages(prefixes, now_ms)

    async def balances_of(self, accounts: Sequence[str], now_ms: int) -> dict[str, Balance]:
        """See `Books`."""
        return await self._books.balances_of(accounts, now_ms)

    async def waiting(self, now_ms: int) -> tuple[Queued, ...]:
        """See `Books`."""
        return await self._books.waiting(now_ms)

    async def ended_holders(self, now_ms: int) -> tuple[EndedHolder, ...]:
        """See `Books`."""
        return await self._books.ended_holders(now_ms)

    def records(self, *, after_ms: int = 0) -> AsyncIterator[Record]:
        """See `Books`."""
        return self._books.records(after_ms=after_ms)

    async def close(self) -> None:
        """See `Books`."""
        await self._books.close()

    def _report(self, lost: Sequence[Lost]) -> None:
        for each in lost:
            self._emit({"lost": each.hold_id, "at_ms": true_now_ms()})

    def _shortened(self, hold: Hold) -> Hold:
        return replace(hold, lease_ms=self._times.lease_ms, charges=tuple(self._shorter(charge) for charge in hold.charges))

    def _shorter(self, charge: Charge) -> Charge:
        if charge.window_ms != MINUTE_MS + WINDOW_MARGIN_MS:
            return charge
        return charge._replace(window_ms=self._times.minute_ms + WINDOW_MARGIN_MS)


class TaggingProvider:
    """`Provider` whose requests carry their attempt (the hold's id) in a header, so that bills and records can be compared."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    async def send(self, call: ProviderCall) -> ProviderReply | Failure:
        """See `Provider`."""
        return await self._provider.send(_tagged(call))

    def stream(self, call: ProviderCall) -> AsyncGenerator[ProviderChunk | ProviderReply | Failure]:
        """See `Provider`."""
        return self._provider.stream(_tagged(call))

    async def close(self) -> None:
        """See `Provider`."""
        await self._provider.close()


def _tagged(call: ProviderCall) -> ProviderCall:
    return replace(call, model=replace(call.model, extra_headers={**call.model.extra_headers, ATTEMPT_HEADER: call.call_id}))
