"""The ledger and the archives that a command reads, found by flags and environment; creates none by reading, and prints no table."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from platform import node
from typing import TYPE_CHECKING, TypeAlias

from paymaster.accounting.account_names import BUDGET_KINDS
from paymaster.accounting.accounts import Balance, Record
from paymaster.cli.backlog_tables import backlog_json, backlog_sentences
from paymaster.cli.flags import Flags
from paymaster.cli.terminal import write_json
from paymaster.errors import LedgerReplaced, LedgerUnavailable, LedgerUnusable, UsageMistake
from paymaster.ledgers.admin.archiving import archive_files, read_archive
from paymaster.ledgers.admin.export_format import InvalidExport
from paymaster.ledgers.admin.ledger_admin import ClockAhead, LedgerIdentity
from paymaster.ledgers.identity import missing
from paymaster.ledgers.memory import MemoryLedger
from paymaster.ledgers.sqlite.file import is_empty
from paymaster.ledgers.sqlite.ledger import SqliteLedger
from paymaster.ledgers.urls import admin_for, known_ledger, open_ledger, spool_folder, spools_folder
from paymaster.options import state_directory
from paymaster.registry.models import Registry
from paymaster.registry.provider_keys import first_key, with_variables
from paymaster.routing.identities import identities, with_identities
from paymaster.runtime import BlockingRuntime, iterate, run
from paymaster.views.backlog import Backlog, backlog_in, other_backlogs
from paymaster.views.ledger_status import LedgerStatus, StatusBuilder
from paymaster.views.status_reading import read_status

if TYPE_CHECKING:
    from paymaster.ledgers.redis.ledger import RedisLedger

SharedLedger: TypeAlias = "SqliteLedger | RedisLedger"


class LedgerReader:
    """One ledger, read from blocking code, and its backlog in `spool`, a folder of `state_dir`."""

    def __init__(self, ledger: SharedLedger, runtime: BlockingRuntime, state_dir: Path) -> None:
        self.ledger = ledger
        self.admin = admin_for(ledger)
        self.spool = spool_folder(ledger, state_dir)
        self.known = known_ledger(ledger, state_dir)
        self._state_dir = state_dir
        self._runtime = runtime

    @property
    def location(self) -> str:
        """The path of a file, or the address and the name on a server, without a password."""
        return self.ledger.location

    @property
    def file(self) -> Path | None:
        """The file; None for a ledger on a server."""
        return self.ledger.path if isinstance(self.ledger, SqliteLedger) else None

    @property
    def is_new(self) -> bool:
        """Whether there is no file yet, or an empty one. A server is always asked, and reading creates nothing there."""
        return self.file is not None and is_empty(self.file)

    def openings(self) -> Mapping[str, int]:
        """The opening balances, by account: what records that left the journal had charged."""
        return {} if self.is_new else self.admin.opening_balances()

    def backlog(self) -> Backlog:
        """What waits on disk for this ledger."""
        return backlog_in(self.spool, takes=self.known.takes)

    def check_known(self) -> None:
        """Raise LedgerReplaced if callers of this state directory would be refused, as it knows another ledger here."""
        if self.known.id() is None:
            return
        seen_ms = self.known.newest_seen_ms()
        found = LedgerIdentity("", 0) if self.is_new else self.admin.identify()
        self.known.check(found.id or None, found.last_record_ms, label=self.location, seen_ms=seen_ms)

    def clocks_ahead(self) -> Sequence[ClockAhead]:
        """The processes whose clock is ahead of the ledger's time, and not followed."""
        return () if self.is_new else self.admin.identify().clocks_ahead

    def known_warnings(self) -> tuple[str, ...]:
        """What `check_known` would raise, for commands that only show what is there."""
        try:
            self.check_known()
        except (LedgerReplaced, LedgerUnusable) as error:
            return (str(error),)
        return ()

    def other_backlogs(self) -> tuple[Backlog, ...]:
        """What waits on disk for other ledgers of the state directory."""
        return other_backlogs(spools_folder(self._state_dir), self.spool)

    def now_ms(self) -> int:
        """The time."""
        return self._runtime.now_ms()

    def balances(self) -> Mapping[str, Balance]:
        """The balance of every budget, with budgets that left the ledger."""
        return {account: balance for kind in BUDGET_KINDS for account, balance in self._balances(kind).items()}

    def all_balances(self) -> Mapping[str, Balance]:
        """The balance of every account, with budgets that left the ledger."""
        return self._balances("")

    def _balances(self, prefix: str) -> Mapping[str, Balance]:
        if self.is_new:
            return {}
        # An account that leaves or returns meanwhile is in one of the three.
        before = self.admin.retired()
        balances = run(self.ledger.balances(prefix, self.now_ms()))
        retired = {account: Balance(settled) for account, settled in (before | self.admin.retired()).items()}
        return retired | balances

    def status(self, builder: StatusBuilder, now_ms: int, of_run: str | None) -> LedgerStatus:
        """The ledger's status, with times by a clock that says `now_ms`; of a run, if one is named."""
        return builder.status() if self.is_new else run(read_status(self.ledger, now_ms, [builder], run=of_run))[0]

    def identified(self, registry: Registry | None) -> Registry | None:
        """The registry with what its endpoints are in this ledger."""
        return registry if registry is None or self.is_new else identified(registry, self.admin.identify().id)

    def records(self) -> Iterator[Record]:
        """The record of each hold. Holds whose lease is over are charged and recorded first."""
        if self.is_new:
            return iter(())
        run(self.ledger.sweep(self.now_ms()))
        return iterate(self.ledger.records())


