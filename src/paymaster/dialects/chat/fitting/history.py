"""A conversation as one endpoint takes it, with the same texts, calls and arguments; knows the endpoint's facts, and no provider."""

from collections.abc import Sequence
from dataclasses import dataclass

from paymaster.dialects.chat.fitting.contents import as_text, text_of, with_images_behind, without_empty_text
from paymaster.dialects.chat.fitting.fields import KNOWN_FIELDS, FieldFitter, call_fits, call_ids_in, signature_in
from paymaster.dialects.chat.fitting.turns import in_turns, is_ordered, ordered, with_known_roles
from paymaster.jsontypes import JsonObject
from paymaster.registry.compat import REASONING_CONTENT, THOUGHT_SIGNATURE, Compat


@dataclass(frozen=True, slots=True)
class Fitted:
    """The messages to send, and the names of what was lost in them (`messages.cache_control`)."""

    messages: Sequence[JsonObject]
    lost: tuple[str, ...] = ()


def fit_history(messages: Sequence[JsonObject], compat: Compat) -> Fitted:
    """The messages as the endpoint takes them: the very same list where nothing has to change."""
    if _fits(messages, compat):
        return Fitted(messages)
    lost: set[str] = set()
    fitted = list(with_known_roles(messages if is_ordered(messages) else list(ordered(messages)), compat, lost))
    fields = FieldFitter(compat, call_ids_in(fitted, compat), lost)
    fitted = [fields.fit(message) for message in fitted if not _says_nothing(message)]
    if not compat.images_in_tools:
        fitted = list(with_images_behind(fitted))
    if compat.text_content:
        fitted = [as_text(message, lost) for message in fitted]
    if not compat.empty_text:
        fitted = list(without_empty_text(fitted))
    if compat.alternating_roles or not compat.user_after_tool:
        fitted = list(in_turns(fitted, compat))
    if len(fitted) == len(messages) and all(new is old for new, old in zip(fitted, messages, strict=True)):
        return Fitted(messages)
    return Fitted(fitted, tuple(sorted(lost)))


_BESIDE = frozenset({"role", "content", "name", "id", "reasoning_content", "reasoning", "reasoning_details", "thinking_blocks"})
"""What says nothing without a text or a call: a thought whose answer was cut is of no use, and most endpoints refuse such a message."""


def _says_nothing(message: JsonObject) -> bool:
    """Whether an answer has neither a content nor anything else that was said or done."""
    if message.get("role") != "assistant" or message.get("content") is not None:
        return False
    return not any(value for name, value in message.items() if name not in _BESIDE)


_SPEAKERS = frozenset({"user", "assistant"})
_INSTRUCTORS = frozenset({"system", "developer"})
_RESULTS, _CALLS = "tool", "calls"


def _fits(messages: Sequence[JsonObject], compat: Compat) -> bool:
    """Whether nothing has to change, at a glance: on the path of every call, so True for all that is common and plainly fine."""
    before, open_ids, names = "", set[object](), set[str]()
    empty_text, any_order = compat.empty_text, compat.user_after_tool and not compat.alternating_roles
    for message in messages:
        role, content = message.get("role"), message.get("content")
        if role == "tool":
            if message.get("tool_call_id") not in open_ids or before not in (_CALLS, _RESULTS) or not _result_fits(message, compat):
                return False
        # Two fields, and text: nothing else to look at.
        elif not (len(message) == 2 and type(content) is str and role in _SPEAKERS) or not (empty_text or content.strip()):
            if not _message_fits(message, compat) or (role in _INSTRUCTORS and not _may_instruct(role, before, compat)):
                return False
            if calls := message.get("tool_calls"):
                if type(calls) is not list or not _calls_fit(message, calls, compat, names):
                    return False
                open_ids, role = {call["id"] for call in calls}, _CALLS
        if not any_order and _out_of_turn(role, before, compat):
            return False
        before = str(role)
    return True


def _may_instruct(role: object, before: str, compat: Compat) -> bool:
    return not (compat.system_first and before) and (role == "system" or compat.developer_role)


def _out_of_turn(role: object, before: str, compat: Compat) -> bool:
    if before == _RESULTS and role == "user" and not compat.user_after_tool:
        return True
    return compat.alternating_roles and ((role == before == "user") or (role in ("assistant", _CALLS) and before in ("assistant", _CALLS)))


def _result_fits(message: JsonObject, compat: Compat) -> bool:
    """A result of which the call was seen, and with it the id."""
    return (len(message) == 3 and type(message.get("content")) is str) or _message_fits(message, compat)


def _message_fits(message: JsonObject, compat: Compat) -> bool:
    if not compat.unread.isdisjoint(message):
        return False
    content = message.get("content")
    if content is None:
        if not message.get("tool_calls") and (not compat.empty_text or _says_nothing(message)):
            return False
    elif type(content) is not str:
        if not _parts_fit(content, message.get("role"), compat):
            return False
    elif not compat.empty_text and message.get("role") != "tool" and not content.strip():
        return False
    if "tool_calls" in message and not message["tool_calls"]:
        return False
    if not compat.unknown_fields and not message.keys() <= KNOWN_FIELDS | compat.reads:
        return False
    if "reasoning" in compat.reads and REASONING_CONTENT in compat.reads and ("reasoning" in message) != (REASONING_CONTENT in message):
        return False
    return compat.names or "name" not in message


def _parts_fit(content: object, role: object, compat: Compat) -> bool:
    if type(content) is not list or compat.text_content:
        return False
    for part in content:
        if type(part) is not dict or not compat.unread.isdisjoint(part) or part.get("type") in ("thinking", "redacted_thinking"):
            return False
        text = text_of(part)
        if (text is None and role == "tool" and not compat.images_in_tools) or (
            text is not None and not compat.empty_text and not text.strip()
        ):
            return False
    return compat.empty_text or bool(content)


def _calls_fit(message: JsonObject, calls: Sequence[object], compat: Compat, names: set[str]) -> bool:
    if compat.requires:
        if REASONING_CONTENT in compat.requires and not message.get(REASONING_CONTENT):
            return False
        if THOUGHT_SIGNATURE in compat.requires and not signature_in(calls[0]):
            return False
    return all(call_fits(call, compat, names) for call in calls)
