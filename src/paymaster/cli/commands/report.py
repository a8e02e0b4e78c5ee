"""`paymaster report`: adds up the ledger's records, and checks the sums against its balances."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from paymaster.cli.flags import LEDGER, AsJson, Flags, with_flags

if TYPE_CHECKING:
    from paymaster.cli.ledger_access import LedgerReader
    from paymaster.views.audit import Audit
    from paymaster.views.reports import RecordFilter, Report

HELP = """Show where the money went.

Adds up every attempt in the ledger, including retries, failures and lost calls, and checks the sums against the balances that enforce the
budgets. Days are UTC.

\b
Example:
  paymaster report --by model,day --since 7d
  paymaster report --by instance --batch-id exp-42 --csv > exp-42.csv
  paymaster report --since 30d --html november.html --png november.png
"""

ByHelp = "model, endpoint, run, batch, instance, user, role, day, tier, joined by commas."
By = Annotated[str, typer.Option("--by", metavar="KEYS", help=ByHelp)]
TimeHelp = "2026-11-20, 2026-11-20T12:00, or an age: 24h, 7d."
Since = Annotated[str | None, typer.Option("--since", metavar="TIME", help=f"From this time on: {TimeHelp}", show_default=False)]
Until = Annotated[
    str | None, typer.Option("--until", metavar="TIME", help="Before this time; a date includes its whole day.", show_default=False)
]

ArchiveHelp = "Also count what `ledger archive` wrote: a folder or a file; can be repeated."
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

    from paymaster.cli.inputs import read_time
    from paymaster.cli.ledger_access import open_reader, read_archives
    from paymaster.cli.report_files import ChartData, ReportPaths, write_files
    from paymaster.cli.report_tables import read_group_by
    from paymaster.cli.terminal import write_note
    from paymaster.views.audit import audit
    from paymaster.views.reports import RecordFilter, Report

    now_ms = time.time_ns() // 1_000_000
    only = RecordFilter(
        run=flags.run_id,
        batch=flags.batch_id,
        since_ms=None if since is None else read_time(since, now_ms, "--since"),
        until_ms=None if until is None else read_time(until, now_ms, "--until", end_of_day=True),
    )
    sums = Report(read_group_by(by), only)
    with open_reader(flags, as_json=as_json) as reader:
        paths = ReportPaths(html, png)
        charts = ChartData(only) if paths else None
        result = audit(reader, sums, read_archives(archive) if archive else None, also=None if charts is None else charts.add)
        if charts is not None:
            for path in write_files(paths, charts, sums, result, only, reader.location):
                write_note(f"Wrote {path}")
        _print(sums, result, reader, only, as_json=as_json, as_csv=as_csv)
    if not result.agrees:
        raise typer.Exit(1)


def _print(sums: "Report", result: "Audit", reader: "LedgerReader", only: "RecordFilter", *, as_json: bool, as_csv: bool) -> None:
    from paymaster.cli.backlog_tables import backlog_json, backlog_sentences
    from paymaster.cli.report_tables import correction_table, inexact_table, report_csv, report_json, report_table
    from paymaster.cli.terminal import write, write_error, write_json, write_note, write_tables, write_warnings
    from paymaster.views.audit import remarks

    backlog, warnings = reader.backlog(), reader.known_warnings()
    if as_json:
        write_json({**report_json(sums, result, reader.location), "replaced": list(warnings), "waiting": backlog_json(backlog)})
    elif as_csv:
        write(report_csv(sums, result.corrections, only))
    else:
        table = report_table(sums)
        if not table.rows:
            write(f"No calls{' yet' if result.is_empty else ' that match'} in {reader.location}.")
        write_tables([table, inexact_table(sums), correction_table(result.corrections, only)])
        for remark in remarks(sums.total(), result):
            write_note(remark)
    if not as_json:
        for sentence in backlog_sentences(backlog):
            write_note(sentence)
        write_warnings(warnings)
    for difference in result.differences:
        write_error(difference)
