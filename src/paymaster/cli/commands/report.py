"""`paymaster report`: where the money went, added up from the ledger's records and checked against its balances."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from paymaster.cli.flags import LEDGER, AsJson, Flags, with_flags

if TYPE_CHECKING:
    from paymaster.cli.ledger_access import Books
    from paymaster.cli.reporting import Audit
    from paymaster.views.reports import Filter, Report

HELP = """Where the money went.

Adds up every attempt in the ledger (retries, failures and lost calls too), and checks the sums against the balances that budgets are
enforced with. Days are UTC.

\b
Example:
  paymaster report --by model,day --since 7d
  paymaster report --by instance --batch-id exp-42 --csv > exp-42.csv
  paymaster report --since 30d --html november.html --png november.png
"""

By = Annotated[str, typer.Option("--by", metavar="KEYS", help="model, run, batch, instance, user, role, day, joined by commas.")]
Moment = "2026-11-20, 2026-11-20T12:00, or so long ago: 24h, 7d."
Since = Annotated[str | None, typer.Option("--since", metavar="TIME", help=f"From then on: {Moment}", show_default=False)]
Until = Annotated[str | None, typer.Option("--until", metavar="TIME", help="Before then; a day counts as a whole.", show_default=False)]

ArchiveHelp = "Count also what `ledger archive` wrote: a folder or a file; may be given several times."
Archive = Annotated[list[Path] | None, typer.Option("--archive", metavar="PATH", help=ArchiveHelp, show_default=False)]


@with_flags("run_id", "batch_id", *LEDGER)
def report(  # noqa: PLR0913, PLR0917  each is a flag of its own
    flags: Flags,
    by: By = "model",
    since: Since = None,
    until: Until = None,
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print a spreadsheet, money in dollars.")] = False,
    archive: Archive = None,
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write one page with charts.", show_default=False)] = None,
    png: Annotated[Path | None, typer.Option("--png", metavar="FILE", help="Write one chart as a picture.", show_default=False)] = None,
) -> None:
    """See `HELP`."""
    import time

    from paymaster.cli.archives import read_archives
    from paymaster.cli.ledger_access import open_books
    from paymaster.cli.report_html import Charted, Wanted, write_files
    from paymaster.cli.reporting import gather, read_keys
    from paymaster.cli.terminal import write_note
    from paymaster.cli.times import read_moment
    from paymaster.views.reports import Filter, Report

    now_ms = time.time_ns() // 1_000_000
    only = Filter(
        run=flags.run_id,
        batch=flags.batch_id,
        since_ms=None if since is None else read_moment(since, now_ms, "--since"),
        until_ms=None if until is None else read_moment(until, now_ms, "--until", end_of_day=True),
    )
    keys = read_keys(by)
    made = Report(keys, only)
    with open_books(flags, as_json=as_json) as books:
        wanted = Wanted(html, png)
        charted = Charted(only) if wanted else None
        audit = gather(books, made, read_archives(archive) if archive else None, also=None if charted is None else charted.add)
        if charted is not None:
            for path in write_files(wanted, charted, made, audit, only, books.place):
                write_note(f"Written: {path}")
        _print(made, audit, books, only, as_json=as_json, as_csv=as_csv)
    if not audit.agrees:
        raise typer.Exit(1)


def _print(made: "Report", audit: "Audit", books: "Books", only: "Filter", *, as_json: bool, as_csv: bool) -> None:
    from paymaster.cli import reporting
    from paymaster.cli.backlog_tables import backlog_json, sentences
    from paymaster.cli.terminal import write, write_error, write_json, write_note, write_tables

    waiting = books.backlog()
    if as_json:
        write_json({**reporting.as_json(made, audit, books.place), "waiting": backlog_json(waiting)})
    elif as_csv:
        write(reporting.as_csv(made, audit.corrections, only))
    else:
        table = reporting.as_table(made)
        if not table.rows:
            write(f"No calls{' yet' if audit.is_empty else ' that match'} in {books.place}.")
        write_tables([table, reporting.correction_table(audit.corrections, only)])
        for remark in reporting.remarks(made.total(), audit):
            write_note(remark)
    if not as_json:
        for sentence in sentences(waiting):
            write_note(sentence)
    for difference in audit.differences:
        write_error(difference)
