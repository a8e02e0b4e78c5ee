"""`paymaster ledger post`: posts what ended processes left on disk while a ledger was unavailable."""

from typing import TYPE_CHECKING

from paymaster.cli.flags import LEDGER, Flags, with_flags

if TYPE_CHECKING:
    from paymaster.accounting.accounts import Settled, Settlement

POST_HELP = """Post settlements that ended processes left on disk.

They are there because this ledger was unavailable. This command is optional: the next call that uses this ledger, from this machine and
state directory, does it as well. Each settlement is posted once, however often this is run. A call without a settlement is charged its full
hold. Running processes post their own settlements.

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
    from paymaster.cli.backlog_tables import backlog_sentences
    from paymaster.cli.ledger_access import check_exists, open_reader
    from paymaster.cli.terminal import write
    from paymaster.ledgers.spool.ledger import SpoolingLedger
    from paymaster.runtime import run

    costs: list[int] = []

    def note(settlement: "Settlement", _: "Settled") -> None:
        costs.append(AttemptRecord.from_json(settlement.record).cost_nanousd)

    with open_reader(flags) as reader:
        check_exists(reader)
        reader.check_known()
        run(SpoolingLedger(reader.ledger, reader.spool, posted=note, known=reader.known).post_all_spooled(reader.now_ms()))
        if costs:
            write(f"Posted {len(costs):,} {'call' if len(costs) == 1 else 'calls'} of {format_usd(sum(costs))} to {reader.location}.")
        else:
            write(f"There was nothing to post to {reader.location}.")
        for sentence in backlog_sentences(reader.backlog()):
            write(sentence)
