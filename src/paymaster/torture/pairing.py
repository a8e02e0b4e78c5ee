"""Finds the records of requests that don't name their attempt, as those of the command line; pure."""

from collections.abc import Mapping, Sequence

from paymaster.accounting.records import AttemptRecord
from paymaster.providers.scripted.bill import BillLine

COMMAND_USER = "command"
"""The user that calls of the command line name, so that their records are known."""


def paired_bills(bill: Sequence[BillLine], read: Mapping[str, AttemptRecord]) -> dict[str, BillLine]:
    """The bills by hold. An unnamed request belongs to a record of the command line for the same model.

    An exact cost is paired with a bill of that amount, any other with the largest bill that is left and not above its charge. So a bill
    that no record explains stays without one.
    """
    bills = {line.attempt: line for line in bill if line.attempt is not None}
    unnamed = sorted((line for line in bill if line.attempt is None), key=lambda line: line.billed_nanousd, reverse=True)
    records = [(hold_id, record) for hold_id, record in read.items() if record.user == COMMAND_USER and hold_id not in bills]
    for hold_id, record in sorted(records, key=lambda item: (item[1].billed != "exact", -(item[1].cost_nanousd or 0))):
        found = next((line for line in unnamed if line.model == record.model and _fits(record, line)), None)
        if found is not None:
            bills[hold_id] = found
            unnamed.remove(found)
    return bills


def _fits(record: AttemptRecord, line: BillLine) -> bool:
    cost_nanousd = record.cost_nanousd or 0
    return line.billed_nanousd == cost_nanousd if record.billed == "exact" else line.billed_nanousd <= cost_nanousd
