"""OpenAI's embeddings: texts become vectors; everything passes through unchanged, and nothing streams."""

from paymaster.flow.replies import Reply
from paymaster.gateway.dialects.dialect import DialectRequest, Pieces
from paymaster.gateway.dialects.fields import read_model, read_stream, with_cost
from paymaster.gateway.dialects.openai_chat import openai_error
from paymaster.gateway.http_errors import HttpError, Rejected
from paymaster.gateway.request_body import invalid
from paymaster.jsontypes import JsonObject
from paymaster.operations import Operation
from paymaster.registry.models import Dialect
from paymaster.routing.inputs import check_inputs
from paymaster.routing.requests import Request

_OWN = frozenset({"model", "input", "stream"})
_NO_STREAM = invalid("embeddings can't be streamed", "stream", "Omit stream.")


class OpenAIEmbeddings:
    """`POST /v1/embeddings`."""

    dialect: Dialect | None = None
    passed_headers: frozenset[str] = frozenset()

    def read(self, body: JsonObject) -> DialectRequest:
        """Everything but model and input is a parameter and passes through."""
        if read_stream(body):
            raise Rejected(_NO_STREAM)
        inputs = check_inputs(body.get("input"))
        params = {name: value for name, value in body.items() if name not in _OWN}
        return DialectRequest(
            request=Request(operation=Operation.EMBEDDINGS, inputs=inputs, model=read_model(body), params=params), body=body
        )

    def whole(self, request: DialectRequest, reply: Reply) -> JsonObject:
        """The provider's list, with the model that answered and the cost."""
        return with_cost({**reply.body, "model": reply.model}, reply.cost_nanousd)

    def pieces(self, request: DialectRequest) -> Pieces:
        """Never called: `read` refuses streams."""
        raise Rejected(_NO_STREAM)

    def error(self, error: HttpError) -> JsonObject:
        """See `openai_error`."""
        return openai_error(error)
