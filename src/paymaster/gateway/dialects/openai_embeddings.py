"""OpenAI's embeddings: texts become vectors; everything passes through as it came, and nothing streams."""

from paymaster.flow.replies import Reply
from paymaster.gateway.dialects.dialect import Asked, Pieces
from paymaster.gateway.dialects.fields import read_model, read_stream, with_cost
from paymaster.gateway.dialects.openai_chat import openai_error
from paymaster.gateway.http_errors import HttpError, Rejected
from paymaster.gateway.request_body import invalid
from paymaster.jsontypes import JsonObject
from paymaster.operations import Operation
from paymaster.routing.inputs import check_inputs
from paymaster.routing.requests import Request

_OWN = frozenset({"model", "input", "stream"})
_NO_STREAM = invalid("embeddings can't be streamed", "stream", "Leave stream out.")


class OpenAIEmbeddings:
    """`POST /v1/embeddings`."""

    def read(self, body: JsonObject) -> Asked:
        """Everything but model and input is a parameter and passes through."""
        if read_stream(body):
            raise Rejected(_NO_STREAM)
        inputs = check_inputs(body.get("input"))
        params = {name: value for name, value in body.items() if name not in _OWN}
        return Asked(request=Request(operation=Operation.EMBEDDINGS, inputs=inputs, model=read_model(body), params=params), body=body)

    def whole(self, asked: Asked, reply: Reply) -> JsonObject:
        """The provider's list; `model` tells who answered, and the usage what it cost."""
        return with_cost({**reply.body, "model": reply.model}, reply.cost_nanousd)

    def pieces(self, asked: Asked) -> Pieces:
        """None: `read` takes no request for a stream."""
        raise Rejected(_NO_STREAM)

    def error(self, refusal: HttpError) -> JsonObject:
        """See `openai_error`."""
        return openai_error(refusal)
