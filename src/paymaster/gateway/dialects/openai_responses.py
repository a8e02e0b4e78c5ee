"""OpenAI's responses for the gateway's clients: errors, receipts and names; the format itself is known to `dialects.responses`."""

from collections.abc import Iterable, Mapping
from typing import TypeGuard

from paymaster.accounting.usage.record import Usage
from paymaster.dialects.responses.answers import finished
from paymaster.dialects.responses.passing import EventPasser, pass_answer
from paymaster.dialects.responses.stream_writer import EventWriter
from paymaster.flow.ports import Native, ProviderChunk
from paymaster.flow.replies import Reply
from paymaster.gateway.dialects.dialect import DialectRequest, Receipt
from paymaster.gateway.dialects.fields import cost_fragment, event, passed_events, raw_event, trailing_comment
from paymaster.gateway.dialects.openai_chat import openai_error, openai_error_details, openai_message
from paymaster.gateway.dialects.responses_requests import read_request
from paymaster.gateway.http_errors import CONTEXT_LENGTH_EXCEEDED, HttpError
from paymaster.jsontypes import JsonObject
from paymaster.registry.models import Dialect


class OpenAIResponses:
    """`POST /v1/responses`."""

    dialect: Dialect | None = Dialect.RESPONSES
    passed_headers: frozenset[str] = frozenset()

    def read(self, body: JsonObject) -> DialectRequest:
        """See `read_request`."""
        return DialectRequest(request=read_request(body), body=body)

    def whole(self, request: DialectRequest, reply: Reply) -> JsonObject:
        """A response: the endpoint's own if it speaks the dialect, else one made from the chat completion."""
        if _is_own(reply.native):
            own = request.shown(pass_answer(reply.native.body), reply.model)
            return _with_cost({**own, "model": request.shown_name(reply.model)}, reply)
        writer = EventWriter(request.body, request.owner(reply.model))
        for _ in (
            *writer.begin(reply.call_id, request.shown_name(reply.model), _created_s(reply.body)),
            *writer.add(_as_delta(reply.message)),
            *writer.close(),
        ):
            pass  # the items are wanted, and not their events
        return finished(writer.response, writer.output, reply.finish_reason, _usage(reply))

    def pieces(self, request: DialectRequest) -> "ResponsePieces":
        """See `ResponsePieces`."""
        return ResponsePieces(request)

    def error(self, error: HttpError) -> JsonObject:
        """See `openai_error`."""
        return openai_error(error)


class ResponsePieces:
    """One stream: the endpoint's own events if it speaks the dialect, else events made from chunks."""

    def __init__(self, request: DialectRequest) -> None:
        self._request = request
        self._begun: EventWriter | None = None
        self._passer: EventPasser | None = None

    @property
    def _writer(self) -> EventWriter:
        """Made when it is needed: a stream that passes has its own events."""
        if self._begun is None:
            self._begun = EventWriter(self._request.body)
        return self._begun

    def chunk(self, piece: ProviderChunk, model: str) -> bytes:
        """What the piece adds."""
        if _is_own(piece.native):
            if self._passer is None:
                shown = self._request.shown
                self._passer = EventPasser(self._request.shown_name(model), lambda response: shown(response, model))
            if piece.native.more_text and piece.native.raw is not None:
                self._passer.count(piece.native.body)
                return raw_event(piece.native.raw, str(piece.native.body["type"]))
            return passed_events(self._passer.passed(piece.native.event, piece.native.body), piece.native)
        if self._passer is not None:
            return b""  # a chunk more of an event that is passed on
        chunk = piece.body
        self._writer.owner = self._request.owner(model)
        events = [*self._writer.begin(self._request.answer_id(chunk), self._request.shown_name(model), _created_s(chunk))]
        choices = chunk.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else {}
        delta = choice.get("delta") if isinstance(choice, Mapping) else None
        if isinstance(delta, Mapping):
            events += self._writer.add(delta)
        return _written(events)

    def end(self, reply: Reply, receipt: Receipt) -> bytes:
        """The end of the last item and the whole response; then the cost, in a comment that clients ignore."""
        if self._passer is not None:
            own = self._passer.end()
            last = _written([{**own, "response": _with_cost(self._passer.response, reply)}] if own else [])
        else:
            name = self._request.shown_name(reply.model)
            events = [*self._writer.begin(reply.call_id, name, _created_s(reply.body)), *self._writer.close()]
            response = finished(self._writer.response, self._writer.output, reply.finish_reason, _usage(reply))
            last = _written([*events, self._writer.end(response)])
        return last + trailing_comment(receipt)

    def broken(self, error: HttpError) -> bytes:
        """An error event, which the official clients raise, with all that the client learns of it; then the failed response."""
        # Clients look for the message in `error`, and some only if it has a `type` too; an event in OpenAI's bare form they would pass on.
        message = openai_message(error)
        fields: dict[str, object] = {"code": error.code, "message": message, "param": error.param, "error": openai_error_details(error)}
        source = self._writer if self._passer is None else self._passer
        numbered = source.numbered
        failed = {"code": _FAILED_CODES.get(error.code, "server_error"), "message": _with_hint(message, error.retry_after_ms)}
        response = {**source.response, "status": "failed", "error": failed, "output": self._writer.output}
        return _written([numbered(("error", fields)), numbered(("response.failed", {"response": response}))])


_FAILED_CODES = {
    "budget_exceeded": "insufficient_quota",
    "content_filter": "invalid_prompt",
    "invalid_request": "invalid_prompt",
    "no_model_fits": "invalid_prompt",
    **{code: code for code in (CONTEXT_LENGTH_EXCEEDED, "rate_limit_exceeded")},
}
"""The codes of failed responses that OpenAI's clients know, by ours; any other is `server_error`."""


def _with_hint(message: str, retry_after_ms: int | None) -> str:
    """The message with the time to wait, in the words in which Codex finds it: a stream has no header for it."""
    if retry_after_ms is None:
        return message
    return f"{message}\nPlease try again in {-(-retry_after_ms // 1000)}s."


def _is_own(native: Native | None) -> TypeGuard[Native]:
    return native is not None and native.dialect is Dialect.RESPONSES


def _written(events: Iterable[JsonObject]) -> bytes:
    return b"".join(event(each, str(each["type"])) for each in events)


def _with_cost(response: JsonObject, reply: Reply) -> JsonObject:
    """The endpoint's own response with the cost in its usage."""
    usage = response.get("usage")
    counts = usage if isinstance(usage, Mapping) else {}
    return {**response, "usage": {**counts, "cost_usd": cost_fragment(reply.cost_nanousd)}}


def _created_s(body: JsonObject) -> int:
    created = body.get("created")
    return created if isinstance(created, int) else 0


def _as_delta(message: JsonObject) -> JsonObject:
    """A whole message as one piece, whose calls have a place each."""
    calls = message.get("tool_calls")
    if not isinstance(calls, list):
        return message
    return {**message, "tool_calls": [{**call, "index": index} for index, call in enumerate(calls) if isinstance(call, Mapping)]}


def _usage(reply: Reply) -> JsonObject:
    given = reply.usage or Usage()
    return {
        "input_tokens": given.prompt_tokens,
        "input_tokens_details": {"cached_tokens": given.cache_read_tokens, "cache_write_tokens": given.cache_write_tokens},
        "output_tokens": given.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": given.reasoning_tokens},
        "total_tokens": given.total_tokens,
        "cost_usd": cost_fragment(reply.cost_nanousd),
    }
