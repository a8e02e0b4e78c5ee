"""A request of OpenAI's responses' clients in the form that the flow plans with; the format itself is known to `dialects.responses`."""

from collections.abc import Iterator
from dataclasses import replace

from paymaster.dialects.chat import requests as chat
from paymaster.dialects.neutral import (
    ChoiceKind,
    Conversation,
    Document,
    Image,
    Opaque,
    Part,
    ServerTool,
    ThinkingWish,
    ToolChoice,
    ToolResult,
)
from paymaster.dialects.responses import requests as responses
from paymaster.dialects.responses.summaries import KEPT
from paymaster.gateway.dialects.fields import read_model, read_stream
from paymaster.jsontypes import JsonObject
from paymaster.routing.requests import Request

_APART = frozenset({"messages", "tools"})


def read_request(body: JsonObject) -> Request:
    """The request. Raises Rejected and RequestInvalid."""
    conversation = responses.read(body)
    written = chat.write(replace(_with_allowed_tools(conversation), thinking=_said(conversation.thinking)))
    said = written.body
    return Request(
        messages=_listed(said["messages"]),
        model=read_model(body),
        tools=tuple(_listed(said.get("tools"))),
        params={name: value for name, value in said.items() if name not in _APART},
        stream=read_stream(body),
        lost=written.dropped,
        only_in_source=tuple(dict.fromkeys((*_kept(body), *_only_here(conversation)))),
    )


def _with_allowed_tools(conversation: Conversation) -> Conversation:
    """The conversation with the tools alone that its choice allows: of chat completions, few endpoints but OpenAI's know such a list."""
    choice = conversation.choice
    if choice is None or choice.kind is ChoiceKind.NAMED or not choice.names:
        return conversation
    allowed = tuple(tool for tool in conversation.tools if isinstance(tool, ServerTool) or tool.name in choice.names)
    return replace(conversation, tools=allowed, choice=ToolChoice(kind=choice.kind, parallel=choice.parallel))


def _kept(body: JsonObject) -> Iterator[str]:
    """What the endpoint of an earlier answer keeps."""
    if body.get("previous_response_id"):
        yield "previous_response_id (it keeps no responses: send the whole conversation as `input`)"
    if responses.refers_to_items(body):
        yield "an item_reference or an image by its id (it keeps no items: send the item itself; most clients do with `store: false`)"


def _said(wish: ThinkingWish | None) -> ThinkingWish | None:
    """The effort says all, also that there shall be none."""
    return None if wish is None else replace(wish, off=False)


def _only_here(conversation: Conversation) -> Iterator[str]:
    """What only a model that speaks this dialect can serve: tools that are forced, files it keeps, a history that it sealed."""
    for tool in conversation.tools:
        if isinstance(tool, ServerTool) and tool.forced:
            yield f"a tool of type {tool.value['type']}, which tool_choice forces"
    for turn in conversation.turns:
        yield from _in_parts(turn.parts)


def _in_parts(parts: tuple[Part, ...]) -> Iterator[str]:
    for part in parts:
        match part:
            case ToolResult():
                yield from _in_parts(part.parts)
            case Image(file_id=str(file_id)) | Document(file_id=str(file_id)) if file_id:
                yield "a file_id"
            case Opaque(text="") if part.value.get("type") in KEPT:
                yield f"an item of type {part.value['type']}"
            case _:
                pass


def _listed(value: object) -> list[JsonObject]:
    return value if isinstance(value, list) else []
