"""OpenAI's old text completions, answered by chat models: the prompt is a user message, and the answer's text is the completion."""

from collections.abc import Mapping

from paymaster.flow.ports import ProviderChunk
from paymaster.flow.replies import Reply
from paymaster.gateway.dialects.dialect import DialectRequest, Receipt
from paymaster.gateway.dialects.fields import event, read_model, read_stream, trailing_comment, with_cost
from paymaster.gateway.dialects.openai_chat import DONE, openai_error
from paymaster.gateway.http_errors import HttpError, Rejected
from paymaster.gateway.request_body import invalid
from paymaster.jsontypes import JsonObject
from paymaster.operations import Operation
from paymaster.registry.models import Dialect
from paymaster.routing.requests import Request

_OWN = frozenset({"model", "prompt", "stream", "stream_options"})
_IMPOSSIBLE = ("suffix", "echo", "best_of", "logprobs")
"""What no chat model can do: an error is better than an answer to another question."""


class OpenAICompletions:
    """`POST /v1/completions`."""

    dialect: Dialect | None = None
    passed_headers: frozenset[str] = frozenset()

    def read(self, body: JsonObject) -> DialectRequest:
        """One prompt, as text."""
        prompt = body.get("prompt")
        if isinstance(prompt, list) and len(prompt) == 1:
            prompt = prompt[0]
        if not isinstance(prompt, str):
            raise Rejected(invalid("prompt must be one text: lists of prompts and of tokens can't be passed to chat models", "prompt"))
        for name in _IMPOSSIBLE:
            if body.get(name) not in (None, False, 1 if name == "best_of" else None, ""):
                advice = "Use /v1/chat/completions."
                raise Rejected(invalid(f"{name} is not available: completions are answered by chat models", name, advice))
        options = body.get("stream_options")
        params = {name: value for name, value in body.items() if name not in _OWN and name not in _IMPOSSIBLE}
        return DialectRequest(
            request=Request(
                operation=Operation.TEXT_COMPLETION,
                messages=[{"role": "user", "content": prompt}],
                model=read_model(body),
                params=params,
                stream=read_stream(body),
            ),
            body=body,
            include_usage=isinstance(options, Mapping) and bool(options.get("include_usage")),
        )

    def whole(self, request: DialectRequest, reply: Reply) -> JsonObject:
        """The choices as texts."""
        choices = reply.body.get("choices")
        body: dict[str, object] = {
            "id": f"cmpl-{reply.call_id}",
            "object": "text_completion",
            "created": reply.body.get("created", 0),
            "model": reply.model,
            "choices": [_choice(choice, index, "message") for index, choice in enumerate(choices if isinstance(choices, list) else ())],
            "usage": reply.body.get("usage"),
        }
        return with_cost(body, reply.cost_nanousd)

    def pieces(self, request: DialectRequest) -> "CompletionPieces":
        """See `CompletionPieces`."""
        return CompletionPieces(request)

    def error(self, error: HttpError) -> JsonObject:
        """See `openai_error`."""
        return openai_error(error)


class CompletionPieces:
    """Texts as they come."""

    def __init__(self, request: DialectRequest) -> None:
        self._counts_shown = request.include_usage
        self._head: dict[str, object] = {"object": "text_completion"}

    def chunk(self, piece: ProviderChunk, model: str) -> bytes:
        """The texts of a chunk."""
        chunk = piece.body
        choices = chunk.get("choices")
        if not isinstance(choices, list) or not choices:
            return b""
        self._head = {"id": chunk.get("id"), "object": "text_completion", "created": chunk.get("created", 0), "model": model}
        return event({**self._head, "choices": [_choice(choice, index, "delta") for index, choice in enumerate(choices)]})

    def end(self, reply: Reply, receipt: Receipt) -> bytes:
        """The usage if requested, `[DONE]`, and the result of the call, in a comment."""
        usage = b""
        if self._counts_shown:
            usage = event(with_cost({**self._head, "choices": [], "usage": reply.body.get("usage") or {}}, reply.cost_nanousd))
        return usage + DONE + trailing_comment(receipt)

    def broken(self, error: HttpError) -> bytes:
        """An error event; no `[DONE]`."""
        return event(openai_error(error))


def _choice(choice: object, index: int, part: str) -> JsonObject:
    given: JsonObject = choice if isinstance(choice, Mapping) else {}
    inner = given.get(part)
    text = inner.get("content") if isinstance(inner, Mapping) else None
    return {
        "index": given.get("index", index),
        "text": text if isinstance(text, str) else "",
        "finish_reason": given.get("finish_reason"),
        "logprobs": None,
    }
