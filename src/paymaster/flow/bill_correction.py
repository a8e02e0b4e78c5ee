"""Asks a provider afterwards what it billed for an interrupted answer, and corrects the charge; knows no HTTP and delays no call."""

from contextlib import suppress
from dataclasses import dataclass

from paymaster.accounting.money import usd_to_nanousd
from paymaster.accounting.records import AttemptRecord
from paymaster.errors import LedgerUnavailable
from paymaster.flow.ports import Pause, ProviderCall, StatesBills, World
from paymaster.routing.settling import PlannedAttempt, corrections

ASK_AFTER_MS = (2_000, 8_000, 30_000, 90_000)
"""The waits before each question. A provider that does not stop has its record when the answer is complete."""


@dataclass(frozen=True, slots=True)
class BillCorrection:
    """The correction of one attempt that was charged without its bill."""

    world: World
    attempt: PlannedAttempt
    record: AttemptRecord
    call: ProviderCall
    answer_id: str

    async def __call__(self, pause: Pause) -> None:
        """Ask a few times, and post the difference once it is known."""
        provider = self.world.provider_of(self.call.model)
        if not isinstance(provider, StatesBills):
            return
        for wait_ms in ASK_AFTER_MS:
            await pause(wait_ms)
            billed_usd = await provider.billed(self.call, self.answer_id)
            if billed_usd is not None:
                break
        else:
            return
        await pause(0)
        now_ms = self.world.runtime.now_ms()
        with suppress(LedgerUnavailable):  # then the charge stays, which is never below the bill
            for settlement in corrections(self.attempt, self.record, usd_to_nanousd(billed_usd), now_ms):
                await self.world.books.settle(settlement, now_ms)
