"""Whole answers of chat completions to and from neutral answers; reads normal ones only, and knows no odd server.

An answer has one choice. Further ones, and what surrounds the message, are chat completions' own, and written again as they came.
"""

from collections.abc import Mapping

from paymaster.dialects.chat.calls import Calls
from paymaster.dialects.chat.shapes import Fields, own, shape_of
from paymaster.dialects.chat.turns import read_message, write_turn
from paymaster.dialects.losses import lost_extras
from paymaster.dialects.neutral import SHAPE, Answer, Ending, Role, ToolCall, Turn, Written
from paymaster.jsontypes import JsonObject
from paymaster.registry.models import Dialect

_ENDINGS = {ending.value: ending for ending in Ending}


def read_answer(body: JsonObject) -> Answer:
    """The answer in a chat.completion. Raises ValueError if it has no choice with a message."""
    fields = Fields(body)
    choices = fields.take("choices", list) or [None]
    first, others = choices[0], choices[1:]
    choice = Fields(first if isinstance(first, Mapping) else {})
    message = choice.mapping("message")
    if message is None:
        raise ValueError("an answer needs a choice with a message")
    turn = read_message(message, Calls())
    reason = choice.take("finish_reason", str)
    shape: dict[str, object] = {"role": message["role"]} if turn.role is not Role.ASSISTANT else {}
    ending = _ENDINGS.get(reason or "")
    if ending is None:
        shape["finish_reason"] = reason
        ending = Ending.TOOL_CALLS if any(isinstance(part, ToolCall) for part in turn.parts) else Ending.STOP
    around: dict[str, object] = {**body}
    del around["choices"]
    shape |= {"choice": {name: value for name, value in choice.rest().items() if name != "finish_reason"}, "others": others, "body": around}
    message_extras = turn.extras.get(Dialect.CHAT, {})
    return Answer(
        parts=turn.parts, ending=ending, extras={Dialect.CHAT: {**message_extras, SHAPE: {**shape, "message": shape_of(turn.extras)}}}
    )


def write_answer(answer: Answer) -> Written:
    """A chat.completion. The id, the model, the usage and the time are the caller's to add unless the answer had them."""
    dropped = [*lost_extras(answer.extras, Dialect.CHAT)]
    shape = shape_of(answer.extras)
    left = {name: value for name, value in answer.extras.get(Dialect.CHAT, {}).items() if name != SHAPE}
    turn = Turn(role=Role.ASSISTANT, parts=answer.parts, extras={Dialect.CHAT: {**left, SHAPE: shape.get("message", {})}})
    (message,) = write_turn(turn, "message", dropped)
    around, beside, others = shape.get("body"), shape.get("choice"), shape.get("others")
    choice = {
        "index": 0,
        **(beside if isinstance(beside, Mapping) else {}),
        "message": message,
        "finish_reason": shape.get("finish_reason", answer.ending.value),
    }
    body: dict[str, object] = {
        "object": "chat.completion",
        **(around if isinstance(around, Mapping) else {}),
        "choices": [choice, *(others if isinstance(others, list) else ())],
    }
    if answer.stop_sequence is not None:
        dropped.append("stop_sequence")
    return Written(body=own(body, {}), dropped=tuple(dict.fromkeys(dropped)))
