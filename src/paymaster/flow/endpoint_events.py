"""The event of a call that goes on at another endpoint of its model; knows no listener and no format."""

from typing import ClassVar

from paymaster.flow.call_event import CallEvent
from paymaster.frozen import frozen_dataclass


@frozen_dataclass(frozen=True, slots=True, kw_only=True)
class EndpointChanged(CallEvent):
    """The call goes on at another endpoint of the same model: the one before failed, asked to wait, or has no room."""

    kind: ClassVar[str] = "endpoint_changed"
    model: str
    """The model, by its name in the registry."""
    endpoint: str
    """The endpoint that the call leaves."""
    to_endpoint: str
    """The endpoint that the call goes on with."""
    reason: str
    """Why, in a few words."""
