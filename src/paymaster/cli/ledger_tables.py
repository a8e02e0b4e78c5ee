"""How a ledger's description and what does not add up in it look as tables and as JSON; knows no ledger."""

from collections.abc import Iterator
from dataclasses import asdict

from paymaster.accounting.money import format_usd
from paymaster.cli.backlog_tables import backlog_json
from paymaster.cli.reporting import is_money
from paymaster.cli.terminal import Cell, Column, Table
from paymaster.cli.times import moment
from paymaster.ledgers.admin.ledger_admin import LedgerDescription
from paymaster.ledgers.admin.reconciling import Difference, Reconciled
from paymaster.views.backlog import Backlog

_UNITS = ((1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB"))


def description_table(told: LedgerDescription) -> Table:
    """What it is, where, and how much is in it."""
    rows: list[tuple[str, str | Cell]] = [
        ("kind", told.kind),
        ("where", told.location),
        ("schema version", _version(told)),
        ("size", _size(told)),
        ("accounts", f"{told.accounts:,}"),
        ("open holds", f"{told.open_holds:,}"),
        ("records", f"{told.records:,}"),
        ("oldest record", moment(told.oldest_ms)),
        ("newest record", moment(told.newest_ms)),
        *told.settings.items(),
    ]
    return Table(title="Ledger", columns=[Column("what"), Column("")], rows=rows)


def description_json(told: LedgerDescription) -> dict[str, object]:
    """The same for a program; times in milliseconds since 1970."""
    return {**asdict(told), "settings": dict(told.settings), "warnings": list(told.warnings)}


def difference_lines(found: Reconciled) -> Iterator[str]:
    """Each difference in words, money in dollars."""
    for each in found.differences:
        parts = {"settled": "its records and openings", "live": "what is in its window", "held": "its open holds"}[each.what]
        yield (
            f"{each.account}: {each.what} is {_amount(each, each.stored)}, {parts} add up to {_amount(each, each.adds_up_to)} "
            f"({_amount(each, each.stored - each.adds_up_to)} apart)"
        )


def reconciled_json(found: Reconciled, waiting: Backlog, place: str) -> dict[str, object]:
    """Whether a ledger adds up, for a program; amounts in the unit of their account, money in nano-dollars."""
    return {
        "ledger": place,
        "adds_up": not found.differences,
        "accounts": found.accounts,
        "records": found.records,
        "open_holds": found.holds,
        "openings": found.opening_balances,
        "differences": [asdict(each) for each in found.differences],
        "waiting": backlog_json(waiting),
    }


def bytes_text(size: int) -> str:
    """`4.2 MB`."""
    for unit, name in _UNITS:
        if size >= unit:
            return f"{size // unit}.{size % unit * 10 // unit} {name}"
    return f"{size} bytes"


def _version(told: LedgerDescription) -> str | Cell:
    if told.version == told.newest_version:
        return str(told.version)
    return Cell(f"{told.version} (this Paymaster writes {told.newest_version}; `paymaster ledger migrate` brings it up to date)", "bad")


def _size(told: LedgerDescription) -> str:
    if told.journal_bytes is None:
        return bytes_text(told.size_bytes)
    rest = told.size_bytes - told.journal_bytes
    return f"{bytes_text(told.size_bytes)} in memory: the records {bytes_text(told.journal_bytes)}, all else {bytes_text(rest)}"


def _amount(each: Difference, amount: int) -> str:
    return format_usd(amount) if is_money(each.account) else f"{amount:,}"
