"""Group commit: what the tasks of an event loop ask for in one of its turns is one transaction; knows no account and no SQL.

A commit costs about as much as the work in it, and a commit for ten callers little more than for one. Each caller is answered after the
commit, so an answer still means that its work is in the file.
"""

import asyncio
import sqlite3
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from paymaster.errors import LedgerUnavailable, PaymasterError
from paymaster.ledgers.sqlite.file import is_busy
from paymaster.ledgers.sqlite.store import GroupStore, SqliteStore

T = TypeVar("T")
Work = Callable[[SqliteStore], T]

# So many works are in one transaction at most: other processes wait for it.
LARGEST = 64


class Transact(Protocol):
    """Does one work whole or not at all, and waits, with patience, for others that write."""

    def __call__(self, work: Work[T], /) -> Awaitable[T]:
        """Do it. Raises PaymasterError, and what the work raises."""
        ...


class _Undone:
    """The answer if the group was rolled back: each caller then does its work by itself."""


UNDONE = _Undone()


@dataclass(frozen=True, slots=True)
class _Member:
    """One work of a group, and the future that its caller waits for."""

    work: Work[object]
    answer: "asyncio.Future[Any]"  # each caller's is of a type of its own
    may_be_dropped: bool

    def do(self, store: SqliteStore) -> object:
        """Do the work; one that may be dropped and whose caller is gone is not done."""
        return None if self.may_be_dropped and self.answer.cancelled() else self.work(store)

    def resolve(self, result: object) -> None:
        """Answer."""
        if not self.answer.done():
            self.answer.set_result(result)

    def fail(self, error: LedgerUnavailable) -> None:
        """Answer with an error."""
        if not self.answer.done():
            self.answer.set_exception(error)


class _FormingGroup(threading.local):
    """The group that this thread's loop is forming. It is dropped with a loop that has closed, and after a fork."""

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self.group: list[_Member] = []


class GroupCommit:
    """Does works together. `attempt` does one now or raises that the file is locked; `transact` waits for the lock."""

    def __init__(self, attempt: Callable[[Work[list[object]]], list[object]], transact: Transact) -> None:
        self._attempt = attempt
        self._transact = transact
        self._forming = _FormingGroup()
        self._tasks: set[asyncio.Task[None]] = set()

    async def join(self, work: Work[T], *, may_be_dropped: bool = False) -> T:
        """Do the work with those that are asked for in this turn of the loop. Raises what the work, or the transaction, raises.

        If the caller is cancelled meanwhile, a work that may be dropped is not begun. Any other is done all the same, unless the loop
        closes while the file is locked or after a neighbour's work was refused.
        """
        loop = asyncio.get_running_loop()
        forming = self._forming
        if forming.loop is not loop:
            forming.loop, forming.group = loop, []
        answer: asyncio.Future[T | _Undone] = loop.create_future()
        forming.group.append(_Member(work, answer, may_be_dropped))
        if len(forming.group) == 1:
            # A callback, not a task: a closing loop cancels tasks, and what was spent must be settled even then.
            loop.call_soon(self._commit, forming.group)
        if len(forming.group) == LARGEST:
            forming.group = []
        outcome = await answer
        return await self._transact(work) if isinstance(outcome, _Undone) else outcome

    def _commit(self, group: list[_Member]) -> None:
        if group is self._forming.group:
            self._forming.group = []
        try:
            _resolve(group, self._attempt(_together(group)))
        except sqlite3.Error as error:
            if not is_busy(error):
                _leave_undone(group)
                return
            task = asyncio.get_running_loop().create_task(self._commit_later(group))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        except (ValueError, OverflowError, PaymasterError):  # one refused work rolls back the whole group; or the file was replaced
            _leave_undone(group)
        except BaseException:  # Ctrl-C, or a bug: no caller may wait for an answer that never comes
            _leave_undone(group)
            raise

    async def _commit_later(self, group: list[_Member]) -> None:
        """The same, waiting for the lock."""
        try:
            _resolve(group, await self._transact(_together(group)))
        except LedgerUnavailable as error:
            for member in group:
                member.fail(error)
        except (PaymasterError, ValueError, OverflowError):
            _leave_undone(group)
        except BaseException:  # cancelled, as a closing loop does
            _leave_undone(group)
            raise


def _together(group: list[_Member]) -> Work[list[object]]:
    def work(store: SqliteStore) -> list[object]:
        shared = GroupStore(store)
        results = [member.do(shared) for member in group]
        shared.flush()
        return results

    return work


def _resolve(group: list[_Member], results: list[object]) -> None:
    for member, result in zip(group, results, strict=True):
        member.resolve(result)


def _leave_undone(group: list[_Member]) -> None:
    for member in group:
        member.resolve(UNDONE)
