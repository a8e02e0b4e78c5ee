"""Anthropic's messages for the gateway's clients: errors, receipts and names; the format itself is known to `dialects.messages`."""

from collections.abc import Iterable, Mapping
from typing import TypeGuard

from paymaster.dialects.messages.answers import anthropic_usage, reason_of
from paymaster.dialects.messages.claude_models import signs_thoughts
from paymaster.dialects.messages.house_answers import content_of
from paymaster.dialects.messages.passing import EventPasser, pass_answer
from paymaster.dialects.messages.stream_writer import MessagesWriter, message_id
from paymaster.dialects.messages.wishes import wants_thinking
from paymaster.flow.ports import Native, ProviderChunk
from paymaster.flow.replies import Reply
from paymaster.gateway.dialects.anthropic_requests import read_request
from paymaster.gateway.dialects.dialect import DialectRequest, Receipt
from paymaster.gateway.dialects.fields import cost_fragment, event, passed_events, raw_event, trailing_comment
from paymaster.gateway.http_errors import HttpError
from paymaster.jsontypes import JsonObject
from paymaster.registry.models import Dialect

_TYPES = {
    400: "invalid_request_error", 401: "authentication_error", 402: "billing_error", 403: "permission_error", 404: "not_found_error",
    413: "request_too_large", 429: "rate_limit_error", 504: "timeout_error",
}  # fmt: skip


class AnthropicMessages:
    """`POST /v1/messages`."""

    dialect: Dialect | None = Dialect.MESSAGES
    passed_headers: frozenset[str] = frozenset({"anthropic-beta"})

    def read(self, body: JsonObject) -> DialectRequest:
        """See `read_request`."""
        return DialectRequest(request=read_request(body), body=body)

    def whole(self, request: DialectRequest, reply: Reply) -> JsonObject:
        """A message: the endpoint's own if it speaks the dialect, else one made from the chat completion."""
        cost = {"cost_usd": cost_fragment(reply.cost_nanousd)}
        name = request.shown_name(reply.model)
        if _is_own(reply.native):
            own = pass_answer(reply.native.body, stamp=_stamp(request, reply.model))
            usage = own.get("usage")
            return {**own, "model": name, "usage": {**(usage if isinstance(usage, Mapping) else {}), **cost}}
        return {
            "id": message_id(reply.call_id),
            "type": "message",
            "role": "assistant",
            "model": name,
            "content": content_of(reply.message, request.owner(reply.model), thinking=wants_thinking(request.body)),
            **_ending(reply),
            "usage": {**anthropic_usage(reply.usage), **cost},
        }

    def pieces(self, request: DialectRequest) -> "MessagePieces":
        """See `MessagePieces`."""
        return MessagePieces(request)

    def error(self, error: HttpError) -> JsonObject:
        """See `anthropic_error`."""
        return anthropic_error(error)


class MessagePieces:
    """One stream: the endpoint's own events if it speaks the dialect, else events made from chunks."""

    def __init__(self, request: DialectRequest) -> None:
        self._request = request
        self._writer = MessagesWriter(thinking=wants_thinking(request.body), answer_id=request.answer_id)
        self._passer: EventPasser | None = None

    def chunk(self, piece: ProviderChunk, model: str) -> bytes:
        """What the piece adds."""
        if _is_own(piece.native):
            if piece.native.more_text and piece.native.raw is not None:
                return raw_event(piece.native.raw, str(piece.native.body["type"]))
            if self._passer is None:
                self._passer = EventPasser(self._request.shown_name(model), _stamp(self._request, model))
            return passed_events(self._passer.passed(piece.native.event, piece.native.body), piece.native)
        if self._passer is not None:
            return b""  # a chunk more of an event that is passed on
        return _written(self._writer.chunk(piece.body, self._request.shown_name(model), self._request.owner(model)))

    def end(self, reply: Reply, receipt: Receipt) -> bytes:
        """The end of the answer; then the cost, in a comment that clients ignore."""
        if self._passer is not None:
            last = _written(self._passer.end())
        else:
            usage = {**anthropic_usage(reply.usage), "cost_usd": cost_fragment(reply.cost_nanousd)}
            last = _written(self._writer.end(self._request.shown_name(reply.model), _ending(reply), usage))
        return last + trailing_comment(receipt)

    def broken(self, error: HttpError) -> bytes:
        """An error event, and no message_stop."""
        return event(anthropic_error(error), "error")


def _is_own(native: Native | None) -> TypeGuard[Native]:
    return native is not None and native.dialect is Dialect.MESSAGES


def _written(events: Iterable[JsonObject]) -> bytes:
    return b"".join(event(each, str(each["type"])) for each in events)


def _stamp(request: DialectRequest, model: str) -> str:
    """The owner of thoughts that have to be stamped; empty for a model whose signatures say enough."""
    answering = request.models.get(model)
    return "" if answering is None or signs_thoughts(answering.model_id) else request.owner(model)


def _ending(reply: Reply) -> JsonObject:
    """Why the answer ended, in Anthropic's terms."""
    ending = "tool_calls" if reply.tool_calls and reply.finish_reason in ("stop", "unknown") else reply.finish_reason
    choices = reply.body.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else {}
    stopped_at = choice.get("stop_sequence") if isinstance(choice, Mapping) else None
    return {"stop_reason": reason_of(ending, stopped_at), "stop_sequence": stopped_at if isinstance(stopped_at, str) else None}


def anthropic_error(error: HttpError) -> JsonObject:
    """Anthropic's error body. It is never an `overloaded_error`: after three of them, Claude Code gives up with a sentence of its own.

    It asks again after one whatever `x-should-retry` says.
    """
    kind = _TYPES.get(error.status, "invalid_request_error" if error.status < 500 else "api_error")
    return {"type": "error", "error": {"type": kind, "message": _message(error)}}


def _message(error: HttpError) -> str:
    """The text of an error. If the prompt is too long it begins as Anthropic's does: there is no code, and clients look for that phrase.

    An error with the name of a header for keys is shown by Claude Code as an invalid key of the user's: the gateway's own is meant then.
    """
    if error.size is None:
        return error.text.replace("x-api-key", "API key")
    most, tokens = error.size.window_tokens, error.size.prompt_tokens
    figures = "" if most is None or tokens is None or tokens <= most else f": {tokens} tokens > {most} maximum"
    return f"prompt is too long{figures}\n{error.text}"
