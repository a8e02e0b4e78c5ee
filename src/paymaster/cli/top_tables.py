"""What `top` shows: a ledger's status, backlog and recent calls as tables; knows ledgers and events, and no terminal."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from paymaster.accounting.money import format_usd
from paymaster.accounting.records import shown_run
from paymaster.cli.backlog_tables import backlog_table
from paymaster.cli.flags import Flags
from paymaster.cli.ledger_access import SharedLedger, identified, memory_ledger_error, with_backlog
from paymaster.cli.status_tables import ended_table, status_tables
from paymaster.cli.terminal import Cell, Column, Table
from paymaster.errors import LedgerUnavailable, LedgerUnusable
from paymaster.ledgers.memory import MemoryLedger
from paymaster.ledgers.sqlite.ledger import SqliteLedger
from paymaster.ledgers.urls import admin_for, open_ledger, spool_folder
from paymaster.options import state_directory
from paymaster.registry.models import Registry
from paymaster.runtime import BlockingRuntime, run
from paymaster.views.backlog import backlog_in
from paymaster.views.journal_tail import JournalTail
from paymaster.views.ledger_status import StatusBuilder, most_relevant
from paymaster.views.recent_calls import RecentCall, RecentCalls, newest_files, read_call_notes
from paymaster.views.status_reading import read_status
from paymaster.views.words import duration

_LOOK_BACK_MS = 24 * 3_600_000
_MAX_BUDGETS = 12
_NOTHING = Cell("-", "weak")


class LedgerWatch:
    """Reads a ledger again and again, and its backlog in the folder `spool`."""

    def __init__(
        self,
        books: SharedLedger,
        runtime: BlockingRuntime,
        location: str,
        spool: Path,
        registry: Registry | None,
        flags: Flags,
        max_calls: int,
    ) -> None:
        self.location = location
        self._spool = spool
        self._books, self._runtime, self._registry, self._run = books, runtime, registry, flags.run_id
        self._identified: Registry | None = None
        self._file = books.path if isinstance(books, SqliteLedger) else None
        self._recent_calls = RecentCalls(max(max_calls, 1))
        self._max_calls = max_calls
        self._journal_tail = JournalTail(books, (self._recent_calls,), runtime.now_ms() - _LOOK_BACK_MS)
        overrides = flags.overrides()
        self._events_file = Path(overrides.events).expanduser() if overrides.events else None
        self._events_folder = state_directory(overrides.state_dir) / "events"

    def title(self) -> str:
        """The ledger and the time."""
        return f"Paymaster  {self.location}  {datetime.now(UTC):%H:%M:%S} UTC"

    def tables(self) -> list[Table]:
        """Everything as it is now. Raises LedgerUnusable if the ledger does not answer."""
        if self._file is not None and not self._file.exists():
            return [backlog_table(backlog_in(self._spool))]
        try:
            now_ms = self._runtime.now_ms()
            builder = StatusBuilder(self._known(), run=self._run, most=_MAX_BUDGETS)
            (status,) = run(read_status(self._books, now_ms, [builder], run=self._run))
            run(self._journal_tail.catch_up())
        except LedgerUnavailable as error:
            raise with_backlog(error, backlog_in(self._spool)) from error
        notes = read_call_notes([self._events_file] if self._events_file is not None else newest_files(self._events_folder))
        calls = [call for call in self._recent_calls.calls(notes) if self._run in (None, call.run, shown_run(call.run, call.user))][
            : self._max_calls
        ]
        shown = replace(status, budgets=most_relevant(status.budgets, _MAX_BUDGETS))
        budgets, limits, models, waiting = status_tables(shown, now_ms)
        if status.hidden_budgets:
            budgets = replace(
                budgets, title=f"Budgets ({_MAX_BUDGETS} of {len(status.budgets) + status.hidden_budgets:,}; `paymaster status` shows all)"
            )
        return [budgets, models, waiting, limits, ended_table(shown, now_ms), backlog_table(backlog_in(self._spool)), _call_table(calls)]

    def _known(self) -> Registry | None:
        """The registry with what its endpoints are, once there is a ledger."""
        if self._identified is None and self._registry is not None:
            with closing(admin_for(self._books)) as admin:
                ledger_id = admin.identify().id
            self._identified = identified(self._registry, ledger_id) if ledger_id else None
        return self._identified or self._registry


@contextmanager
def open_watch(flags: Flags, registry: Registry | None, max_calls: int) -> Iterator[LedgerWatch]:
    """A watch over the ledger that the flags name. Raises LedgerUnusable if there is nothing to watch."""
    overrides, runtime = flags.overrides(), BlockingRuntime()
    ledger = open_ledger(overrides.ledger, runtime.sleep, state_dir=state_directory(overrides.state_dir))
    if isinstance(ledger, MemoryLedger):
        raise memory_ledger_error()
    location = str(ledger.path) if isinstance(ledger, SqliteLedger) else ledger.address.label
    if overrides.ledger and isinstance(ledger, SqliteLedger) and not ledger.path.exists():
        raise LedgerUnusable(f"there is no ledger at {location}", advice=f"It was named by {overrides.origins['ledger']}.")
    try:
        spool = spool_folder(ledger, state_directory(overrides.state_dir))
        yield LedgerWatch(ledger, runtime, location, spool, registry, flags, max_calls)
    finally:
        run(ledger.close())


def _call_table(calls: list[RecentCall]) -> Table:
    figures = [Column(title, figures=True) for title in ("tokens in", "out", "took", "cost")]
    return Table(
        title="Recent calls",
        columns=[Column("at"), Column("model"), Column("outcome"), *figures, Column("run"), Column("why")],
        rows=[_call_row(call) for call in calls],
    )


def _call_row(call: RecentCall) -> list[str | Cell]:
    at = datetime.fromtimestamp(call.at_ms / 1000, UTC)
    run_name = "/".join(part for part in (call.run, call.instance) if part)
    return [
        f"{at:%H:%M:%S}",
        call.model or _NOTHING,
        Cell(call.outcome, "good" if call.is_answered else "bad"),
        f"{call.tokens_in:,}",
        f"{call.tokens_out:,}",
        duration(call.duration_ms),
        format_usd(call.cost_nanousd),
        f"{run_name} ({call.user})" if call.user else run_name,
        " ".join(sentence if sentence.endswith(".") else f"{sentence}." for sentence in call.why),
    ]
