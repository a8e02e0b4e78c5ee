"""Whether an answer can be used: a whole chat.completion object in which somebody says something, or all vectors that were asked for.

Knows no transport and no price.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from paymaster.flow.ports import ProviderCall
from paymaster.jsontypes import JsonObject
from paymaster.operations import Operation
from paymaster.providers.vector_answers import judge_vectors
from paymaster.routing.failures import FailureKind

_SAYS_SOMETHING = ("content", "tool_calls", "function_call", "refusal", "audio", "images")
_LIMIT_REACHED = frozenset({"length", "max_tokens"})
_FILTERED = "content_filter"


@dataclass(frozen=True, slots=True)
class Usable:
    """An answer that can be given to the caller. `finish_reason` is the first choice's, empty for vectors."""

    body: JsonObject
    finish_reason: str


@dataclass(frozen=True, slots=True)
class Unusable:
    """An answer that can not, and why. It may have been billed all the same."""

    kind: FailureKind
    reason: str


def parse_object(body: bytes) -> JsonObject | Unusable:
    """The JSON object in a body."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        return Unusable(FailureKind.UNUSABLE_ANSWER, f"the answer is not JSON, or was cut: {error.msg} at byte {error.pos} of {len(body)}")
    if not isinstance(value, dict):
        return Unusable(FailureKind.UNUSABLE_ANSWER, f"the answer is JSON but no object: {type(value).__name__}")
    return value


def judge_answer(call: ProviderCall, answer: JsonObject) -> Usable | Unusable:
    """Whether the answer to a call holds what was asked for."""
    if call.operation is not Operation.EMBEDDINGS:
        return judge(answer)
    wrong = judge_vectors(call.body, answer)
    return Usable(answer, "") if wrong is None else Unusable(FailureKind.UNUSABLE_ANSWER, wrong)


def usage_api_of(call: ProviderCall) -> str:
    """In which shape the answer to a call counts its usage: an endpoint counts vectors otherwise than words."""
    api = call.model.usage_api
    return f"{api.partition('.')[0]}.embeddings" if call.operation is Operation.EMBEDDINGS else api


def judge(answer: JsonObject) -> Usable | Unusable:
    """Whether a chat.completion object holds an answer.

    Arguments of a tool call are not looked into: models do write broken JSON there, and agents tell them so. An empty answer that stopped
    at its output limit is an answer: the caller gave a model that thinks too little room, and asking again would cost the same once more.
    """
    choices = answer.get("choices")
    if not isinstance(choices, list) or not choices:
        return Unusable(FailureKind.UNUSABLE_ANSWER, "the answer has no choices")
    reason = ""
    spoken = False
    for position, choice in enumerate(choices):
        message = choice.get("message") if isinstance(choice, Mapping) else None
        if not isinstance(message, Mapping):
            return Unusable(FailureKind.UNUSABLE_ANSWER, f"choices[{position}] has no message")
        own = choice.get("finish_reason")
        own = own if isinstance(own, str) else ""
        if own == "error":
            return Unusable(FailureKind.SERVER_ERROR, "the provider broke off its answer (finish_reason: error)")
        reason = reason or own
        spoken = spoken or own in _LIMIT_REACHED or any(message.get(name) for name in _SAYS_SOMETHING)
    if not spoken:
        if reason.startswith(_FILTERED):
            return Unusable(FailureKind.CONTENT_POLICY, "the provider's content filter left nothing of the answer")
        return Unusable(
            FailureKind.UNUSABLE_ANSWER, f"the answer is empty: no content, no tool call, no refusal (finish_reason: {reason or 'none'})"
        )
    return Usable(answer, reason or "unknown")