def identified(registry: Registry, ledger_id: str) -> Registry:
    """The registry with what its endpoints are in the ledger with this id; as it is where there is none."""
    if not ledger_id:
        return registry
    identity = identities(ledger_id, lambda place: first_key(place, os.environ), node())
    return with_identities(registry, lambda place: identity(with_variables(place, os.environ)))


def server_warnings(url: str | None) -> list[str]:
    """The server settings that don't keep the promise of a hard budget; nothing for a file. Raises LedgerUnusable without an answer."""
    runtime = BlockingRuntime()
    ledger = open_ledger(url, runtime.sleep)
    if isinstance(ledger, (MemoryLedger, SqliteLedger)):
        return []
    try:
        description = admin_for(ledger).describe()
    except LedgerUnavailable as error:
        raise LedgerUnusable(error.message, advice=error.advice) from error
    finally:
        run(ledger.close())
    return [f"the ledger {description.location}: {warning}" for warning in description.warnings]


@contextmanager
def open_reader(flags: Flags, *, creates: bool = False, as_json: bool = False) -> Iterator[LedgerReader]:
    """The ledger that `--ledger` or the state directory names; `creates` says that the command creates it if it does not exist.

    Raises LedgerUnusable if a named file does not exist, or if a server does not answer. The error then lists the backlog; `as_json` prints
    it on standard output as well.
    """
    overrides = flags.overrides()
    runtime, state_dir = BlockingRuntime(), state_directory(overrides.state_dir)
    ledger = open_ledger(overrides.ledger, runtime.sleep, state_dir=state_dir)
    if isinstance(ledger, MemoryLedger):
        raise memory_ledger_error()
    reader = LedgerReader(ledger, runtime, state_dir)
    try:
        if overrides.ledger and reader.is_new and not creates:
            error = _no_ledger(reader, f"there is no ledger at {reader.location}", f"It was named by {overrides.origins['ledger']}.")
            raise _with_backlog_of(reader, error, as_json=as_json)
        yield reader
    except LedgerUnavailable as error:
        raise _with_backlog_of(reader, error, as_json=as_json) from error
    finally:
        reader.admin.close()
        run(ledger.close())


def memory_ledger_error() -> LedgerUnusable:
    """The error for `--ledger memory:`, which no other process can read."""
    return LedgerUnusable("a ledger in memory ends with its process: there is nothing to read here", advice="Name a file with --ledger.")


def with_backlog(error: LedgerUnavailable | LedgerUnusable, backlog: Backlog) -> LedgerUnusable:
    """The error with the ledger's backlog in its advice."""
    return LedgerUnusable(error.message, advice="\n".join([error.advice, *backlog_sentences(backlog)]).strip())


def _with_backlog_of(reader: LedgerReader, error: LedgerUnavailable | LedgerUnusable, *, as_json: bool) -> LedgerUnusable:
    backlog = reader.backlog()
    if as_json:
        write_json({"ledger": reader.location, "error": error.message, "waiting": backlog_json(backlog)})
    return with_backlog(error, backlog)


def check_exists(reader: LedgerReader) -> None:
    """Raise LedgerUnusable if the state directory has no ledger yet."""
    if reader.is_new:
        error = _no_ledger(
            reader, f"there is no ledger at {reader.location} yet", "The first call creates one, or `paymaster ledger init`."
        )
        raise with_backlog(error, reader.backlog())


def _no_ledger(reader: LedgerReader, message: str, advice: str) -> LedgerUnusable:
    """The error for a ledger that is not there: it is gone if the state directory knows one, else `message`."""
    if reader.known.id() is None:
        return LedgerUnusable(message, advice=advice)
    gone = missing(reader.location)
    return LedgerUnusable(gone.message, advice=gone.advice)


def read_archives(paths: Sequence[Path]) -> Iterator[Record]:
    """Every record of these files and folders, the last files first: if two files have the same record, the later one counts."""
    files = [file for path in paths for file in _archive_files(path)]
    for file in reversed(files):
        try:
            yield from read_archive(file)
        except OSError as error:
            raise UsageMistake(f"cannot read {file}: {error.strerror or error}") from error
        except InvalidExport as invalid:
            raise invalid_line(str(file), invalid) from invalid


def invalid_line(name: str, invalid: InvalidExport) -> UsageMistake:
    """The error for a line that can't be read: `file:line: reason`."""
    return UsageMistake(f"{name}:{invalid.number}: {invalid.reason}" if invalid.number else f"{name}: {invalid.reason}")


def _archive_files(path: Path) -> list[Path]:
    try:
        files = archive_files(path)
    except OSError as error:
        raise UsageMistake(f"cannot read {path}: {error.strerror or error}") from error
    if not files:
        raise UsageMistake(f"there is no archive in {path}", advice="`paymaster ledger archive` writes files named records-….jsonl.")
    return files
