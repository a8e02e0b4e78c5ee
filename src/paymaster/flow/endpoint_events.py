"""The events of a call that goes on elsewhere: at another endpoint, tier or model; knows no listener and no format."""

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


@frozen_dataclass(frozen=True, slots=True, kw_only=True)
class FellBack(CallEvent):
    """The call goes on with another model, or another tier of service of the same one."""

    kind: ClassVar[str] = "fallback"
    model: str
    """The model that the call gives up."""
    to_model: str
    """The model the call goes on with."""
    reason: str
    """Why, in a few words."""
    dropped_params: tuple[str, ...] = ()
    """Parameters of the request that the new model does not know and that are left out."""
    endpoint: str = ""
    """The endpoint that the call gives up; empty if the model has one alone."""
    to_endpoint: str = ""
    """The endpoint the call goes on with; empty if its model has one alone."""
    service_tier: str | None = None
    """The tier of service that the call gives up; null for the provider's own choice."""
    to_service_tier: str | None = None
    """The tier of service that it goes on with."""
