"""How a ledger's description, and the differences that `ledger verify` finds, look as tables and as JSON; knows no ledger."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict

from paymaster.accounting.budget_units import format_balance
from paymaster.cli.backlog_tables import backlog_json
from paymaster.cli.terminal import Cell, Column, Table
from paymaster.ledgers.admin.ledger_admin import ClockAhead, LedgerDescription
from paymaster.ledgers.admin.reconciling import Difference, Reconciled
from paymaster.views.backlog import Backlog
from paymaster.views.words import duration, utc_time

_UNITS = ((1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB"))


def description_table(description: LedgerDescription) -> Table:
    """Its kind, location and size."""
    rows: list[tuple[str, str | Cell]] = [
        ("kind", description.kind),
        ("where", description.location),
        ("id", description.id or Cell("-", "weak")),
        ("schema version", _version(description)),
        ("size", _size(description)),
        ("accounts", f"{description.accounts:,}"),
        ("accounts that left", _retired(description)),
        ("open holds", f"{description.open_holds:,}"),
        ("records", f"{description.records:,}"),
        ("oldest record", _time(description.oldest_ms)),
        ("newest record", _time(description.newest_ms)),
        *description.settings.items(),
    ]
    return Table(title="Ledger", columns=[Column("what"), Column("")], rows=rows)


def description_json(description: LedgerDescription) -> dict[str, object]:
    """The same for a program; times in milliseconds since 1970."""
    clocks = [each._asdict() for each in description.clocks_ahead]
    return {
        **asdict(description),
        "settings": dict(description.settings),
        "warnings": list(description.warnings),
        "clocks_ahead": clocks,
    }


def clock_sentences(clocks: Sequence[ClockAhead]) -> list[str]:
    """The processes whose clock is ahead of the ledger's time."""
    return [
        f"The clock of process {each.process.partition('-')[0]} is {duration(each.ahead_ms)} ahead of the ledger's time (last seen at "
        f"{utc_time(each.at_ms)}). It is not followed, as no other process agrees with it."
        for each in clocks
    ]


def difference_lines(found: Reconciled) -> Iterator[str]:
    """Each difference in words, money in dollars."""
    for each in found.differences:
        parts = {"settled": "its records and opening balance", "live": "its window's entries", "held": "its open holds"}[each.what]
        yield (
            f"{each.account}: {each.what} is {_amount(each, each.stored)}, but {parts} add up to {_amount(each, each.adds_up_to)} "
            f"(difference {_amount(each, each.stored - each.adds_up_to)})"
        )


def reconciled_json(found: Reconciled, backlog: Backlog, location: str) -> dict[str, object]:
    """Whether a ledger adds up, for a program; amounts in the unit of their account, money in nano-dollars."""
    return {
        "ledger": location,
        "adds_up": not found.differences,
        "accounts": found.accounts,
        "retired": found.retired,
        "records": found.records,
        "open_holds": found.holds,
        "openings": found.opening_balances,
        "differences": [asdict(each) for each in found.differences],
        "waiting": backlog_json(backlog),
    }


def bytes_text(size: int) -> str:
    """`4.2 MB`."""
    for unit, name in _UNITS:
        if size >= unit:
            return f"{size // unit}.{size % unit * 10 // unit} {name}"
    return f"{size} bytes"


def _version(description: LedgerDescription) -> str | Cell:
    version, newest = description.version, description.newest_version
    if version == newest:
        return str(version)
    return Cell(f"{version} (this Paymaster writes {newest}; `paymaster ledger migrate` brings it up to date)", "bad")


def _retired(description: LedgerDescription) -> str | Cell:
    if description.retire_days is None:
        return Cell("-", "weak")
    return f"{description.retired:,} ({description.retire_days:,} days after their period)"


def _size(description: LedgerDescription) -> str:
    size_bytes, journal_bytes = description.size_bytes, description.journal_bytes
    if journal_bytes is None:
        return bytes_text(size_bytes)
    return f"{bytes_text(size_bytes)} in memory: records {bytes_text(journal_bytes)}, other {bytes_text(size_bytes - journal_bytes)}"


def _time(at_ms: int | None) -> str | Cell:
    return Cell("-", "weak") if at_ms is None else utc_time(at_ms)


def _amount(each: Difference, amount: int) -> str:
    return format_balance(amount, each.account)
