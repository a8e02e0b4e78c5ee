"""When a wait of a call is reported: once, and again when its reason or its end changes; knows no listener and no ledger."""

from collections.abc import Awaitable, Callable, Sequence

from paymaster.accounting.account_names import BREAKER, PROBE, parse
from paymaster.accounting.accounts import Refused
from paymaster.flow.call_events import CallEvents, Outlook
from paymaster.registry.models import Model

_LATER_MS = 1_000
"""A wait that ends later than reported by less than this is not reported again."""


class WaitReports:
    """The reports of one wait of a call for a model."""

    def __init__(self, events: CallEvents, model: Model, outlook: Outlook) -> None:
        self._events, self._model, self._outlook = events, model, outlook
        self._reported: str | None = None
        self._room_at_ms: int | None = None

    async def report(self, account: str, refused: Refused | None, ended: Callable[[], Awaitable[Sequence[str]]]) -> None:
        """The call waits for room on the account; `refused` is the ledger's answer, None where earlier callers wait for it.

        `ended` reads what processes that ended hold of it; it is asked if the wait is reported.
        """
        reason = BREAKER if parse(account).kind in (BREAKER, PROBE) else account
        room_at_ms = None if refused is None else refused.retry_at_ms
        later = room_at_ms is not None and (self._room_at_ms is None or room_at_ms >= self._room_at_ms + _LATER_MS)
        if reason == self._reported and not later:
            return
        self._reported = reason
        self._room_at_ms = room_at_ms if room_at_ms is not None else self._room_at_ms
        self._events.waiting(self._model, account, refused, self._outlook, await ended())
