"""`POST /v1/responses/compact`: an ordinary response that is asked for a summary, and answered with the items that replace the history."""

from collections.abc import Iterator, Mapping

from paymaster.dialects.responses.summaries import KEPT, TRIGGER
from paymaster.flow.replies import Reply
from paymaster.gateway.dialects.dialect import DialectRequest
from paymaster.gateway.dialects.openai_responses import OpenAIResponses
from paymaster.gateway.http_errors import HttpError, Rejected
from paymaster.gateway.request_body import invalid
from paymaster.jsontypes import JsonObject

_ADVICE = "The answer was paid for. Keep the conversation as it is, and ask another model."


class ResponsesCompact(OpenAIResponses):
    """Held for and paid like any call, and served by any model: the endpoint gets an item that asks for the summary."""

    def read(self, body: JsonObject) -> DialectRequest:
        """The request with that item at its end. Raises Rejected."""
        given = body.get("input")
        items = [{"role": "user", "content": given}] if isinstance(given, str) else given
        if not isinstance(items, list):
            raise Rejected(invalid("input must be a text or a list of items", "input"))
        return super().read({**body, "input": [*items, {"type": TRIGGER}], "stream": False, "store": False})

    def whole(self, request: DialectRequest, reply: Reply) -> JsonObject:
        """What the user said, and the summary of the rest. Raises Rejected (502) for an answer that is none."""
        response = super().whole(request, reply)
        output = response.get("output")
        summaries = [item for item in output if _type_of(item) in KEPT] if isinstance(output, list) else []
        if not summaries:
            raise Rejected(HttpError(status=502, code="no_summary", message=f"{reply.model} wrote no summary", advice=_ADVICE))
        names = ("id", "created_at", "model", "usage")
        return {
            **{name: response.get(name) for name in names},
            "object": "response.compaction",
            "output": [*_said_by_users(request.body), *summaries],
        }


def _said_by_users(body: JsonObject) -> Iterator[object]:
    given = body.get("input")
    for item in given if isinstance(given, list) else ():
        if isinstance(item, Mapping) and item.get("role") == "user" and _type_of(item) in (None, "message"):
            yield item


def _type_of(item: object) -> object:
    return item.get("type") if isinstance(item, Mapping) else None
