"""Requests in Anthropic's format, read into the neutral form, written from it, and passed on; knows no model and no HTTP.

Read then write is the identity, but for what says the same: a text as a string or as a list, a null field, an empty list.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from operator import is_

from paymaster.dialects.losses import lost_extras
from paymaster.dialects.messages.blocks import BlockWriter, plain_content, read_content
from paymaster.dialects.messages.call_ids import with_own_ids
from paymaster.dialects.messages.fields import OWN, count_of, extras_of
from paymaster.dialects.messages.tools import forces, read_choice, read_tools, write_choice, write_tools
from paymaster.dialects.messages.wishes import read_extras, read_params, read_schema, read_thinking, write_wishes
from paymaster.dialects.neutral import Conversation, Part, Role, Text, ToolCall, ToolResult, Turn, Written
from paymaster.dialects.objects import objects
from paymaster.dialects.state import is_for, read_stamp, split_id
from paymaster.errors import RequestInvalid
from paymaster.jsontypes import JsonObject
from paymaster.registry.models import Dialect

_ROLES = {"user": Role.USER, "assistant": Role.ASSISTANT, "system": Role.SYSTEM}
_MESSAGE = frozenset({"role", "content"})
_STATE_IN = {"thinking": "signature", "redacted_thinking": "data", "tool_use": "id", "tool_result": "tool_use_id"}
"""The field of a block that may have a model's state."""
_MARKER = "cache_control"
_INSTRUCTIONS = (Role.SYSTEM, Role.DEVELOPER)


def read_request(body: JsonObject) -> Conversation:
    """The request. Raises RequestInvalid."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise RequestInvalid("messages: a list with at least one message is required")
    choice = read_choice(body.get("tool_choice"))
    schema, rest = read_schema(body)
    extras = read_extras(body, rest)
    return Conversation(
        turns=(*_read_system(body.get("system")), *(_read_turn(message, f"messages.{index}") for index, message in enumerate(messages))),
        tools=read_tools(body.get("tools"), choice),
        choice=choice,
        thinking=read_thinking(body),
        schema=schema,
        output_tokens=count_of(body, "max_tokens", "max_tokens"),
        params=dict(read_params(body)),
        extras={OWN: extras} if extras else {},
    )


def _read_system(system: object) -> Iterator[Turn]:
    if parts := read_content(system, "system"):
        for index, part in enumerate(parts):
            if not isinstance(part, Text):
                raise RequestInvalid(f"system.{index}: a text is required here")
        yield Turn(role=Role.SYSTEM, parts=parts)


def _read_turn(message: object, where: str) -> Turn:
    role = message.get("role") if isinstance(message, Mapping) else None
    if not isinstance(message, Mapping) or not isinstance(role, str) or role not in _ROLES:
        raise RequestInvalid(f"{where}.role: one of user, assistant is required")
    content = message.get("content")
    if not isinstance(content, str):
        objects(content, f"{where}.content")
    return Turn(role=_ROLES[role], parts=read_content(content, f"{where}.content"), extras=extras_of(message, _MESSAGE))


def write_request(conversation: Conversation, owner: str = "", *, signed: bool = True) -> Written:
    """The request for the model with this name on stamps. With `signed`, it takes no thought without its signature."""
    writer = BlockWriter(owner=owner, signed=signed)
    dropped = writer.dropped
    for name in lost_extras(conversation.extras, OWN):
        writer.drop(name)
    system, turns = _split(with_own_ids(conversation.turns) if owner else conversation.turns)
    body: dict[str, object] = {}
    if blocks := [block for turn in system for block in _marked_blocks(turn, "system", writer)]:
        body["system"] = plain_content(blocks)
    body["messages"] = _without_last_space([message for turn in _arranged(turns) if (message := _write_turn(turn, writer)) is not None])
    if tools := write_tools(conversation, dropped):
        body["tools"] = tools
    if choice := write_choice(conversation.choice, tools, dropped):
        body["tool_choice"] = choice
    if conversation.output_tokens is not None:
        body["max_tokens"] = conversation.output_tokens
    body |= write_wishes(conversation, forced=forces(conversation.choice) and bool(tools), dropped=dropped)
    return Written(body=body, dropped=tuple(dropped))


def _split(turns: Sequence[Turn]) -> tuple[Sequence[Turn], Sequence[Turn]]:
    """The instructions at the start, and the rest. Where there is no rest, the instructions are what is said."""
    first = next((index for index, turn in enumerate(turns) if turn.role not in _INSTRUCTIONS), None)
    if first is None:
        return (), [replace(turn, role=Role.USER) for turn in turns]
    return turns[:first], turns[first:]


def _write_turn(turn: Turn, writer: BlockWriter) -> JsonObject | None:
    """A message; None if nothing is left of the turn."""
    role = "system" if turn.role in _INSTRUCTIONS else turn.role.value
    blocks = _marked_blocks(turn, "messages", writer)
    own = turn.extras.get(OWN, {})
    return {"role": role, "content": plain_content(blocks), **own} if blocks or own else None


def _marked_blocks(turn: Turn, where: str, writer: BlockWriter) -> list[JsonObject]:
    """The blocks of a turn. A chat message may have a cache marker of its own, which is its last block's."""
    blocks, marker = writer.blocks(turn.parts, where), turn.extras.get(Dialect.CHAT, {}).get(_MARKER)
    for name in lost_extras(turn.extras, OWN, where):
        if name != f"{where}.{_MARKER}":
            writer.drop(name)
    if isinstance(marker, Mapping) and blocks and _MARKER not in blocks[-1]:
        blocks[-1] = {**blocks[-1], _MARKER: marker}
    return blocks


