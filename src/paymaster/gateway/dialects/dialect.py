"""The protocols of a dialect, and the values they exchange with an endpoint; knows no dialect."""

from collections.abc import Callable, Mapping
from dataclasses import field
from decimal import Decimal
from typing import Protocol

from paymaster.dialects.state import owner_of
from paymaster.flow.ports import ProviderChunk
from paymaster.flow.replies import Reply
from paymaster.frozen import frozen_dataclass
from paymaster.gateway.http_errors import HttpError
from paymaster.jsontypes import JsonObject
from paymaster.registry.models import Dialect, Model
from paymaster.routing.chains import DEFAULT
from paymaster.routing.requests import Request


@frozen_dataclass(frozen=True, slots=True, kw_only=True)
class DialectRequest:
    """A request for the flow. `include_usage` says that the client wants the usage in a stream; `body` is what it sent.

    `models` are those that may answer, by name; `first` is the one that was asked for. `shown` is an endpoint's own answer as its client
    gets it, by the model that gave it. `call_id` gives the id of the call, once it was admitted.
    """

    request: Request
    body: JsonObject
    include_usage: bool = False
    models: Mapping[str, Model] = field(default_factory=dict)
    first: str = ""
    shown: Callable[[JsonObject, str], JsonObject] = lambda answer, _: answer
    call_id: Callable[[], str] = lambda: ""

    def shown_name(self, answering: str) -> str:
        """The model's name in an answer: as the client has it if it asked for this model by a name, else the registry's.

        Claude Code drops the thoughts of an answer by another name. Those of a fallback it has to drop: no other model could read them.
        """
        asked = self.request.model
        return asked if asked and asked != DEFAULT and answering == self.first else answering

    def answer_id(self, chunk: JsonObject) -> str:
        """The id of an answer that is written anew: its call's. Clients take answers with one id for one, and some servers have few ids."""
        return self.call_id() or str(chunk.get("id", ""))

    def owner(self, name: str) -> str:
        """The name on stamps of the model that answers (`dialects.state`); empty where it is not known."""
        model = self.models.get(name)
        return "" if model is None else owner_of(model.provider, model.model_id)


@frozen_dataclass(frozen=True, slots=True, kw_only=True)
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

    def chunk(self, chunk: ProviderChunk, model: str) -> bytes:
        """A piece in the dialect; empty if it has no counterpart. `model` is the model that answers."""
        ...

    def end(self, reply: Reply, receipt: Receipt) -> bytes:
        """The end of a whole answer."""
        ...

    def broken(self, error: HttpError) -> bytes:
        """The end of an answer that broke off: an error, and no end marker."""
        ...


class FrontEnd(Protocol):
    """What answers clients at one address. `dialect` is their wire format, if it is one that models speak too.

    `passed_headers` are the headers that go on, by their names in lower case, to a model of the same dialect; no others do.
    """

    dialect: Dialect | None
    passed_headers: frozenset[str]

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
