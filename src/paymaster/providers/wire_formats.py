"""How an endpoint of each dialect is asked, and how its answers become chat completions; pure, knows no connection and no failure."""

from collections.abc import Mapping
from typing import Protocol
from urllib.parse import urlsplit

from paymaster.dialects.messages.answers import house_answer
from paymaster.dialects.messages.claude_models import signs_thoughts
from paymaster.dialects.messages.stream_reader import MessagesReader
from paymaster.dialects.responses.requests import ENCRYPTED
from paymaster.dialects.responses.stream_reader import EventReader, whole
from paymaster.dialects.state import owner_of
from paymaster.jsontypes import JsonObject
from paymaster.operations import Operation
from paymaster.registry.models import Dialect, Model
from paymaster.routing.betas import BETA_FIELDS, BETA_HEADER


class StreamReader(Protocol):
    """Reads the events of one stream. `idle_events` are the names of those that are no sign of the answer: pings, and that it was begun."""

    idle_events: frozenset[str]

    def read(self, event: str, data: JsonObject) -> JsonObject:
        """The chat.completion.chunk for an event: without choices if it has no counterpart, with `error` if the event is one."""
        ...

    @property
    def shown_usage(self) -> JsonObject:
        """The usage so far, in the words of chat completions."""
        ...


class WireFormat(Protocol):
    """The format of one dialect, at its endpoints."""

    def path(self, operation: Operation) -> str:
        """The last part of the URL."""
        ...

    def key_headers(self, model: Model, key: str) -> dict[str, str]:
        """The headers that carry the key."""
        ...

    def fixed_headers(self) -> Mapping[str, str]:
        """Headers of every request."""
        ...

    def body_headers(self, body: JsonObject) -> Mapping[str, str]:
        """Headers that a client put into the body."""
        ...

    def payload(self, body: JsonObject, model: Model, *, stream: bool) -> dict[str, object]:
        """The body with its stream fields."""
        ...

    def is_answer(self, body: JsonObject, operation: Operation) -> bool:
        """Whether a whole body is an answer at all, rather than an error with status 200."""
        ...

    def whole(self, body: JsonObject, model: Model) -> JsonObject:
        """The chat.completion for a whole answer."""
        ...

    def reader(self, model: Model) -> StreamReader | None:
        """A reader for one stream; None if its events are chunks already."""
        ...


class ChatFormat:
    """OpenAI's chat completions and embeddings."""

    def path(self, operation: Operation) -> str:
        """Text completions use the chat endpoint."""
        return "embeddings" if operation is Operation.EMBEDDINGS else "chat/completions"

    def key_headers(self, model: Model, key: str) -> dict[str, str]:
        """Azure's classic API takes the key only in a header of its own; all others, and its unversioned API, take a bearer token."""
        return {"api-key": key} if model.api_version else {"Authorization": f"Bearer {key}"}

    def fixed_headers(self) -> Mapping[str, str]:
        """None."""
        return {}

    def body_headers(self, body: JsonObject) -> Mapping[str, str]:
        """None."""
        return {}

    def payload(self, body: JsonObject, model: Model, *, stream: bool) -> dict[str, object]:
        """A stream requests usage, unless the endpoint rejects that parameter."""
        payload = {name: value for name, value in body.items() if name not in {"stream", "stream_options"}}
        if not stream:
            return payload
        payload["stream"] = True
        if "stream_options" not in model.unsupported_params:
            given = body.get("stream_options")
            payload["stream_options"] = {**(given if isinstance(given, Mapping) else {}), "include_usage": True}
        return payload

    def is_answer(self, body: JsonObject, operation: Operation) -> bool:
        """An answer has choices, or vectors."""
        return ("data" if operation is Operation.EMBEDDINGS else "choices") in body

    def whole(self, body: JsonObject, model: Model) -> JsonObject:
        """The body itself."""
        return body

    def reader(self, model: Model) -> StreamReader | None:
        """None: its events are chunks already."""
        return None