def _without_last_space(messages: list[JsonObject]) -> list[JsonObject]:
    """The messages without white space at the end of an answer that the model is to continue, which the API refuses."""
    last = messages[-1] if messages else {}
    content = last.get("content")
    if last.get("role") != "assistant":
        return messages
    if isinstance(content, str):
        return [*messages[:-1], {**last, "content": content.rstrip()}]
    if not isinstance(content, list) or content[-1].get("type") != "text":
        return messages
    final = {**content[-1], "text": content[-1]["text"].rstrip()}
    return [*messages[:-1], {**last, "content": [*content[:-1], final]}]


def _arranged(turns: Sequence[Turn]) -> list[Turn]:
    """The turns as the API wants them: sides alternate, and results of tools come first behind their calls."""
    merged: list[Turn] = []
    for turn in _with_results_behind_calls(turns):
        last = merged[-1] if merged else None
        if last is not None and last.role is turn.role and turn.role not in _INSTRUCTIONS and not (last.extras or turn.extras):
            merged[-1] = replace(last, parts=(*last.parts, *turn.parts))
        else:
            merged.append(turn)
    return [replace(turn, parts=_results_first(turn.parts)) if turn.role is Role.USER else turn for turn in merged]


def _results_first(parts: tuple[Part, ...]) -> tuple[Part, ...]:
    return tuple(sorted(parts, key=lambda part: not isinstance(part, ToolResult)))


def _with_results_behind_calls(turns: Sequence[Turn]) -> Iterator[Turn]:
    """The turns with each result directly behind the turn of its call. One without a call stays where it is, and none is invented."""
    callers = [{part.id for part in turn.parts if isinstance(part, ToolCall)} for turn in turns]
    results: dict[int, list[Part]] = {}
    rest: list[Turn] = []
    for index, turn in enumerate(turns):
        own: list[Part] = []
        for part in turn.parts:
            caller = _caller(part, callers, index)
            (own if caller is None else results.setdefault(caller, [])).append(part)
        rest.append(turn if len(own) == len(turn.parts) else replace(turn, parts=tuple(own)))
    for index, turn in enumerate(rest):
        if turn.parts or not turns[index].parts:
            yield turn
        if index in results:
            yield Turn(role=Role.USER, parts=tuple(results[index]))


def _caller(part: Part, callers: Sequence[set[str]], index: int) -> int | None:
    """The turn before this one that called the tool whose result the part is."""
    if not isinstance(part, ToolResult):
        return None
    return next((earlier for earlier in range(index - 1, -1, -1) if part.call_id in callers[earlier]), None)


def pass_request(body: JsonObject, owner: str = "") -> Written:
    """The body as it came, without the state of other models; the very same object if it has none."""
    messages = body.get("messages")
    if not isinstance(messages, list):
        return Written(body=dict(body))
    dropped: dict[str, None] = {}
    kept = [passed for message in messages if (passed := _passed(message, owner, dropped)) is not None]
    if len(kept) == len(messages) and all(map(is_, kept, messages)):
        return Written(body=dict(body))
    return Written(body={**body, "messages": kept}, dropped=tuple(dropped))


def _passed(message: object, owner: str, dropped: dict[str, None]) -> object:
    """A message without other models' state; None if it had nothing else."""
    content = message.get("content") if isinstance(message, dict) else None
    if not isinstance(content, list):
        return message
    kept = [passed for block in content if (passed := _passed_block(block, owner, dropped)) is not None]
    if len(kept) == len(content) and all(map(is_, kept, content)):
        return message
    return {**message, "content": kept} if kept and isinstance(message, dict) else None


def _passed_block(block: object, owner: str, dropped: dict[str, None]) -> object:
    name = _STATE_IN.get(str(block.get("type"))) if isinstance(block, dict) else None
    if name is None or not isinstance(block, dict) or not isinstance(held := block.get(name), str):
        return block
    if name in ("signature", "data"):
        state = read_stamp(held, OWN)
        if not state.owner:
            return block
        if is_for(state, owner=owner, dialect=OWN):
            return {**block, name: state.value}
        dropped["messages.thinking"] = None
        return None
    call_id, state_in_id = split_id(held, OWN)
    return block if state_in_id is None else {**block, name: call_id}
