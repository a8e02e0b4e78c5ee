"""How the backlog of a ledger looks as a table, as JSON and in sentences; knows no ledger."""

from collections.abc import Sequence

from paymaster.accounting.money import format_usd
from paymaster.cli.terminal import Cell, Column, Table
from paymaster.views.backlog import Backlog, SetAside
from paymaster.views.words import utc_time

POST = "paymaster ledger post"
POST_SET_ASIDE, DROP_SET_ASIDE = f"{POST} --set-aside", f"{POST} --drop-set-aside"
ACCEPT = "paymaster ledger accept --with-waiting"


def backlog_table(backlog: Backlog) -> Table:
    """A row for each process's file; no rows if nothing waits."""
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
                utc_time(file.oldest_at_ms),
                str(file.path),
            ]
            for file in backlog.files
        ],
    )


def backlog_json(backlog: Backlog) -> dict[str, object]:
    """The same for a program; money in nano-dollars, times in milliseconds since 1970."""
    return {
        "folder": str(backlog.folder),
        "settlements": backlog.settlements,
        "unbooked": backlog.unbooked,
        "cost_nanousd": backlog.cost_nanousd,
        "oldest_at_ms": backlog.oldest_at_ms,
        "files": [
            {
                "path": str(file.path),
                "process": file.process,
                "is_running": file.is_running,
                "is_for_another_ledger": file.is_for_another,
                "settlements": file.settlements,
                "unbooked": file.unbooked,
                "cost_nanousd": file.cost_nanousd,
                "oldest_at_ms": file.oldest_at_ms,
            }
            for file in backlog.files
        ],
        "set_aside": None if backlog.set_aside is None else _set_aside_json(backlog.set_aside),
    }


def other_backlogs_json(others: Sequence[Backlog]) -> list[dict[str, object]]:
    """The backlogs of other ledgers, each with the location that its files name."""
    return [{"ledger": _location(backlog), **backlog_json(backlog)} for backlog in others]


def backlog_sentences(backlog: Backlog) -> list[str]:
    """What waits, and who will post it; nothing if nothing waits."""
    aside = [] if backlog.set_aside is None else [_set_aside_sentence(backlog.set_aside)]
    if not backlog.files:
        return aside
    sentences = [f"Not yet posted: {_amounts(backlog)} on disk for this ledger, in {backlog.folder}."]
    ended = backlog.ended_processes
    running = sum(file.is_running for file in backlog.files)
    if running:
        sentences.append(f"{_processes(running)} still running will post {'its' if running == 1 else 'their'} own.")
    if ended:
        owner = "its" if ended == 1 else "their"
        sentences.append(f"{_processes(ended)} ended: `{POST}` posts {owner} settlements, or the next call that uses this ledger does.")
    if backlog.for_another:
        sentences.append(
            f"What {_processes(backlog.for_another)} left is for the ledger that was here before. It is posted when that ledger is "
            f"available again, or with `{ACCEPT}` to the present one."
        )
    return [*sentences, *aside]


def other_backlog_sentences(others: Sequence[Backlog]) -> list[str]:
    """What waits for other ledgers of the same state directory."""
    return [
        f"For another ledger, {_location(backlog) or 'name unknown'}: {_amounts(backlog)} in {backlog.folder}."
        for backlog in others
        if backlog.files
    ]


def _set_aside_json(aside: SetAside) -> dict[str, object]:
    return {
        "path": str(aside.path),
        "settlements": aside.settlements,
        "unreadable": aside.unreadable,
        "cost_nanousd": aside.cost_nanousd,
        "reasons": list(aside.reasons),
    }


def _set_aside_sentence(aside: SetAside) -> str:
    """What can't be posted, why, and what to do."""
    counts = [
        f"{count:,} {word if count == 1 else f'{word}s'}"
        for count, word in ((aside.settlements, "settlement"), (aside.unreadable, "unreadable line"))
        if count
    ]
    money = f" of {format_usd(aside.cost_nanousd)}" if aside.settlements else ""
    more = f" (and {len(aside.reasons) - 1:,} other reasons)" if len(aside.reasons) > 1 else ""
    return (
        f"Set aside, because the ledger did not take it: {' and '.join(counts)}{money}, in {aside.path}: "
        f"{aside.reasons[0].rstrip('.')}{more}. "
        f"When the cause is fixed, `{POST_SET_ASIDE}` posts it; `{DROP_SET_ASIDE}` removes it without counting it."
    )


def _amounts(backlog: Backlog) -> str:
    parts = [
        f"{count:,} {word if count == 1 else f'{word}s'}"
        for count, word in ((backlog.settlements, "settlement"), (backlog.unbooked, "unbooked hold"))
        if count
    ]
    verb = "waits" if backlog.settlements + backlog.unbooked == 1 else "wait"
    since = "" if backlog.oldest_at_ms is None else f", since {utc_time(backlog.oldest_at_ms)}"
    return f"{' and '.join(parts)} of {format_usd(backlog.cost_nanousd)}{since}, {verb}"


def _location(backlog: Backlog) -> str:
    return next((file.ledger for file in backlog.files if file.ledger), "")


def _processes(count: int) -> str:
    return "1 process" if count == 1 else f"{count:,} processes"


def _process(process: int | None, *, is_running: bool) -> Cell:
    number = "-" if process is None else str(process)
    return Cell(f"{number} (running)" if is_running else f"{number} (ended)", "" if is_running else "bad")
