"""`paymaster ledger retire`: budgets whose period ended leave the accounts of a ledger; their sums stay."""

from typing import Annotated

import typer

from paymaster.cli.flags import LEDGER, Flags, with_flags

RETIRE_HELP = """Take budgets whose period ended out of the ledger's accounts.

A ledger does this by itself, some accounts at a time, 35 days after the day or month of a budget has ended. The sums are kept: `status`,
`report`, `verify` and exports have them, and a call that needs such a budget after all takes its sum back first. Limits that are empty
leave as well. Budgets without a day or a month stay.

\b
Example:
  paymaster ledger retire
  paymaster ledger retire --days 7
  paymaster ledger retire --set-days 90
"""
DaysHelp = "Days after its period that a budget stays, for this time.  [default: the ledger's setting]"
SetDaysHelp = "The same from now on, for every process. The ledger keeps it."
Days = Annotated[int | None, typer.Option("--days", metavar="N", show_default=False, help=DaysHelp)]
SetDays = Annotated[int | None, typer.Option("--set-days", metavar="N", show_default=False, help=SetDaysHelp)]


@with_flags(*LEDGER)
def retire(flags: Flags, days: Days = None, set_days: SetDays = None) -> None:
    """See `RETIRE_HELP`."""
    from paymaster.cli.ledger_access import check_exists, open_reader
    from paymaster.cli.terminal import write
    from paymaster.runtime import run

    _check(days, "--days")
    _check(set_days, "--set-days")
    with open_reader(flags) as reader:
        check_exists(reader)
        if set_days is not None:
            reader.admin.set_retire_days(set_days)
        count = run(reader.ledger.retire(reader.now_ms(), days=days))
        kept, location = reader.admin.describe(), reader.location
    write(f"{count:,} account{'' if count == 1 else 's'} left {location}. It has the sums of {kept.retired:,} that left.")
    if set_days is not None:
        write(f"From now on, budgets leave {set_days:,} days after their period.")


def _check(days: int | None, flag: str) -> None:
    """Raise UsageMistake for a number of days that no ledger takes."""
    from paymaster.errors import UsageMistake
    from paymaster.ledgers.retirement import MOST_DAYS

    if days is not None and not 0 <= days <= MOST_DAYS:
        raise UsageMistake(f"{flag} {days}: a number of days from 0 to {MOST_DAYS:,} is expected")
