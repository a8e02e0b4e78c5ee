"""Decides whether an answer can be used: a complete chat completion with content, or a vector for each input.

Knows no transport and no price.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import orjson

from paymaster.accounting.usage.openai import with_stated_cost
from paymaster.accounting.usage.record import Usage
from paymaster.dialects.chat.normal.answers import normal_answer
from paymaster.dialects.chat.normal.faults import Broken
from paymaster.dialects.chat.normal.streams import NormalStream
from paymaster.dialects.chat.normal.tool_calls import ids_of_calls
from paymaster.flow.ports import ProviderCall, ProviderReply
from paymaster.jsontypes import JsonObject
from paymaster.operations import Operation
from paymaster.registry.providers import find_provider
from paymaster.routing.failures import Billed, Failure, FailureKind

_CONTENT = ("content", "tool_calls", "function_call", "refusal", "audio", "images", "anthropic_blocks", "openai_items")
_LIMIT_REACHED = "length"
_FILTERED = "content_filter"


@dataclass(frozen=True, slots=True)
class Usable:
    """An answer for the caller. `finish_reason` is that of the first choice, or empty for vectors."""

    body: JsonObject
    finish_reason: str


@dataclass(frozen=True, slots=True)
class Unusable:
    """An answer that can't be used, and why. It may have been billed nevertheless."""

    kind: FailureKind
    reason: str


def parse_object(body: bytes) -> JsonObject | Unusable:
    """The JSON object in a body."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        return Unusable(FailureKind.UNUSABLE_ANSWER, f"the answer is not complete JSON: {error.msg} at byte {error.pos} of {len(body)}")
    if not isinstance(value, dict):
        return Unusable(FailureKind.UNUSABLE_ANSWER, f"the answer is JSON but not an object: {type(value).__name__}")
    return value


def unusable_of(broken: Broken) -> Unusable:
    """An answer that its provider gave up."""
    return Unusable(FailureKind(broken.fault), broken.reason)


def new_stream(call: ProviderCall) -> NormalStream:
    """What makes the chunks of the answer to a call OpenAI's."""
    names = tool_names(call.body.get("tools"))
    return NormalStream(seed=call.call_id, tool_names=names, earlier_ids=lambda: ids_of_calls(call.body.get("messages")))


def normal_whole(call: ProviderCall, body: JsonObject, *, offers_tools: bool = False) -> JsonObject | Broken:
    """The whole answer to a call as OpenAI's, or why it is none."""
    earlier = call.body.get("messages")
    return normal_answer(body, seed=call.call_id, offers_tools=offers_tools, earlier_ids=lambda: ids_of_calls(earlier))


def tool_names(tools: object) -> list[str]:
    """The names of the tools in a payload."""
    given = tools if isinstance(tools, list | tuple) else ()
    inner = [tool.get("function") or tool.get("custom") for tool in given if isinstance(tool, Mapping)]
    return [name for tool in inner if isinstance(tool, Mapping) and isinstance(name := tool.get("name"), str)]


def judge_answer(call: ProviderCall, answer: JsonObject) -> Usable | Unusable:
    """Whether the answer to a call is complete."""
    if call.operation is not Operation.EMBEDDINGS:
        return judge_completion(answer)
    problem = vectors_problem(call.body, answer)
    return Usable(answer, "") if problem is None else Unusable(FailureKind.UNUSABLE_ANSWER, problem)


def usage_api_of(call: ProviderCall) -> str:
    """The usage format of the answer to a call: an endpoint reports embeddings in another format than chat."""
    api = call.model.usage_api
    return f"{api.partition('.')[0]}.embeddings" if call.operation is Operation.EMBEDDINGS else api


def with_cost_in_head(call: ProviderCall, headers: Mapping[str, str], outcome: ProviderReply | Failure) -> ProviderReply | Failure:
    """A whole answer, usable or not, with the cost that its provider states in a header, if it is one that does."""
    facts = find_provider(call.model.provider)
    if facts is None or facts.cost_header is None or outcome.usage is None:
        return outcome
    usage = with_stated_cost(outcome.usage, headers.get(facts.cost_header))
    if not isinstance(outcome, Failure):
        return replace(outcome, usage=usage)
    return replace(outcome, usage=usage) if isinstance(usage, Usage) else replace(outcome, usage=None, billed=Billed.MAYBE)


def judge_completion(answer: JsonObject) -> Usable | Unusable:
    """Whether a normal chat.completion object has an answer.

    The arguments of a tool call are not checked: models do write broken JSON there, and agents handle it. An empty answer that reached its
    output limit is usable: the caller gave a reasoning model too little room, and a retry would cost the same again.
    """
    choices = answer.get("choices")
    if not isinstance(choices, list) or not choices:
        return Unusable(FailureKind.UNUSABLE_ANSWER, "the answer has no choices")
    reason = ""
    has_content = False
    for position, choice in enumerate(choices):
        message = choice.get("message") if isinstance(choice, Mapping) else None
        if not isinstance(message, Mapping):
            return Unusable(FailureKind.UNUSABLE_ANSWER, f"choices[{position}] has no message")
        own = choice.get("finish_reason")
        own = own if isinstance(own, str) else ""
        reason = reason or own
        has_content = has_content or own == _LIMIT_REACHED or any(message.get(name) for name in _CONTENT)
    if not has_content:
        if reason.startswith(_FILTERED):
            return Unusable(FailureKind.CONTENT_POLICY, "the provider's content filter removed the whole answer")
        return Unusable(
            FailureKind.UNUSABLE_ANSWER, f"the answer is empty: no content, no tool call, no refusal (finish_reason: {reason or 'none'})"
        )
    return Usable(answer, reason or "unknown")


def vectors_problem(payload: JsonObject, answer: JsonObject) -> str | None:
    """Why the answer to an embeddings payload can't be used, or None: it must have one vector for each input, all of one length."""
    data = answer.get("data")
    if not isinstance(data, list) or not data:
        return "the answer has no data"
    expected = _input_count(payload)
    if len(data) != expected:
        return f"the answer has {len(data)} vectors for {expected} inputs"
    vectors = []
    for position, entry in enumerate(data):
        vector = entry.get("embedding") if isinstance(entry, Mapping) else None
        if not isinstance(vector, str | list) or not vector or (isinstance(vector, list) and not isinstance(vector[0], int | float | list)):
            return f"data[{position}] has no vector"
        vectors.append(vector)
    if len({(type(vector), len(vector)) for vector in vectors}) > 1:
        return "the vectors differ in length"
    return None


def _input_count(payload: JsonObject) -> int:
    """The number of inputs in an embeddings payload."""
    inputs = payload.get("input")
    return len(inputs) if isinstance(inputs, list | tuple) and inputs and not isinstance(inputs[0], int) else 1
