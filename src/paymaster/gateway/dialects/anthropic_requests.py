"""A request of Anthropic's clients in the form that the flow plans with; the format itself is known to `dialects.messages`."""

from collections.abc import Iterator
from dataclasses import replace

from paymaster.dialects.chat import requests as chat
from paymaster.dialects.messages import requests as messages
from paymaster.dialects.messages.house import for_chat
from paymaster.dialects.messages.wishes import CHAT_EFFORTS, wants_thinking
from paymaster.dialects.neutral import Conversation, Document, Image, Opaque, Role, ThinkingWish, ToolResult
from paymaster.errors import RequestInvalid
from paymaster.gateway.dialects.fields import read_model, read_stream
from paymaster.gateway.http_errors import Rejected
from paymaster.gateway.request_body import invalid
from paymaster.jsontypes import JsonObject
from paymaster.routing.requests import Request, Thinking

_APART = frozenset({"messages", "tools"})


def read_request(body: JsonObject) -> Request:
    """The request. Raises Rejected."""
    try:
        conversation = messages.read_request(body)
    except RequestInvalid as error:
        raise Rejected(invalid(error.message, advice=error.advice)) from None
    wish = conversation.thinking
    written = chat.write(replace(for_chat(conversation), thinking=None))
    said = written.body
    unsaid = ("output_config.effort",) if wish is not None and wish.effort and not (wish.off or wants_thinking(body)) else ()
    return Request(
        messages=list(_listed(said["messages"])),
        model=read_model(body),
        tools=tuple(_listed(said.get("tools"))),
        params={name: value for name, value in said.items() if name not in _APART},
        stream=read_stream(body),
        thinking=_thinking(wish, body),
        lost=(*written.dropped, *unsaid),
        only_in_source=tuple(dict.fromkeys(_only_here(conversation))),
    )


def _only_here(conversation: Conversation) -> Iterator[str]:
    """What only a model that speaks this dialect can serve: files that Anthropic keeps, and what a user says that has no text elsewhere."""
    for turn in conversation.turns:
        for part in turn.parts:
            if turn.role is Role.USER and isinstance(part, Opaque) and not part.text:
                yield f"a block of type {part.value['type']}"
            inner = part.parts if isinstance(part, ToolResult) else (part,)
            if any(isinstance(each, Image | Document) and each.file_id for each in inner):
                yield "a file_id"


def _thinking(wish: ThinkingWish | None, body: JsonObject) -> Thinking | None:
    """The requested thinking; None if there is none."""
    if wish is None or not (wish.off or wants_thinking(body)):
        return None
    return Thinking(body["thinking"], "none" if wish.off else CHAT_EFFORTS.get(wish.effort, "medium"))  # type: ignore[arg-type]  # an object: it was read


def _listed(value: object) -> list[JsonObject]:
    return value if isinstance(value, list) else []