class MessagesFormat:
    """Anthropic's messages, at Anthropic's API and at endpoints that are compatible with it."""

    def path(self, operation: Operation) -> str:
        """There is one operation."""
        return "messages"

    def key_headers(self, model: Model, key: str) -> dict[str, str]:
        """Anthropic takes the key in a header of its own; compatible endpoints take either, or a bearer token alone."""
        own = {"x-api-key": key}
        return own if _is_anthropics(model.base_url) else {**own, "Authorization": f"Bearer {key}"}

    def fixed_headers(self) -> Mapping[str, str]:
        """The version of the API, which it demands."""
        return {"anthropic-version": "2023-06-01"}

    def body_headers(self, body: JsonObject) -> Mapping[str, str]:
        """The betas that a client put into the body, as Anthropic's own libraries take them."""
        betas = [str(beta) for name in BETA_FIELDS for beta in _listed(body.get(name))]
        return {BETA_HEADER: ",".join(betas)} if betas else {}

    def payload(self, body: JsonObject, model: Model, *, stream: bool) -> dict[str, object]:
        """A stream needs no option for its usage."""
        payload = {name: value for name, value in body.items() if name not in _NOT_IN_BODY}
        return {**payload, "stream": True} if stream else payload

    def is_answer(self, body: JsonObject, operation: Operation) -> bool:
        """An answer has content."""
        return "content" in body

    def whole(self, body: JsonObject, model: Model) -> JsonObject:
        """The chat.completion."""
        return house_answer(body, _owner(model))

    def reader(self, model: Model) -> StreamReader | None:
        """One for each stream."""
        return MessagesReader(_owner(model))


class ResponsesFormat(ChatFormat):
    """OpenAI's responses, at OpenAI, Azure and endpoints that are compatible with them."""

    def path(self, operation: Operation) -> str:
        """There is one operation."""
        return "responses"

    def payload(self, body: JsonObject, model: Model, *, stream: bool) -> dict[str, object]:
        """A stream needs no option for its usage. A model that is known not to reason refuses to encrypt reasoning."""
        payload = {name: value for name, value in body.items() if name != "stream" and (stream or name != "stream_options")}
        include = payload.get("include")
        if isinstance(include, list) and model.capabilities is not None and "reasoning" not in model.capabilities:
            payload["include"] = [name for name in include if name != ENCRYPTED]
        return {**payload, "stream": True} if stream else payload

    def is_answer(self, body: JsonObject, operation: Operation) -> bool:
        """An answer has items, and did not fail."""
        return "output" in body and body.get("status") not in ("failed", "cancelled")

    def whole(self, body: JsonObject, model: Model) -> JsonObject:
        """The chat.completion."""
        return whole(body)

    def reader(self, model: Model) -> StreamReader | None:
        """One for each stream."""
        return EventReader()


JOINED_HEADERS = frozenset({BETA_HEADER})
"""Headers with a list of names, to which client and registry add."""
_NOT_IN_BODY = frozenset({"stream", "stream_options", *BETA_FIELDS})


def _is_anthropics(base_url: str | None) -> bool:
    name = urlsplit(base_url or "").hostname or ""
    return name == "anthropic.com" or name.endswith(".anthropic.com")


def _owner(model: Model) -> str:
    """The owner of thoughts that have to be stamped; empty for a model whose signatures say enough."""
    return "" if signs_thoughts(model.model_id) else owner_of(model.provider, model.model_id)


def _listed(value: object) -> list[object]:
    return list(value) if isinstance(value, list | tuple) else [] if value is None else [value]


WIRE_FORMATS: Mapping[Dialect, WireFormat] = {
    Dialect.CHAT: ChatFormat(),
    Dialect.RESPONSES: ResponsesFormat(),
    Dialect.MESSAGES: MessagesFormat(),
}
"""The format of each dialect."""
