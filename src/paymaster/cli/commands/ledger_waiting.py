"""`paymaster ledger post`: what processes that ended left on disk for a ledger that was away, posted at once."""

from typing import TYPE_CHECKING

from paymaster.cli.flags import LEDGER, Flags, with_flags

if TYPE_CHECKING:
    from paymaster.accounting.accounts import Settled, Settlement

POST_HELP = """Post what processes that ended left on disk for this ledger while it was away.

Nobody needs to: the next call that uses this ledger, from this machine and state directory, does it as well. Each settlement is posted
once, however often this is run; of a call of which nothing more was heard, the full hold is charged. What running processes keep they
post themselves.

\b
Example:
  paymaster ledger status
  paymaster ledger post --ledger redis://cache:6379/0
"""


@with_flags(*LEDGER)
def post(flags: Flags) -> None:
    """See `POST_HELP`."""
    from paymaster.accounting.money import format_usd
    from paymaster.accounting.records import AttemptRecord
    from paymaster.cli.backlog_tables import sentences
    from paymaster.cli.ledger_access import check_there, open_books
    from paymaster.cli.terminal import write
    from paymaster.ledgers.spool.ledger import SpoolingLedger
    from paymaster.runtime import run

    costs: list[int] = []

    def note(settlement: "Settlement", _: "Settled") -> None:
        costs.append(AttemptRecord.from_json(settlement.record).cost_nanousd)

    with open_books(flags) as books:
        check_there(books)
        run(SpoolingLedger(books.ledger, books.spool, posted=note).post_all_spooled(books.now_ms()))
        if costs:
            write(f"Posted {len(costs):,} {'call' if len(costs) == 1 else 'calls'} of {format_usd(sum(costs))} to {books.place}.")
        else:
            write(f"Nothing was left to post to {books.place}.")
        for sentence in sentences(books.backlog()):
            write(sentence)
