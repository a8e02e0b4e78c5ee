"""`paymaster top`: shows budgets, limits, models and recent calls, live on a terminal."""

from typing import Annotated

import typer

from paymaster.cli.flags import BUDGETS, LEDGER, Flags, with_flags

HELP = """Show budgets, limits, models and recent calls, live.

Repeats `status`, with the recent calls: which model answered, what it cost, and why not the others. Through a pipe, or with --once, it
prints them once. Ctrl-C ends it.

\b
Example:
  paymaster top --model-registry registry.yaml
  paymaster top --once
"""


@with_flags("model_registry", *BUDGETS, "rpm_limit", "tpm_limit", "run_id", *LEDGER)
def top(
    flags: Flags,
    once: Annotated[bool, typer.Option("--once", help="Print once, then exit.")] = False,
    every: Annotated[float, typer.Option("--every", min=0.2, max=3600, metavar="SECONDS", help="Seconds between two readings.")] = 2.0,
    calls: Annotated[int, typer.Option("--calls", min=0, max=200, metavar="N", help="How many recent calls to show.")] = 12,
) -> None:
    """See `HELP`."""
    import sys

    from paymaster.cli.commands.status import registry_named
    from paymaster.cli.terminal import is_pretty, write, write_live, write_tables
    from paymaster.cli.top_tables import open_watch

    with open_watch(flags, registry_named(flags), calls) as watch:
        if not once and is_pretty(sys.stdout):
            write_live(watch.tables, every, watch.title)
            return
        tables = watch.tables()
        write_tables(tables)
        if not any(table.rows for table in tables):
            write(f"Nothing is spent or held in {watch.location}.")
