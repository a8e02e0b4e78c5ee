"""Requests to OpenAI's responses, read into a conversation and written from one; knows no HTTP and no model.

The model's name, the output limit and the fields of a stream are policy's, and are neither kept nor written.
"""

from collections.abc import Iterator, Mapping, Sequence

from paymaster.accounting import bounds
from paymaster.dialects.losses import lost_extras
from paymaster.dialects.neutral import (
    ChoiceKind,
    Conversation,
    Extras,
    Role,
    ServerTool,
    Text,
    ThinkingWish,
    Tool,
    Turn,
    Written,
)
from paymaster.dialects.objects import objects, section
from paymaster.dialects.responses.fields import OWN, extras_of, shape_of, text_in, with_own
from paymaster.dialects.responses.item_writer import ItemWriter
from paymaster.dialects.responses.items import loaded_tools, only_own, read_items
from paymaster.dialects.responses.summaries import TRIGGER
from paymaster.dialects.responses.tools import ToolNames, loaded, no_choice, read_choice, read_tools, with_forced, write_choice, write_tools
from paymaster.errors import RequestInvalid
from paymaster.jsontypes import JsonObject
from paymaster.registry.models import Dialect

SHARED_PARAMS = (
    "temperature", "top_p", "user", "metadata", "service_tier", "prompt_cache_key", "prompt_cache_retention", "safety_identifier",
)  # fmt: skip
"""Parameters that chat completions has under the same name."""
OWN_PARAMS = frozenset(
    {
        "context_management", "include", "max_tool_calls", "moderation", "prompt_cache_options", "reasoning", "store", "text",
        "top_logprobs", "truncation",
    }
)  # fmt: skip
"""Parameters that only this API knows. A caller of the library may give them to a model that speaks it."""

POLICY_FIELDS = frozenset({"model", "stream", "stream_options", "max_output_tokens"})
_REFUSED: Mapping[str, str] = {
    "background": "Leave it out. With `stream: true` the connection stays open for as long as the answer takes.",
    "conversation": "Send the whole conversation as `input`, or name the last response in `previous_response_id`.",
    "prompt": "Send the text of the prompt as `instructions` or `input`.",
}
"""What an endpoint does beside this call, or keeps under a name that nobody here can check, with what to do instead."""
REFERENCE = "item_reference"
THOUGHTS_BY_ID = "thoughts_by_id"
"""Under this name planning reads how many thoughts only the endpoint has."""
_MADE_IMAGE = "image_generation_call"
_THOUGHT_TEXTS = ("encrypted_content", "content")
_SILENT = frozenset({"store", "client_metadata", "max_tool_calls", "previous_response_id", *_REFUSED})
"""Fields that ask nothing of a model, or only of a server that stores or has tools of its own."""
ENCRYPTED = "reasoning.encrypted_content"
_EFFORTS = {"max": "xhigh"}
"""Anthropic's efforts in OpenAI's words, which most of its models know."""


def read(body: JsonObject) -> Conversation:
    """The conversation of a request. Raises RequestInvalid."""
    refuse_stored(body)
    given, instructions = body.get("input"), body.get("instructions")
    items, names = _items_of(body), names_of(body)
    turns: list[Turn] = []
    if isinstance(instructions, str) and instructions:
        turns.append(_noted_turn(Role.SYSTEM, instructions, "instructions"))
    elif instructions:
        raise RequestInvalid("instructions: a string is required")
    if isinstance(given, str):
        turns.append(_noted_turn(Role.USER, given, "input"))
    turns += read_items(items, names)
    if not turns:
        raise RequestInvalid("input: a text or a list of items is required")
    tools = [*read_tools(body.get("tools"), names)]
    choice, forced = read_choice(body, names)
    hosted = {str(tool.value.get("type")) for tool in tools if isinstance(tool, ServerTool)}
    if missing := sorted(forced - hosted):
        raise RequestInvalid(f"tool_choice: no tool of type {missing[0]!r} is among the tools")
    if choice is not None and choice.kind is ChoiceKind.REQUIRED and not any(isinstance(tool, Tool) for tool in tools):
        forced = frozenset(hosted)
    if tools and asks_for_summary(body):
        choice = no_choice(choice, body.get("tool_choice"))
    limit = body.get("max_output_tokens")
    return Conversation(
        turns=tuple(turns),
        tools=with_forced([*tools, *_loaded(items, names, tools)], forced),
        choice=choice,
        thinking=_read_thinking(body.get("reasoning")),
        schema=_read_schema(body),
        output_tokens=None if limit is None else bounds.read_count("max_output_tokens", limit, bounds.MOST_TOKENS),
        params=_read_params(body),
        extras=_read_extras(body, items),
    )


