"""OpenAI's Responses API: writes answers, errors and streams in its format; `responses_requests` reads the requests."""

from collections.abc import Iterator, Mapping

from paymaster.accounting.usage.record import Usage
from paymaster.flow.replies import Reply
from paymaster.gateway.dialects.dialect import DialectRequest, Receipt
from paymaster.gateway.dialects.fields import cost_fragment, event, trailing_comment
from paymaster.gateway.dialects.openai_chat import openai_error, openai_message
from paymaster.gateway.dialects.responses_requests import read_request
from paymaster.gateway.http_errors import HttpError
from paymaster.jsontypes import JsonObject

_ECHOED = (
    "instructions",
    "max_output_tokens",
    "metadata",
    "parallel_tool_calls",
    "temperature",
    "tool_choice",
    "tools",
    "top_p",
    "reasoning",
    "text",
)
_DEFAULTS: JsonObject = {"parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "metadata": {}}


class OpenAIResponses:
    """`POST /v1/responses`."""

    def read(self, body: JsonObject) -> DialectRequest:
        """See `read_request`."""
        return DialectRequest(request=read_request(body), body=body)

    def whole(self, request: DialectRequest, reply: Reply) -> JsonObject:
        """A response."""
        return finished(request, reply, list(_output(reply)), response_id(reply.call_id))

    def pieces(self, request: DialectRequest) -> "ResponsePieces":
        """See `ResponsePieces`."""
        return ResponsePieces(request)

    def error(self, error: HttpError) -> JsonObject:
        """See `openai_error`."""
        return openai_error(error)


class ResponsePieces:
    """The events of a response: items one after the other, each begun, filled and done."""

    def __init__(self, request: DialectRequest) -> None:
        self._request = request
        self._number = -1
        self._id = ""
        self._model = ""
        self._done: list[JsonObject] = []
        self._item: dict[str, object] = {}
        self._text: list[str] = []
        self._call: object = None

    def chunk(self, chunk: JsonObject, model: str) -> bytes:
        """What the chunk adds."""
        written = [] if self._id else list(self._start(str(chunk.get("id", "")), model))
        choices = chunk.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else {}
        delta = choice.get("delta") if isinstance(choice, Mapping) else None
        if isinstance(delta, Mapping):
            written.extend(self._delta(delta))
        return b"".join(written)

    def end(self, reply: Reply, receipt: Receipt) -> bytes:
        """The last item's end and the whole response; then the cost, in a comment that clients ignore."""
        written = [*(() if self._id else self._start(reply.call_id, reply.model)), *self._close()]
        response = finished(self._request, reply, self._done, self._id)
        kind = "response.incomplete" if response["status"] == "incomplete" else "response.completed"
        return b"".join([*written, self._event(kind, response=response), trailing_comment(receipt)])

    def broken(self, error: HttpError) -> bytes:
        """A response that failed."""
        message = openai_message(error)
        details = {"code": error.code, "message": message}
        response = {**begun(self._request, self._id, self._model), "status": "failed", "error": details, "output": self._done}
        # The official client raises for an event that has an `error`; an event in OpenAI's bare form it would only pass on.
        event_bytes = self._event("error", code=error.code, message=message, param=None, error=details)
        return event_bytes + self._event("response.failed", response=response)

    def _start(self, given: str, model: str) -> Iterator[bytes]:
        self._id, self._model = response_id(given), model
        yield self._event("response.created", response=begun(self._request, self._id, model))
        yield self._event("response.in_progress", response=begun(self._request, self._id, model))

    def _delta(self, delta: JsonObject) -> Iterator[bytes]:
        for text in (delta.get("content"), delta.get("refusal")):
            if isinstance(text, str) and text:
                yield from self._open_message()
                self._text.append(text)
                yield self._event("response.output_text.delta", **self._position(), content_index=0, delta=text, logprobs=[])
        calls = delta.get("tool_calls")
        for call in calls if isinstance(calls, list) else ():
            if isinstance(call, Mapping):
                yield from self._tool_call(call)

    def _tool_call(self, call: JsonObject) -> Iterator[bytes]:
        given = call.get("function")
        function: JsonObject = given if isinstance(given, Mapping) else {}
        key = call.get("index")
        is_open = self._item.get("type") == "function_call"
        if function.get("name") and (not is_open or key != self._call or call.get("id") not in (None, self._item.get("call_id"))):
            yield from self._close()
            self._call = key
            item_id = f"fc_{len(self._done)}_{self._id}"
            call_id = call.get("id") or item_id
            yield from self._open({"id": item_id, "type": "function_call", "call_id": call_id, "name": function["name"], "arguments": ""})
        if self._item.get("type") == "function_call" and isinstance(arguments := function.get("arguments"), str) and arguments:
            self._text.append(arguments)
            yield self._event("response.function_call_arguments.delta", **self._position(), delta=arguments)

    def _open_message(self) -> Iterator[bytes]:
        if self._item.get("type") == "message":
            return
        yield from self._close()
        yield from self._open({"id": f"msg_{len(self._done)}_{self._id}", "type": "message", "role": "assistant", "content": []})
        yield self._event("response.content_part.added", **self._position(), content_index=0, part=_text_part(""))

    def _open(self, item: dict[str, object]) -> Iterator[bytes]:
        self._item, self._text = {**item, "status": "in_progress"}, []
        yield self._event("response.output_item.added", output_index=len(self._done), item=self._item)

    def _close(self) -> Iterator[bytes]:
        if not self._item:
            return
        text = "".join(self._text)
        if self._item["type"] == "message":
            part = _text_part(text)
            yield self._event("response.output_text.done", **self._position(), content_index=0, text=text, logprobs=[])
            yield self._event("response.content_part.done", **self._position(), content_index=0, part=part)
            self._item = {**self._item, "content": [part], "status": "completed"}
        else:
            yield self._event("response.function_call_arguments.done", **self._position(), name=self._item["name"], arguments=text)
            self._item = {**self._item, "arguments": text, "status": "completed"}
        yield self._event("response.output_item.done", output_index=len(self._done), item=self._item)
        self._done.append(self._item)
        self._item = {}

    def _position(self) -> dict[str, object]:
        return {"item_id": self._item["id"], "output_index": len(self._done)}

    def _event(self, kind: str, **fields: object) -> bytes:
        self._number += 1
        return event({"type": kind, "sequence_number": self._number, **fields}, kind)


def begun(request: DialectRequest, identity: str, model: str) -> dict[str, object]:
    """A response that has just started."""
    echoed = {name: request.body[name] for name in _ECHOED if request.body.get(name) is not None}
    return {
        "id": identity, "object": "response", "created_at": 0, "status": "in_progress", "model": model, "output": [], "error": None,
        "incomplete_details": None, "usage": None, "store": False, "instructions": None, "temperature": None, "top_p": None,
        **_DEFAULTS, **echoed,
    }  # fmt: skip


def finished(request: DialectRequest, reply: Reply, output: list[JsonObject], identity: str) -> dict[str, object]:
    """A whole response."""
    cut = {"length": "max_output_tokens", "max_tokens": "max_output_tokens", "content_filter": "content_filter"}.get(reply.finish_reason)
    return {
        **begun(request, identity, reply.model),
        "created_at": reply.body.get("created", 0),
        "status": "incomplete" if cut else "completed",
        "incomplete_details": {"reason": cut} if cut else None,
        "output": output,
        "usage": {**_usage(reply.usage), "cost_usd": cost_fragment(reply.cost_nanousd)},
    }


def response_id(given: str) -> str:
    """An id with OpenAI's prefix."""
    return given if given.startswith("resp_") else f"resp_{given}"


def _output(reply: Reply) -> Iterator[JsonObject]:
    message = reply.message
    text = message.get("content") or message.get("refusal")
    if isinstance(text, str) and text:
        item: JsonObject = {"id": f"msg_{reply.call_id}", "type": "message", "role": "assistant", "status": "completed"}
        yield {**item, "content": [_text_part(text)]}
    for index, call in enumerate(reply.tool_calls):
        given = call.get("function")
        function: JsonObject = given if isinstance(given, Mapping) else {}
        yield {
            "id": f"fc_{index}_{reply.call_id}", "type": "function_call", "status": "completed", "call_id": call.get("id"),
            "name": function.get("name"), "arguments": function.get("arguments") or "{}",
        }  # fmt: skip


def _text_part(text: str) -> JsonObject:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _usage(usage: Usage | None) -> dict[str, object]:
    given = usage or Usage()
    return {
        "input_tokens": given.prompt_tokens,
        "input_tokens_details": {"cached_tokens": given.cache_read_tokens, "cache_write_tokens": given.cache_write_tokens},
        "output_tokens": given.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": given.reasoning_tokens},
        "total_tokens": given.total_tokens,
    }
