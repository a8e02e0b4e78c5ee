"""Stamps on what a model wants back unread: which model wrote it travels with it, in a text that a client returns as it came.

A stamped text has only letters, digits, `_` and `-`, so that it fits into Anthropic's `signature`, OpenAI's `encrypted_content` and the id
of a tool call. What is not stamped was written by a provider, for a client that speaks its own dialect.
"""

import base64
from functools import lru_cache
from hashlib import sha256

from paymaster.dialects.neutral import State
from paymaster.registry.models import Dialect

_MARK = "pm1"
_OWNER_DIGITS = 12
_LETTERS = {Dialect.CHAT: "c", Dialect.RESPONSES: "r", Dialect.MESSAGES: "m"}
_DIALECTS = {letter: dialect for dialect, letter in _LETTERS.items()}


@lru_cache(maxsize=1_024)
def owner_of(provider: str, model_id: str) -> str:
    """The short name under which a model signs what it wants back: the same at every gateway, whatever a registry calls the model."""
    return sha256(f"{provider}\n{model_id}".encode()).hexdigest()[:_OWNER_DIGITS]


def stamped(state: State) -> str:
    """The state as a text with its writer's name. A state without an owner is left as it is."""
    if not state.owner:
        return state.value
    value = base64.urlsafe_b64encode(state.value.encode()).decode().rstrip("=")
    return f"{_MARK}_{state.owner}_{_LETTERS[state.dialect]}_{value}"


def read_stamp(text: str, dialect: Dialect) -> State:
    """The state in a text that a client returns; one without a stamp is in the client's own dialect, of an unknown writer."""
    mark, owner, letter, value = (*text.split("_", 3), "", "", "")[:4]
    if mark != _MARK or len(owner) != _OWNER_DIGITS or letter not in _DIALECTS:
        return State(value=text, dialect=dialect)
    try:
        read = base64.urlsafe_b64decode(value + "=" * (-len(value) % 4)).decode()
    except ValueError:  # not base64, or not UTF-8
        return State(value=text, dialect=dialect)
    state = State(value=read, dialect=_DIALECTS[letter], owner=owner)
    return state if stamped(state) == text else State(value=text, dialect=dialect)  # base64 has more than one spelling


def is_stamp(text: object) -> bool:
    """Whether this is a stamped text."""
    return isinstance(text, str) and text.startswith(f"{_MARK}_") and bool(read_stamp(text, Dialect.CHAT).owner)


_IN_ID = "__pm1_"


def id_with(call_id: str, state: State) -> str:
    """The id of a call with the state in it, for clients that return nothing else unread."""
    return f"{call_id}__{stamped(state)}"


def split_id(call_id: str, dialect: Dialect) -> tuple[str, State | None]:
    """The id that the model gave, and the state in it; None if there is none."""
    if not has_state(call_id):
        return call_id, None
    plain, _, rest = call_id.partition(_IN_ID)
    state = read_stamp(f"{_MARK}_{rest}", dialect)
    return (plain, state) if state.owner else (call_id, None)


def has_state(call_id: object) -> bool:
    """Whether an id may have state in it; on the path of every call."""
    return isinstance(call_id, str) and _IN_ID in call_id


def is_for(state: State, *, owner: str, dialect: Dialect) -> bool:
    """Whether a model may read the state: it wrote it, or nobody knows who did, and it speaks the dialect that it is written in."""
    return state.dialect is dialect and state.owner in ("", owner)
