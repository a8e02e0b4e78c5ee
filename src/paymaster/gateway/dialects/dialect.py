"""The protocols of a dialect, and the values they exchange with an endpoint; knows no dialect."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from paymaster.flow.replies import Reply
from paymaster.gateway.http_errors import HttpError
from paymaster.jsontypes import JsonObject
from paymaster.routing.requests import Request

JsonValue = object


@dataclass(frozen=True, slots=True, kw_only=True)
class DialectRequest:
    """A request for the flow. `include_usage` says that the client wants the usage in a stream; `body` is what it sent."""

    request: Request
    body: JsonObject
    include_usage: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """The result of a call, for the client."""

    call_id: str
    model: str
    attempts: int
    cost_nanousd: int
    budget_left_nanousd: int | None
    budget_left_tokens: int | None = None
    budget_left_requests: int | None = None

    def as_json(self) -> dict[str, object]:
        """For the event at the end of a stream; dollars as text, exact."""
        left = self.budget_left_nanousd
        counted = {"budget_left_tokens": self.budget_left_tokens, "budget_left_requests": self.budget_left_requests}
        return {
            "call_id": self.call_id,
            "model": self.model,
            "attempts": self.attempts,
            "cost_usd": plain_usd(self.cost_nanousd),
            "budget_left_usd": None if left is None else plain_usd(left),
            **{name: amount for name, amount in counted.items() if amount is not None},
        }


class Pieces(Protocol):
    """Writes one streamed answer as server-sent events."""

    def chunk(self, chunk: JsonObject, model: str) -> bytes:
        """One of OpenAI's chunks in the dialect; empty if it has no counterpart. `model` is the model that answers."""
        ...

    def end(self, reply: Reply, receipt: Receipt) -> bytes:
        """The end of a whole answer."""
        ...

    def broken(self, error: HttpError) -> bytes:
        """The end of an answer that broke off: an error, and no end marker."""
        ...


class Dialect(Protocol):
    """One endpoint's wire format."""

    def read(self, body: JsonObject) -> DialectRequest:
        """The request. Raises Rejected (400)."""
        ...

    def whole(self, request: DialectRequest, reply: Reply) -> JsonObject:
        """The body of a whole answer."""
        ...

    def pieces(self, request: DialectRequest) -> Pieces:
        """A stream's writer."""
        ...

    def error(self, error: HttpError) -> JsonObject:
        """The body of an error."""
        ...


def plain_usd(nanousd: int) -> str:
    """Dollars as a plain decimal number, exact: `0.00042`."""
    text = f"{Decimal(nanousd).scaleb(-9):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
