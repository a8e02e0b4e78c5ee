"""`paymaster ledger accept`: a person says that the ledger which is at a location now is the right one."""

from typing import Annotated

import typer

from paymaster.cli.flags import LEDGER, Flags, with_flags

ACCEPT_HELP = """Accept the ledger that is there now, in place of the one before.

After its first call, a state directory knows which ledger belongs at a URL. Under a hard budget another ledger there is refused: one that
was emptied, restored from a backup, or made anew. This command says that it is the right one. Its balances count from then on; what was
spent only according to the ledger before is forgotten. If there is no ledger, the next call makes one.

Each machine has a state directory of its own, so run this on each of them.

\b
Example:
  paymaster ledger status
  paymaster ledger accept --ledger redis://cache:6379/0
"""
WithWaiting = Annotated[bool, typer.Option("--with-waiting", help="Also post what waits on disk for the ledger before to this one.")]


@with_flags(*LEDGER)
def accept(flags: Flags, with_waiting: WithWaiting = False) -> None:
    """See `ACCEPT_HELP`."""
    from paymaster.cli.backlog_tables import backlog_sentences
    from paymaster.cli.ledger_access import open_reader
    from paymaster.cli.terminal import write
    from paymaster.errors import UsageMistake

    with open_reader(flags, creates=True) as reader:
        description = None
        if not reader.is_new:
            reader.admin.migrate()
            description = reader.admin.describe()
        was_refused = reader.known_warnings()
        ledger_id = (description.id if description else "") or None
        try:
            reader.known.accept(ledger_id, with_waiting=with_waiting)
        except OSError as error:
            raise UsageMistake(f"the state directory can't be written: {error.strerror or error}") from error
        if ledger_id is None:
            write(f"There is no ledger at {reader.location}; the next call makes one.")
        elif was_refused:
            write(f"Accepted the ledger at {reader.location} ({description.records if description else 0:,} records).")
        else:
            write(f"The ledger at {reader.location} is the expected one already. Processes that refused it go on.")
        for sentence in backlog_sentences(reader.backlog()):
            write(sentence)
