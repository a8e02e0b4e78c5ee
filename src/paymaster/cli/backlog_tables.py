"""How what waits on disk for a ledger looks as a table, as JSON and in one sentence; knows no ledger."""

from collections.abc import Sequence

from paymaster.accounting.money import format_usd
from paymaster.cli.terminal import Cell, Column, Table
from paymaster.cli.times import moment
from paymaster.views.backlog import Backlog

POST = "paymaster ledger post"


def backlog_table(waiting: Backlog) -> Table:
    """A row for each process's file; no rows where nothing waits."""
    figures = [Column(title, figures=True) for title in ("settlements", "unbooked holds", "money")]
    return Table(
        title="Waits on disk for this ledger",
        columns=[Column("process"), *figures, Column("since"), Column("file")],
        rows=[
            [
                _process(file.process, is_running=file.is_running),
                f"{file.settlements:,}",
                f"{file.unbooked:,}",
                format_usd(file.cost_nanousd),
                moment(file.oldest_at_ms),
                str(file.path),
            ]
            for file in waiting.files
        ],
    )


def backlog_json(waiting: Backlog) -> dict[str, object]:
    """The same for a program; money in nano-dollars, times in milliseconds since 1970."""
    return {
        "folder": str(waiting.folder),
        "settlements": waiting.settlements,
        "unbooked": waiting.unbooked,
        "cost_nanousd": waiting.cost_nanousd,
        "oldest_at_ms": waiting.oldest_at_ms,
        "files": [
            {
                "path": str(file.path),
                "process": file.process,
                "is_running": file.is_running,
                "settlements": file.settlements,
                "unbooked": file.unbooked,
                "cost_nanousd": file.cost_nanousd,
                "oldest_at_ms": file.oldest_at_ms,
            }
            for file in waiting.files
        ],
    }


def others_json(others: Sequence[Backlog]) -> list[dict[str, object]]:
    """What waits for other ledgers, each with the place that its files name."""
    return [{"ledger": _place(each), **backlog_json(each)} for each in others]


def sentences(waiting: Backlog) -> list[str]:
    """What waits and what becomes of it; nothing where nothing waits."""
    if not waiting.files:
        return []
    said = [f"Not yet posted: {_amounts(waiting)} on disk for this ledger, in {waiting.folder}."]
    running = len(waiting.files) - waiting.left
    if running:
        said.append(f"{_processes(running)} that {'is' if running == 1 else 'are'} running will post what is theirs.")
    if waiting.left:
        said.append(f"{_processes(waiting.left)} ended before: `{POST}` posts what they left, or else the next call that uses this ledger.")
    return said


def other_sentences(others: Sequence[Backlog]) -> list[str]:
    """What waits for ledgers that were not asked about."""
    return [f"For another ledger, {_place(each) or 'whose name is not known'}: {_amounts(each)} in {each.folder}." for each in others]


def _amounts(waiting: Backlog) -> str:
    parts = [
        f"{count:,} {word if count == 1 else f'{word}s'}"
        for count, word in ((waiting.settlements, "settlement"), (waiting.unbooked, "unbooked hold"))
        if count
    ]
    is_one = waiting.settlements + waiting.unbooked == 1
    since = moment(waiting.oldest_at_ms)
    return f"{' and '.join(parts)} of {format_usd(waiting.cost_nanousd)}, since {since}, {'waits' if is_one else 'wait'}"


def _place(waiting: Backlog) -> str:
    return next((file.ledger for file in waiting.files if file.ledger), "")


def _processes(count: int) -> str:
    return "1 process" if count == 1 else f"{count:,} processes"


def _process(process: int | None, *, is_running: bool) -> Cell:
    named = "-" if process is None else str(process)
    return Cell(f"{named} (running)" if is_running else f"{named} (ended)", "" if is_running else "bad")
