"""OpenAI's chat completions, the flow's own format: nearly everything passes through unchanged."""

from collections.abc import Mapping

from paymaster.dialects.chat.list_places import ListPlaces
from paymaster.dialects.chat.renaming import Renamer
from paymaster.flow.ports import ProviderChunk
from paymaster.flow.replies import Reply
from paymaster.gateway.dialects.dialect import DialectRequest, Receipt
from paymaster.gateway.dialects.fields import event, raw_event, read_model, read_stream, read_tools, trailing_comment, with_cost
from paymaster.gateway.http_errors import BUDGET_EXCEEDED, HttpError, Rejected
from paymaster.gateway.request_body import invalid
from paymaster.jsontypes import JsonObject
from paymaster.registry.models import Dialect
from paymaster.routing.requests import Request

DONE = b"data: [DONE]\n\n"
_OWN = frozenset({"model", "messages", "tools", "stream", "stream_options"})
_TYPES = {400: "invalid_request_error", 401: "authentication_error", 402: "budget_exceeded", 403: "permission_error",
          404: "invalid_request_error", 429: "rate_limit_error"}  # fmt: skip


class OpenAIChat:
    """`POST /v1/chat/completions`."""

    dialect: Dialect | None = Dialect.CHAT
    passed_headers: frozenset[str] = frozenset()

    def read(self, body: JsonObject) -> DialectRequest:
        """Everything but model, messages, tools and stream is a parameter and passes through."""
        messages = body.get("messages")
        if not isinstance(messages, list):
            raise Rejected(invalid("messages must be a list of messages", "messages"))
        options = body.get("stream_options")
        if options is not None and not isinstance(options, Mapping):
            raise Rejected(invalid("stream_options must be an object", "stream_options"))
        return DialectRequest(
            request=Request(
                messages=messages,
                model=read_model(body),
                tools=read_tools(body),
                params={name: value for name, value in body.items() if name not in _OWN},
                stream=read_stream(body),
            ),
            body=body,
            include_usage=bool(options and options.get("include_usage")),
        )

    def whole(self, request: DialectRequest, reply: Reply) -> JsonObject:
        """The provider's body, with the model that answered and the cost."""
        return with_cost({**reply.body, "model": reply.model}, reply.cost_nanousd)

    def pieces(self, request: DialectRequest) -> "ChatPieces":
        """See `ChatPieces`."""
        return ChatPieces(request)

    def error(self, error: HttpError) -> JsonObject:
        """See `openai_error`."""
        return openai_error(error)


class ChatPieces:
    """Chunks as they come, but none without choices, on which some clients fail: the usage, with the cost, is for clients that want it."""

    def __init__(self, request: DialectRequest) -> None:
        self._counts_shown = request.include_usage
        self._last: JsonObject = {}
        self._renamer: Renamer | None = None
        self._places = ListPlaces()

    def chunk(self, piece: ProviderChunk, model: str) -> bytes:
        """The provider's chunk, in its own bytes if they are right; the model's name is the registry's. The usage is kept for the end."""
        chunk, native = piece.body, piece.native
        if not chunk.get("choices"):
            return b""
        self._last = chunk
        # Only the bytes of this very chunk: what was changed on the way is written anew.
        if native is not None and native.body is chunk and native.raw is not None and not chunk.get("usage"):
            if self._renamer is None or self._renamer.name != model:
                self._renamer = Renamer(model)
            if (passed := self._renamer.renamed(native.raw, chunk)) is not None:
                return raw_event(passed)
        shown: dict[str, object] = {**self._places.placed(chunk), "model": model}
        shown.pop("usage", None)
        return event(shown)

    def end(self, reply: Reply, receipt: Receipt) -> bytes:
        """The usage if requested, `[DONE]`, and after it the result of the call, in a comment: some clients read on, and fail on data."""
        usage = b""
        if self._counts_shown:
            last = {name: self._last[name] for name in ("id", "object", "created") if name in self._last}
            usage_of_reply = reply.body.get("usage")
            counts = usage_of_reply if isinstance(usage_of_reply, Mapping) else {}
            usage = event(with_cost({**last, "model": reply.model, "choices": [], "usage": counts}, reply.cost_nanousd))
        return usage + DONE + trailing_comment(receipt)

    def broken(self, error: HttpError) -> bytes:
        """An error event, which the official clients raise; no `[DONE]`."""
        return event(openai_error(error))


def openai_error(error: HttpError) -> JsonObject:
    """OpenAI's error body."""
    return {"error": openai_error_details(error)}


def openai_error_details(error: HttpError) -> JsonObject:
    """What is inside of it; also in an event of responses."""
    kind = _TYPES.get(error.status, "invalid_request_error" if error.status < 500 else "api_error")
    return {"message": openai_message(error), "type": kind, "param": error.param, "code": error.code}


_OUT_OF_BUDGET = 'Insufficient credits in this budget, so a retry does not help: {"code":402}'
"""aider sees the text alone, and stops at once only where it has both phrases (aider/exceptions.py); else it retries for 64 s. Others don't
get them: OpenAI's library shows errors as Python prints them, which escapes every apostrophe of a text that has quotes."""


def openai_message(error: HttpError) -> str:
    """The text of an error, with the phrases that clients look for where they see no code: of a budget, of a prompt that is too long."""
    if error.code == BUDGET_EXCEEDED and error.text_alone:
        return f"{error.text}\n{_OUT_OF_BUDGET}"
    if error.size is None:
        return error.text
    most, tokens = error.size.window_tokens, error.size.prompt_tokens
    limit = "exceeded" if most is None else f"{most} tokens"
    counted = "" if tokens is None else f" However, your messages resulted in {tokens} tokens."
    return f"This model's maximum context length is {limit}.{counted} Please reduce the length of the messages.\n{error.text}"
