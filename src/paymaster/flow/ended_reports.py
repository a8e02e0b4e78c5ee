"""What processes that ended hold, for the reports of waits: read seldom, for all calls of a process; decides nothing about a call."""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from paymaster.accounting.accounts import EndedHolder, Refused
from paymaster.errors import BudgetExceeded, LimitReached, PaymasterError
from paymaster.routing.charges import charges
from paymaster.routing.ended_holders import blocking, describe_ended
from paymaster.routing.planning import Candidate

if TYPE_CHECKING:
    from paymaster.flow.ports import Books

READ_EVERY_MS = 10_000
"""On a server a reading is a look at every open hold."""


class EndedReports:
    """The last reading of one process."""

    def __init__(self) -> None:
        self._read_at_ms: int | None = None
        self._holders: Sequence[EndedHolder] = ()

    async def of(self, refused: Refused | None, books: "Books", now_ms: int) -> Sequence[str]:
        """A sentence for each ended process that holds what a refused call waits for; none if the ledger can't be asked."""
        held = {short.charge.account for short in refused.shortfalls if short.balance.held} if refused is not None else set()
        if not blocking([EndedHolder("", 1, dict.fromkeys(held, 1), now_ms)], held.__contains__):
            return ()
        if self._read_at_ms is None or not 0 <= now_ms - self._read_at_ms < READ_EVERY_MS:
            self._read_at_ms = now_ms  # first, so that no other call reads meanwhile
            try:
                self._holders = await books.ended_holders(now_ms)
            except PaymasterError:
                self._holders = ()
        return describe_ended(blocking(self._holders, held.__contains__), now_ms)


async def with_ended(
    error_of: Callable[[Sequence[str]], PaymasterError], candidates: Iterable[Candidate], books: "Books", now_ms: int
) -> PaymasterError:
    """The error of a call; if a budget or a limit ended it, with what processes that ended hold of the candidates' accounts."""
    error = error_of(())
    if isinstance(error, BudgetExceeded | LimitReached) and (ended := await ended_of(candidates, books, now_ms)):
        return error_of(ended)
    return error


async def ended_of(candidates: Iterable[Candidate], books: "Books", now_ms: int) -> Sequence[str]:
    """What processes that ended hold on the accounts of these candidates, in words; nothing if the ledger can't be asked."""
    try:
        holders = await books.ended_holders(now_ms)
    except PaymasterError:
        return ()
    accounts = {charge.account for each in candidates for _, charge in charges(each, enforce_money=True, as_probe=True)}
    return describe_ended(blocking(holders, accounts.__contains__), now_ms)