def refuse_stored(body: JsonObject) -> None:
    """Raise RequestInvalid for what this gateway does not let an endpoint do or keep."""
    for name, advice in _REFUSED.items():
        if body.get(name) not in (None, False):
            raise RequestInvalid(f"{name} is not available through this gateway", advice=advice)


def names_of(body: JsonObject) -> ToolNames:
    """The names under which other dialects know this request's tools. Raises RequestInvalid."""
    tools = body.get("tools")
    declared = objects(tools, "tools") if tools is not None else []
    return ToolNames([*declared, *(tool for _, added in loaded_tools(_items_of(body)) for tool in added)])


def wants_encrypted(body: JsonObject) -> bool:
    """Whether the client keeps encrypted reasoning, to return it unread."""
    include = body.get("include")
    return isinstance(include, list) and ENCRYPTED in include


def beside_house_form(body: JsonObject) -> list[JsonObject]:
    """What a model of this dialect reads of a body, and chat completions have no word for, as messages to count."""
    return [{"role": "user", "content": [value]} for item in _items_of(body) for value in only_own(item)]


def declared_tools(body: JsonObject) -> list[JsonObject]:
    """Every tool that a body declares: items of a conversation may declare some, too."""
    tools = body.get("tools")
    declared = list(tools) if isinstance(tools, list) else []
    return [*declared, *(tool for _, added in loaded_tools(_items_of(body)) for tool in added)]


def refers_to_items(body: JsonObject) -> bool:
    """Whether an item refers to one that the endpoint keeps: an image that was made needs no more than its id."""
    return any(item.get("type") == REFERENCE or (item.get("type") == _MADE_IMAGE and not item.get("result")) for item in _mappings(body))


def thoughts_by_id(body: JsonObject) -> int:
    """How many thoughts have no more than their id, so that the endpoint that keeps them reads, and bills, what nobody here has seen."""
    if body.get("store") is False:
        return 0
    thoughts = (item for item in _mappings(body) if item.get("type") == "reasoning" and item.get("id"))
    return sum(not any(item.get(name) for name in _THOUGHT_TEXTS) for item in thoughts)


def asks_for_summary(body: JsonObject) -> bool:
    """Whether an item asks for a summary of the conversation."""
    return any(item.get("type") == TRIGGER for item in _items_of(body))


def _mappings(body: JsonObject) -> Iterator[JsonObject]:
    """The items of a body, of which nothing was checked yet."""
    given = body.get("input")
    return (item for item in (given if isinstance(given, list) else ()) if isinstance(item, Mapping))


def _items_of(body: JsonObject) -> list[JsonObject]:
    given = body.get("input")
    return [] if given is None or isinstance(given, str) else objects(given, "input")


def _noted_turn(role: Role, text: str, written: str) -> Turn:
    return Turn(role=role, parts=(Text(text=text),), extras=extras_of({}, (), written=written))


def _loaded(items: Sequence[JsonObject], names: ToolNames, known: Sequence[Tool | ServerTool]) -> Iterator[Tool | ServerTool]:
    """The tools that items add to those of the request, each once."""
    seen = {tool.name for tool in known if isinstance(tool, Tool)}
    for where, added in loaded_tools(items):
        for tool in read_tools(added, names, where):
            if isinstance(tool, ServerTool) or tool.name not in seen:
                seen.add(tool.name if isinstance(tool, Tool) else "")
                yield loaded(tool)


def _read_thinking(given: object) -> ThinkingWish | None:
    if not isinstance(given, Mapping) or not given:
        return None
    effort = text_in(given, "effort")
    shown = given.get("summary") is not None or given.get("generate_summary") is not None
    return ThinkingWish(effort=effort, off=effort == "none", shown=shown or None, own={OWN: given})


def _read_schema(body: JsonObject) -> JsonObject | None:
    form = section(section(body.get("text")).get("format"))
    match form.get("type"):
        case "json_schema":
            return {name: value for name, value in form.items() if name != "type"}
        case "json_object":
            return {}
        case _:
            return None


def _read_params(body: JsonObject) -> dict[str, object]:
    params = {name: body[name] for name in SHARED_PARAMS if body.get(name) is not None}
    verbosity = section(body.get("text")).get("verbosity")
    return params if verbosity is None else {**params, "verbosity": verbosity}


