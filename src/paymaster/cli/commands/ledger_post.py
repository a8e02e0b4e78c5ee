"""`paymaster ledger post`: posts what ended processes left on disk while a ledger was unavailable."""

from typing import TYPE_CHECKING, Annotated

import typer

from paymaster.cli.flags import LEDGER, Flags, with_flags

if TYPE_CHECKING:
    from paymaster.accounting.accounts import Settled, Settlement
    from paymaster.cli.ledger_access import LedgerReader

POST_HELP = """Post settlements that ended processes left on disk.

They are there because this ledger was unavailable. This command is optional: the next call that uses this ledger, from this machine and
state directory, does it as well. Each settlement is posted once, however often this is run. A call without a settlement is charged its full
hold. Running processes post their own settlements.

What the ledger refuses, or what can't be read, is set aside in a file of its own, and keeps nothing else from being posted. `--set-aside`
posts it again, when the cause is fixed; `--drop-set-aside` removes it, and what it cost is never counted.

\b
Example:
  paymaster ledger status
  paymaster ledger post --ledger redis://cache:6379/0
"""


@with_flags(*LEDGER)
def post(
    flags: Flags,
    set_aside: Annotated[bool, typer.Option("--set-aside", help="Post what was set aside again, too.")] = False,
    drop_set_aside: Annotated[bool, typer.Option("--drop-set-aside", help="Remove what was set aside; post nothing.")] = False,
) -> None:
    """See `POST_HELP`."""
    from paymaster.cli.backlog_tables import backlog_sentences
    from paymaster.cli.ledger_access import check_exists, open_reader
    from paymaster.cli.terminal import write
    from paymaster.errors import LedgerUnusable, UsageMistake

    if set_aside and drop_set_aside:
        raise UsageMistake("--set-aside and --drop-set-aside exclude each other", advice="Name one of them.")
    with open_reader(flags) as reader:
        check_exists(reader)
        reader.check_known()
        try:
            if drop_set_aside:
                _drop(reader)
            else:
                _post(reader, set_aside=set_aside)
        except OSError as error:
            reason = error.strerror or str(error)
            raise LedgerUnusable(f"what waits in {reader.spool} can't be changed: {reason}", advice="Try again in a moment.") from error
        for sentence in backlog_sentences(reader.backlog()):
            write(sentence)


def _post(reader: "LedgerReader", *, set_aside: bool) -> None:
    from paymaster.accounting.money import format_usd
    from paymaster.cli.terminal import write
    from paymaster.ledgers.spool.ledger import SpoolingLedger
    from paymaster.ledgers.spool.set_aside import queue_again
    from paymaster.runtime import run
    from paymaster.views.backlog import recorded_cost_nanousd

    costs: list[int] = []

    def note(settlement: "Settlement", _: "Settled") -> None:
        costs.append(recorded_cost_nanousd(settlement.record))

    if set_aside:
        queue_again(reader.spool, reader.location)
    run(SpoolingLedger(reader.ledger, reader.spool, posted=note, known=reader.known).post_all_spooled(reader.now_ms()))
    if costs:
        write(f"Posted {len(costs):,} {'call' if len(costs) == 1 else 'calls'} of {format_usd(sum(costs))} to {reader.location}.")
    else:
        write(f"There was nothing to post to {reader.location}.")


def _drop(reader: "LedgerReader") -> None:
    from paymaster.accounting.money import format_usd
    from paymaster.cli.terminal import write
    from paymaster.ledgers.spool.set_aside import drop_aside
    from paymaster.views.backlog import set_aside_in

    aside = set_aside_in(reader.spool)
    if aside is None:
        write("Nothing was set aside.")
        return
    count = drop_aside(reader.spool)
    write(f"Dropped {count:,} {'line' if count == 1 else 'lines'} of {format_usd(aside.cost_nanousd)}: no budget counts them.")
