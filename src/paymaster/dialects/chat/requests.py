"""Chat completions' requests to and from the neutral form; knows no endpoint and no model.

What it writes is also the form that the flow plans with: chat completions with extensions (`cache_control`, `thinking_blocks`,
`reasoning_content`, `reasoning_details`, `extra_content`, tool messages with parts and `is_error`).
"""

from collections.abc import Iterator, Mapping, Sequence

from paymaster.dialects.chat.shapes import Fields, extras_of, own, shape_of
from paymaster.dialects.chat.tools import read_choice, read_tools, write_choice, write_tools
from paymaster.dialects.chat.turns import is_stamped, read_turns, write_turn
from paymaster.dialects.neutral import SHAPE, Conversation, ThinkingWish, Written
from paymaster.dialects.owned import for_reader
from paymaster.jsontypes import JsonObject
from paymaster.registry.models import Dialect

FLOW_FIELDS = frozenset({"model", "stream", "stream_options"})
"""Fields that are no part of a conversation, and the flow's to set."""
LIMITS = ("max_completion_tokens", "max_tokens")
_JSON = {"type": "json_object"}
_EFFORT, _THINKING, _ROUTED = "reasoning_effort", "thinking", "reasoning"
"""OpenAI's word for how much to think, Anthropic's, and a router's."""


def read(body: JsonObject) -> Conversation:
    """The conversation of a request. Raises ValueError if a message is no object."""
    fields = Fields({name: value for name, value in body.items() if name not in FLOW_FIELDS})
    shape: dict[str, object] = {}
    messages = fields.take("messages", list) or []
    tools = read_tools(fields, shape)
    choice = read_choice(fields)
    output_tokens = _read_limit(fields, shape)
    schema = _read_schema(fields)
    thinking = _read_thinking(fields)
    left = fields.extras(shape).get(Dialect.CHAT, {})
    return Conversation(
        turns=tuple(read_turns(messages)),
        tools=tools,
        choice=choice,
        thinking=thinking,
        schema=schema,
        output_tokens=output_tokens,
        params={name: value for name, value in left.items() if name != SHAPE},
        extras={Dialect.CHAT: {SHAPE: left[SHAPE]}} if SHAPE in left else {},
    )


def write(conversation: Conversation, owner: str = "") -> Written:
    """The request in chat completions' words, without the flow's fields, and what they have no word for.

    `owner` signs for the model that reads it (`state`): it gets its own state alone. Without one all state stays, stamped.
    """
    dropped = [*extras_of(conversation.extras, "")]
    messages: list[JsonObject] = []
    for index, turn in enumerate(conversation.turns):
        where = f"messages.{index}"
        read_turn = for_reader(turn, owner, where, dropped) if owner else turn
        messages += write_turn(read_turn, where, dropped)
    shape = shape_of(conversation.extras)
    body: dict[str, object] = {"messages": messages, **write_tools(conversation.tools, shape, dropped)}
    if conversation.choice is not None:
        body |= write_choice(conversation.choice, dropped)
    if conversation.output_tokens is not None:
        body[str(shape.get("limit", LIMITS[0]))] = conversation.output_tokens
    if conversation.schema is not None:
        body["response_format"] = {"type": "json_schema", "json_schema": conversation.schema} if conversation.schema else _JSON
    if conversation.thinking is not None:
        body |= _write_thinking(conversation.thinking)
    return Written(body=own({**body, **conversation.params}, conversation.extras), dropped=tuple(dict.fromkeys(dropped)))


def passed(body: JsonObject, owner: str) -> Written:
    """The body for a model that speaks chat completions: as it came, but for the state of other models."""
    messages = body.get("messages")
    if not isinstance(messages, list):
        return Written(body=dict(body))
    kept, dropped = own_messages(messages, owner)
    return Written(body={**body, "messages": kept}, dropped=dropped)


def own_messages(messages: Sequence[JsonObject], owner: str) -> tuple[Sequence[JsonObject], tuple[str, ...]]:
    """The messages for the model that signs as `owner`: the very same list if no state in them is stamped."""
    if not any(is_stamped(message) for message in messages):
        return messages, ()
    dropped: list[str] = []
    kept: list[JsonObject] = []
    for index, message in enumerate(messages):
        if not is_stamped(message):
            kept.append(message)
            continue
        where = f"messages.{index}"
        for turn in read_turns([message]):
            kept += write_turn(for_reader(turn, owner, where, dropped), where, dropped)
    return kept, tuple(dict.fromkeys(dropped))


def _read_limit(fields: Fields, shape: dict[str, object]) -> int | None:
    """The output limit: the newer name goes before the older, which is then a parameter like others."""
    for name in LIMITS:
        limit = fields.take(name, int)
        if isinstance(limit, bool):
            fields.put_back(name, limit)
        elif limit is not None:
            if name != LIMITS[0]:
                shape["limit"] = name
            return limit
    return None


def _read_schema(fields: Fields) -> JsonObject | None:
    """The schema of the answer; any other format stays a parameter."""
    given = fields.take("response_format", object)
    if given == _JSON:
        return {}
    if isinstance(given, Mapping) and given.keys() == {"type", "json_schema"} and given["type"] == "json_schema":
        schema = given["json_schema"]
        if isinstance(schema, Mapping) and schema:
            return schema
    fields.put_back("response_format", given)
    return None


def _read_thinking(fields: Fields) -> ThinkingWish | None:
    """How much to think, in whichever words; these are kept, and written again as they were."""
    effort, thinking, routed = fields.take(_EFFORT, str), fields.mapping(_THINKING), fields.mapping(_ROUTED)
    said = {_EFFORT: effort, _THINKING: thinking, _ROUTED: routed}
    own_words = {name: value for name, value in said.items() if value is not None}
    if not own_words:
        return None
    thinking, routed = thinking or {}, routed or {}
    word, kind, budget = effort or routed.get("effort"), thinking.get("type"), thinking.get("budget_tokens", routed.get("max_tokens"))
    return ThinkingWish(
        effort=word if isinstance(word, str) else "",
        budget_tokens=budget if isinstance(budget, int) and not isinstance(budget, bool) else None,
        adaptive=kind == "adaptive",
        off=word == "none" or kind == "disabled" or routed.get("enabled") is False or budget == 0,
        shown=False if routed.get("exclude") is True else None,
        own={Dialect.CHAT: own_words},
    )


def _write_thinking(wish: ThinkingWish) -> JsonObject:
    return wish.own.get(Dialect.CHAT) or dict(_said(wish))


def _said(wish: ThinkingWish) -> Iterator[tuple[str, object]]:
    if wish.effort:
        yield _EFFORT, wish.effort
    if wish.off:
        yield _THINKING, {"type": "disabled"}
    elif wish.adaptive:
        yield _THINKING, {"type": "adaptive"}
    elif wish.budget_tokens is not None:
        yield _THINKING, {"type": "enabled", "budget_tokens": wish.budget_tokens}