def _read_extras(body: JsonObject, items: Sequence[JsonObject]) -> Extras:
    """What only this API knows, and how the rest was written."""
    include, reasoning, tools = body.get("include"), body.get("reasoning"), body.get("tools")
    silent = set(_SILENT)
    if isinstance(include, list) and set(map(str, include)) <= {ENCRYPTED}:
        silent.add("include")
    if body.get("truncation") == "disabled":
        silent.add("truncation")
    empty = {name for name, value in (("instructions", body.get("instructions")), ("tools", tools), ("reasoning", reasoning)) if not value}
    if not items and isinstance(body.get("input"), list):
        empty.add("input")
    notes: dict[str, object] = {}
    if (text := _own_text(body.get("text"))) is not None:
        notes["text"] = text
    if placed := [{"at": at, "item": item} for at, item in enumerate(items) if item.get("type") == "additional_tools"]:
        notes["placed"] = placed
    taken = {"input", "instructions", "tools", "tool_choice", "parallel_tool_calls", "reasoning", "text", *SHARED_PARAMS, *POLICY_FIELDS}
    return extras_of({name: value for name, value in body.items() if name not in POLICY_FIELDS}, taken - empty, silent | empty, **notes)


def _own_text(given: object) -> JsonObject | None:
    """What is left of `text` without the schema and the verbosity; None if nothing is."""
    if not isinstance(given, Mapping):
        return None
    has_schema = section(given.get("format")).get("type") in ("json_schema", "json_object")
    left = {
        name: value
        for name, value in given.items()
        if not (name == "format" and has_schema) and not (name == "verbosity" and value is not None)
    }
    return left if left or not given else None


def write(conversation: Conversation, owner: str = "") -> Written:
    """The body of a request. With an `owner`, for the model that signs its state so: other models' state is left out, and nothing stored.

    Such a body asks for the reasoning encrypted, so that it can come back: what is not stored can't be referred to.
    """
    writer = ItemWriter(owner=owner)
    body: dict[str, object] = {}
    turns, shape = list(conversation.turns), shape_of(conversation.extras)
    if turns and shape_of(turns[0].extras).get("written") == "instructions":
        body["instructions"] = _text_of(turns.pop(0))
    if len(turns) == 1 and shape_of(turns[0].extras).get("written") == "input":
        body["input"] = _text_of(turns[0])
    else:
        items = writer.items(turns)
        for note in objects(shape.get("placed", []), "input"):
            items.insert(int(str(note["at"])), section(note["item"]))
        if items:
            body["input"] = items
    dropped = writer.dropped
    if tools := write_tools(conversation.tools, dropped):
        body["tools"] = tools
    body |= write_choice(conversation) if tools or not owner else {}
    body |= _written_params(conversation, dropped)
    dropped += lost_extras(conversation.extras, OWN)
    if owner:
        body |= {"store": False, "include": [ENCRYPTED]}
    return Written(body=with_own(body, conversation.extras), dropped=tuple(dict.fromkeys(dropped)))


def _text_of(turn: Turn) -> str:
    return "".join(part.text for part in turn.parts if isinstance(part, Text))


def _written_params(conversation: Conversation, dropped: list[str]) -> dict[str, object]:
    written: dict[str, object] = {}
    text: dict[str, object] = {**section(shape_of(conversation.extras).get("text"))}
    if conversation.schema is not None:
        text["format"] = _written_schema(conversation.schema)
    for name, value in conversation.params.items():
        if value is None:
            continue
        if name == "verbosity":
            text["verbosity"] = value
        elif name in SHARED_PARAMS or name in OWN_PARAMS:
            written[name] = value
        elif name not in _ELSEWHERE:
            dropped.append(name)
    if text or "text" in shape_of(conversation.extras):
        written["text"] = {**section(written.get("text")), **text}
    if (reasoning := _written_thinking(conversation)) is not None:
        written["reasoning"] = {**reasoning, **section(written.get("reasoning"))}
    return written


_ELSEWHERE = frozenset({"stream_options", "max_tokens", "max_completion_tokens"})
"""Parameters that policy sets."""


def _written_schema(schema: JsonObject) -> JsonObject:
    if not schema:
        return {"type": "json_object"}
    return {"type": "json_schema", "name": "answer", **schema}


def _written_thinking(conversation: Conversation) -> JsonObject | None:
    wish = conversation.thinking
    if wish is None:
        return None
    if OWN in wish.own:
        return wish.own[OWN]
    effort = "none" if wish.off else wish.effort or "medium"
    return {"effort": _EFFORTS.get(effort, effort) if Dialect.MESSAGES in wish.own else effort}
