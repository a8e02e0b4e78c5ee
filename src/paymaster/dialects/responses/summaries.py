"""Summaries of a conversation for models that seal none: how one is asked for, kept by a client and read again; knows no stream.

A client asks with an item `compaction_trigger` and keeps an item `compaction`, whose content only OpenAI's own models can read. Another
model is asked in words, and what it writes is kept in the same place as a stamped text, which every model is given as a message.
"""

from paymaster.dialects.neutral import Opaque, Role, State
from paymaster.dialects.responses.fields import OWN, text_in
from paymaster.dialects.state import read_stamp, stamped
from paymaster.jsontypes import JsonObject
from paymaster.registry.models import Dialect

TRIGGER = "compaction_trigger"
KEPT = frozenset({"compaction", "compaction_summary", "context_compaction"})
"""Items that stand for all that was said before them."""
REQUEST = (
    "Write a summary of this conversation for another model, which continues the work and sees nothing else of it. State what the user "
    "wants, what was decided and why, what was done (files, commands, results), what failed, and what is left to do. Keep names, paths and "
    "values exactly. Call no tool, and write nothing but the summary."
)
_HEADING = "Summary of the conversation so far:\n\n"
_UNKNOWN_WRITER = "0" * 12


def sealed_summary(text: str, owner: str) -> str:
    """What a client keeps of a summary; `owner` is its writer's name on stamps, empty if it is not known."""
    return stamped(State(value=text, dialect=Dialect.CHAT, owner=owner or _UNKNOWN_WRITER))


def summary_in(item: JsonObject) -> str:
    """What a kept item says to every model, with a heading; empty if only its own writer can read it."""
    state = read_stamp(text_in(item, "encrypted_content"), OWN)
    return f"{_HEADING}{state.value}" if item.get("type") in KEPT and state.owner else ""


def read_summary(item: JsonObject) -> Opaque | None:
    """The part for an item that asks for a summary, or is one that every model can read; None for any other item."""
    text = REQUEST if item.get("type") == TRIGGER else summary_in(item)
    return Opaque(dialect=OWN, value=item, text=text) if text else None


def as_message(text: str) -> JsonObject:
    """A message of the user with this text, for a model of this dialect."""
    return {"type": "message", "role": Role.USER.value, "content": [{"type": "input_text", "text": text}]}
