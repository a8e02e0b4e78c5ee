"""State of models in the `encrypted_content` that clients return unread; knows no item.

State of this dialect's own models is as they sealed it. That of others has its writer's stamp (`dialects.state`).
"""

from dataclasses import dataclass, replace

from paymaster.dialects.neutral import State
from paymaster.dialects.responses.fields import OWN
from paymaster.dialects.state import read_stamp, stamped
from paymaster.registry.models import Dialect

_REDACTED = "redacted:"
"""What a state of Anthropic's begins with if it is a redacted thought, and no signature."""
_WITH_ID = "|"
"""What stands behind the id of an item of OpenAI's in the state of a router, which wants both back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """A state, whether it is that of a redacted thought, and the id of OpenAI's that belongs to it."""

    state: State
    redacted: bool = False
    item_id: str = ""


def seal(sealed: Sealed) -> str:
    """What a client keeps; empty if there is no state and no writer."""
    state = sealed.state
    if sealed.redacted and state.dialect is Dialect.MESSAGES:
        state = replace(state, value=f"{_REDACTED}{state.value}")
    elif sealed.item_id and state.dialect is OWN and state.owner:
        state = replace(state, value=f"{sealed.item_id}{_WITH_ID}{state.value}")
    return stamped(state)


def unseal(text: str) -> Sealed:
    """The state in what a client returns."""
    state = read_stamp(text, OWN)
    if state.owner and state.dialect is Dialect.MESSAGES and state.value.startswith(_REDACTED):
        return Sealed(state=replace(state, value=state.value.removeprefix(_REDACTED)), redacted=True)
    item_id, mark, value = state.value.partition(_WITH_ID)
    if state.owner and state.dialect is OWN and mark:
        return Sealed(state=replace(state, value=value), item_id=item_id)
    return Sealed(state=state)
