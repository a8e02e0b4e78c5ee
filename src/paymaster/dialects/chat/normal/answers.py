"""Whole answers of any server as OpenAI's chat.completion; knows nothing about streams."""

from collections.abc import Mapping
from typing import NamedTuple

from paymaster.accounting.usage.reading import usage_object
from paymaster.dialects.chat.normal.endings import OWN_WORDS, read_ending, whole_ending
from paymaster.dialects.chat.normal.faults import Broken, fault_in
from paymaster.dialects.chat.normal.parts import plain_parts
from paymaster.dialects.chat.normal.tool_calls import EarlierIds, called_as_tool, whole_calls
from paymaster.jsontypes import JsonObject

WHOLE, CHUNK = "chat.completion", "chat.completion.chunk"
_LATEST_S = 1e11
NATIVE = "native_finish_reason"
"""Where the provider's own word for an ending is kept (OpenRouter's field)."""


def normal_answer(body: JsonObject, *, seed: str, offers_tools: bool = False, earlier_ids: EarlierIds = frozenset) -> JsonObject | Broken:
    """A whole answer in OpenAI's form, or why it is none; the very same object if nothing is to be changed.

    `seed` is another one for each answer, for ids that are missing; `offers_tools` says that the request has tools; `earlier_ids` gives
    those of its calls.
    """
    if (broken := fault_in(body)) is not None:
        return broken
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices:
        return body
    normal: list[object] = []
    for position, choice in enumerate(choices):
        read = _choice(choice, position, _Calls(seed, offers_tools, earlier_ids)) if isinstance(choice, Mapping) else choice
        if isinstance(read, Broken):
            return read
        normal.append(read)
    changed = head(body, WHOLE, seed=seed)
    if any(new is not old for new, old in zip(normal, choices, strict=True)):
        changed["choices"] = normal
    if not body.get("usage") and (usage := usage_object("", body)) is not None:
        changed["usage"] = usage
    return {**body, **changed} if changed else body


def head(body: JsonObject, kind: str, *, seed: str) -> dict[str, object]:
    """The fields around the choices that are missing or wrong, and what they should be.

    A model that is not named stays so: its price is that of the model that answered, which only the provider knows.
    """
    wrong: dict[str, object] = {}
    if body.get("object") != kind:
        wrong["object"] = kind
    if not isinstance(body.get("id"), str) or not body["id"]:
        wrong["id"] = str(body.get("id") or f"chatcmpl-{seed}")
    created = body.get("created")
    if type(created) is not int:
        wrong["created"] = int(created) if isinstance(created, float) and 0 <= created < _LATEST_S else 0
    return wrong


class _Calls(NamedTuple):
    """What the calls of an answer are read with."""

    seed: str
    are_offered: bool
    earlier_ids: EarlierIds


def _choice(choice: JsonObject, position: int, calls_of: _Calls) -> JsonObject | Broken:
    changed: dict[str, object] = {}
    index = choice.get("index")
    if not isinstance(index, int):
        changed["index"] = index = position
    given = choice.get("message")
    given = given if isinstance(given, Mapping) else choice.get("delta")
    if not isinstance(given, Mapping):
        given = {"role": "assistant", "content": choice["text"]} if isinstance(choice.get("text"), str) else None
    if given is None:
        return choice
    message = _message(called_as_tool(given) if calls_of.are_offered else given, calls_of, index)
    if message is not choice.get("message"):
        changed["message"] = message
    calls, legacy_call = bool(message.get("tool_calls")), bool(message.get("function_call"))
    ending = read_ending(ending_word(choice), calls=calls, legacy_call=legacy_call)
    if isinstance(ending, Broken):
        return ending
    ending = ending or whole_ending(calls=calls, legacy_call=legacy_call)
    if ending != choice.get("finish_reason"):
        changed |= ended(choice, ending)
    kept = {name: value for name, value in choice.items() if name != "delta"}
    return {**kept, **changed} if changed or "delta" in choice else choice


def ending_word(choice: JsonObject) -> object:
    """The word for a choice's ending. Anthropic's name for it counts where OpenAI's has none; vLLM has both, and means another thing."""
    return choice.get("finish_reason") or choice.get("stop_reason")


def ended(choice: JsonObject, ending: str) -> dict[str, object]:
    """The fields of a choice for another ending than it names."""
    given = ending_word(choice)
    native = {NATIVE: given} if isinstance(given, str) and given and not choice.get(NATIVE) and given not in OWN_WORDS else {}
    return {"finish_reason": ending, **native}


def _message(given: JsonObject, calls_of: _Calls, index: int) -> JsonObject:
    message = plain_parts(given)
    changed: dict[str, object] = {}
    if message.get("role") != "assistant":
        changed["role"] = "assistant"
    calls = message.get("tool_calls")
    if calls:
        listed = calls if isinstance(calls, list) else [calls]
        normal = whole_calls(listed, seed=calls_of.seed, choice=index, earlier_ids=calls_of.earlier_ids)
        if calls is not listed or len(normal) != len(listed) or any(new is not old for new, old in zip(normal, listed, strict=True)):
            changed["tool_calls"] = normal
    if "content" not in message:
        changed["content"] = None
    return {**message, **changed} if changed else message


def as_chunk(answer: JsonObject) -> JsonObject:
    """A whole answer in OpenAI's form as a single chunk of a stream."""
    choices = answer.get("choices")
    deltas = [
        {**{name: value for name, value in choice.items() if name != "message"}, "delta": _indexed(choice["message"])}
        for choice in (choices if isinstance(choices, list) else ())
        if isinstance(choice, Mapping) and isinstance(choice.get("message"), Mapping)
    ]
    return {**answer, "object": CHUNK, "choices": deltas}


def _indexed(message: JsonObject) -> JsonObject:
    """A message whose tool calls have an index, as in a delta."""
    calls = message.get("tool_calls")
    if not isinstance(calls, list):
        return message
    return {**message, "tool_calls": [{**call, "index": index} for index, call in enumerate(calls)]}
