"""What a test needs for its sums: the journal of a state directory, the price of what a server counted, a prompt; asserts nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paymaster.accounting.records import AttemptRecord
from paymaster.ledgers.urls import open_ledger
from paymaster.runtime import BlockingRuntime, run

if TYPE_CHECKING:
    from pathlib import Path

    from realmodel.servers import Counted

NANOUSD_PER_INPUT_TOKEN, NANOUSD_PER_OUTPUT_TOKEN = 1_000, 4_000
"""$1 and $4 per million tokens, as in the registry of these tests."""


def user(text: str) -> list[dict[str, str]]:
    """A prompt of one message."""
    return [{"role": "user", "content": text}]


def billed_nanousd(counted: Counted) -> int:
    """What a provider with these prices would bill for what the server counted."""
    return counted.prompt_tokens * NANOUSD_PER_INPUT_TOKEN + counted.output_tokens * NANOUSD_PER_OUTPUT_TOKEN


def journal(state: Path) -> list[AttemptRecord]:
    """Every record of the state directory's ledger."""
    ledger = open_ledger(None, BlockingRuntime().sleep, state_dir=state)

    async def read() -> list[AttemptRecord]:
        return [AttemptRecord.from_json(record.body) async for record in ledger.records()]

    records = run(read())
    run(ledger.close())
    return records
