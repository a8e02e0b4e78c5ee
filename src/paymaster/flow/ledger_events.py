"""What the flow reports of its ledger: lost holds, settlements that wait, are posted or set aside; knows no ledger and no listener."""

from typing import ClassVar, TypeAlias

from paymaster.flow.call_event import CallEvent
from paymaster.frozen import frozen_dataclass


@frozen_dataclass(frozen=True, slots=True, kw_only=True)
class HoldLost(CallEvent):
    """A worker died with an open hold; the full hold was charged. `call_id` and `scope` are those of the lost call."""

    kind: ClassVar[str] = "hold_lost"
    model: str
    """The model that was called."""
    cost_nanousd: int
    """What was charged: the whole hold."""
    hold_id: str
    """The hold that was never settled."""


@frozen_dataclass(frozen=True, slots=True, kw_only=True)
class SettlementFailed(CallEvent):
    """The ledger was unavailable after an attempt: its cost waits on disk, or its hold is charged in full when its lease ends."""

    kind: ClassVar[str] = "settlement_failed"
    model: str
    """The model that was called."""
    held_nanousd: int
    """What stays held meanwhile."""
    spooled: bool = False
    """True if the cost waits on disk until the ledger is available again; otherwise the whole hold is charged when its lease ends."""
    message: str
    """The ledger's error."""


@frozen_dataclass(frozen=True, slots=True, kw_only=True)
class Unbooked(CallEvent):
    """The ledger was unavailable before an attempt and the policy goes on: no budget and no limit counts it yet."""

    kind: ClassVar[str] = "unbooked"
    model: str
    """The model that is called."""
    held_nanousd: int
    """The most that the attempt may cost; it waits on disk until the ledger is available again."""
    message: str
    """The ledger's error."""


@frozen_dataclass(frozen=True, slots=True, kw_only=True)
class SettlementPosted(CallEvent):
    """The ledger is available again and took what had waited on disk. `call_id` and `scope` are those of the call that it belongs to."""

    kind: ClassVar[str] = "settlement_posted"
    model: str
    """The model that was called."""
    cost_nanousd: int
    """What was charged."""
    hold_id: str
    """The hold that was settled."""


@frozen_dataclass(frozen=True, slots=True, kw_only=True)
class SettlementSetAside(CallEvent):
    """What had waited on disk can't be posted, although the ledger works: it is set aside until a person posts it again or drops it."""

    kind: ClassVar[str] = "settlement_set_aside"
    model: str
    """The model that was called; empty, as `call_id` and `run` are, if the line can't be read."""
    cost_nanousd: int
    """What it would charge."""
    hold_id: str
    """The hold that it would settle; empty if the line can't be read."""
    reason: str
    """What the ledger answered, or why the line can't be read."""


LedgerEvent: TypeAlias = HoldLost | SettlementFailed | Unbooked | SettlementPosted | SettlementSetAside
