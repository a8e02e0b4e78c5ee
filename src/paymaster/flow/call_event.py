"""What every event says: when it happened, in which call, and who was calling; knows no event."""

from paymaster.frozen import frozen_dataclass
from paymaster.scope import Scope


@frozen_dataclass(frozen=True, slots=True, kw_only=True)
class CallEvent:
    """An event of a call."""

    at_ms: int
    """When it happened."""
    call_id: str
    """The call it belongs to; joins all events and records of one call."""
    scope: Scope
    """Who is calling."""
