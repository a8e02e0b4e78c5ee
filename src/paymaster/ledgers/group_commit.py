"""Group commit: what the tasks of one event loop ask for in one of its turns goes into one transaction; knows no account and no SQL.

A commit costs about as much as the work in it, and one for ten callers little more than one for a single caller. Each is answered after
the commit, so an answer means what it meant before: it is in the file.
"""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from paymaster.errors import PaymasterError
from paymaster.ledgers.sqlite_store import GroupStore, SqliteStore

T = TypeVar("T")
Work = Callable[[SqliteStore], T]

# As many works in one transaction at most: other processes wait for it.
LARGEST = 64


class Transact(Protocol):
    """Does one work whole or not at all, and waits, with patience, for others that write."""

    def __call__(self, work: Work[T], /) -> Awaitable[T]:
        """Do it. Raises PaymasterError, and what the work raises."""
        ...


@dataclass(frozen=True, slots=True)
class _Member:
    """One work of a group, and who waits for what comes of it."""

    work: Work[object]
    answer: "asyncio.Future[Any]"
    may_be_dropped: bool

    def do(self, store: SqliteStore) -> object:
        """What the work comes to; None for one that is not wanted any more."""
        return None if self.may_be_dropped and self.answer.cancelled() else self.work(store)

    def tell(self, result: object) -> None:
        """Answer."""
        if not self.answer.done():
            self.answer.set_result(result)

    def fail(self, error: BaseException) -> None:
        """Answer with an error."""
        if not self.answer.done():
            self.answer.set_exception(error)


class GroupCommit:
    """Does works together. `attempt` does one now or raises that the file is locked, `transact` waits where that is so."""

    def __init__(self, attempt: Callable[[Work[list[object]]], list[object]], transact: Transact) -> None:
        self._attempt = attempt
        self._transact = transact
        self._group: list[_Member] = []
        self._under_way: set[asyncio.Task[None]] = set()

    async def join(self, work: Work[T], *, may_be_dropped: bool = False) -> T:
        """Do the work with those that are asked for in this turn of the loop. Raises what the work, or the transaction, raises.

        Where the caller is cancelled meanwhile, a work that may be dropped is not begun; any other is done all the same.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        self._group.append(_Member(work, answer, may_be_dropped))
        if len(self._group) == 1:
            # A callback, not a task: a loop that closes cancels tasks, and what was spent is to be settled even then.
            loop.call_soon(self._commit, self._group)
        if len(self._group) == LARGEST:
            self._group = []
        return await answer

    def _commit(self, group: list[_Member]) -> None:
        if group is self._group:
            self._group = []
        try:
            results = self._attempt(_together(group))
        except (sqlite3.Error, ValueError):
            task = asyncio.get_running_loop().create_task(self._commit_later(group))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)
        else:
            for member, result in zip(group, results, strict=True):
                member.tell(result)

    async def _commit_later(self, group: list[_Member]) -> None:
        """The same, with patience; where a work is refused nobody's is done, so each is done by itself."""
        try:
            results = await self._transact(_together(group))
        except PaymasterError as error:
            for member in group:
                member.fail(error)
        except ValueError:
            for member in group:
                await self._alone(member)
        else:
            for member, result in zip(group, results, strict=True):
                member.tell(result)

    async def _alone(self, member: _Member) -> None:
        try:
            member.tell(await self._transact(member.do))
        except (PaymasterError, ValueError) as error:
            member.fail(error)


def _together(group: list[_Member]) -> Work[list[object]]:
    def work(store: SqliteStore) -> list[object]:
        shared = GroupStore(store)
        results = [member.do(shared) for member in group]
        shared.flush()
        return results

    return work
