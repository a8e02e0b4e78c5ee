"""The ledger that a command reads, found by flags and environment; makes none where there is none."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from paymaster.accounting.accounts import Balance, Queued, Record
from paymaster.cli.backlog_tables import backlog_json, sentences
from paymaster.cli.flags import Flags
from paymaster.cli.terminal import write_json
from paymaster.errors import LedgerUnavailable, LedgerUnusable
from paymaster.ledgers.memory import MemoryLedger
from paymaster.ledgers.sqlite.ledger import SqliteLedger
from paymaster.ledgers.urls import admin_for, open_ledger, spool_folder, spools_folder
from paymaster.options import state_directory
from paymaster.runtime import BlockingRuntime, iterate, run
from paymaster.views.backlog import Backlog, backlog_in, backlogs_beside

if TYPE_CHECKING:
    from paymaster.ledgers.redis.ledger import RedisLedger

Shared: TypeAlias = "SqliteLedger | RedisLedger"


class Books:
    """What a ledger says, for a reader, and what waits for it in `spool`, a folder of `state_dir`."""

    def __init__(self, ledger: Shared, runtime: BlockingRuntime, state_dir: Path) -> None:
        self.ledger = ledger
        self.admin = admin_for(ledger)
        self.spool = spool_folder(ledger, state_dir)
        self._state_dir = state_dir
        self._runtime = runtime

    @property
    def place(self) -> str:
        """Where it lies, without a password: the path of a file, the address and the name on a server."""
        return self.ledger.location

    @property
    def file(self) -> Path | None:
        """The file, where it is one."""
        return self.ledger.path if isinstance(self.ledger, SqliteLedger) else None

    @property
    def is_new(self) -> bool:
        """Whether there is no file yet. A server is asked in any case, and nothing is made there by reading."""
        return self.file is not None and not self.file.exists()

    def openings(self) -> Mapping[str, int]:
        """What records that are no longer in the journal had charged, by account."""
        return {} if self.is_new else self.admin.opening_balances()

    def backlog(self) -> Backlog:
        """What waits on disk for it."""
        return backlog_in(self.spool)

    def backlogs_beside(self) -> tuple[Backlog, ...]:
        """What waits on disk for other ledgers."""
        return backlogs_beside(spools_folder(self._state_dir), self.spool)

    def now_ms(self) -> int:
        """The time."""
        return self._runtime.now_ms()

    def balances(self) -> Mapping[str, Balance]:
        """Every account."""
        return {} if self.is_new else run(self.ledger.balances("", self.now_ms()))

    def queue(self) -> Sequence[Queued]:
        """Who stands in line."""
        return () if self.is_new else run(self.ledger.waiting(self.now_ms()))

    def records(self) -> Iterator[Record]:
        """The record of each hold; those whose worker died are charged and recorded first."""
        if self.is_new:
            return iter(())
        run(self.ledger.sweep(self.now_ms()))
        return iterate(self.ledger.records())


def server_warnings(url: str | None) -> list[str]:
    """Where the settings of the server that a URL names don't keep the promise of a hard budget; nothing for a file.

    Raises LedgerUnusable where it does not answer.
    """
    runtime = BlockingRuntime()
    ledger = open_ledger(url, runtime.sleep)
    if isinstance(ledger, (MemoryLedger, SqliteLedger)):
        return []
    try:
        told = admin_for(ledger).describe()
    except LedgerUnavailable as error:
        raise LedgerUnusable(error.message, advice=error.advice) from error
    finally:
        run(ledger.close())
    return [f"the ledger {told.location}: {warning}" for warning in told.warnings]


@contextmanager
def open_books(flags: Flags, *, makes: bool = False, as_json: bool = False) -> Iterator[Books]:
    """The ledger that `--ledger` or the state directory names; `makes` says that the command makes it where it is not there.

    Raises LedgerUnusable where a named file is not there, or a server does not answer: whoever only reads has named the wrong one. What
    waits on disk for it is said all the same; `as_json` says it on standard output as well.
    """
    overrides = flags.overrides()
    runtime, state_dir = BlockingRuntime(), state_directory(overrides.state_dir)
    ledger = open_ledger(overrides.ledger, runtime.sleep, state_dir=state_dir)
    if isinstance(ledger, MemoryLedger):
        raise LedgerUnusable("a ledger in memory ends with its process: there is nothing to read here", advice="Name a file with --ledger.")
    books = Books(ledger, runtime, state_dir)
    try:
        if overrides.ledger and books.is_new and not makes:
            error = LedgerUnusable(f"there is no ledger at {books.place}", advice=f"It was named by {overrides.origins['ledger']}.")
            raise _not_answered(error, books, as_json=as_json)
        yield books
    except LedgerUnavailable as error:
        raise _not_answered(error, books, as_json=as_json) from error
    finally:
        books.admin.close()
        run(ledger.close())


def unanswered(error: LedgerUnavailable | LedgerUnusable, waiting: Backlog) -> LedgerUnusable:
    """The message for a ledger that was asked and did not answer, with what waits for it."""
    return LedgerUnusable(error.message, advice="\n".join([error.advice, *sentences(waiting)]).strip())


def _not_answered(error: LedgerUnavailable | LedgerUnusable, books: Books, *, as_json: bool) -> LedgerUnusable:
    waiting = books.backlog()
    if as_json:
        write_json({"ledger": books.place, "error": error.message, "waiting": backlog_json(waiting)})
    return unanswered(error, waiting)


def check_there(books: Books) -> None:
    """Raise LedgerUnusable where no ledger was made yet in the state directory."""
    if books.is_new:
        error = LedgerUnusable(f"there is no ledger at {books.place} yet", advice="The first call makes one, or `paymaster ledger init`.")
        raise unanswered(error, books.backlog())
