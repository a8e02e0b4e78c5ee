"""What a fork does to the SQLite ledgers of a process: none keeps its connection; knows neither files nor rows.

SQLite keeps its locks per process and shares their state among connections. A child with its parent's connection would believe that it has
locks which only the parent has, and the parent could remove the log that the child writes to.
"""

import os
from functools import cache
from threading import Lock
from typing import Protocol
from weakref import WeakSet


class Forked(Protocol):
    """A ledger that is about to be in two processes."""

    def before_fork(self) -> None:
        """Close the connection and let no other thread open one until the fork is done."""
        ...

    def after_fork(self, *, in_child: bool) -> None:
        """Let connections be opened again."""
        ...


def watch_forks(ledger: Forked) -> None:
    """Call the ledger's methods around every fork for as long as it is referenced elsewhere."""
    if hasattr(os, "register_at_fork"):
        _watch().add(ledger)


@cache
def _watch() -> "_ForkWatch":
    """The one watch of this process, made for its first ledger: a hook can't be removed."""
    return _ForkWatch()


class _ForkWatch:
    """The ledgers of this process, and the hook for all of them."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._ledgers: WeakSet[Forked] = WeakSet()
        self._forking: list[Forked] = []
        os.register_at_fork(
            before=self._before, after_in_parent=lambda: self._after(in_child=False), after_in_child=lambda: self._after(in_child=True)
        )

    def add(self, ledger: Forked) -> None:
        with self._lock:
            self._ledgers.add(ledger)

    def _before(self) -> None:
        # This lock and the ledgers' stay taken during the fork, so that no other thread adds a ledger or connects in between.
        self._lock.acquire()
        for ledger in list(self._ledgers):
            ledger.before_fork()
            self._forking.append(ledger)

    def _after(self, *, in_child: bool) -> None:
        while self._forking:
            self._forking.pop().after_fork(in_child=in_child)
        self._lock.release()
