"""Who may use a response that an endpoint keeps, and which model it belongs to; knows no HTTP and no event.

A client names such a response in `previous_response_id`, and gets its id from the answer. Where the id alone does not say enough (there are
client keys, or another model answered than the one that was asked), it carries a stamp: its writer, and a code that only a holder of the
provider's key can make, for one client key. So every worker and every gateway with that provider key knows it, and nothing is stored here.
"""

import hmac
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256

from paymaster.accounting.bounds import shown
from paymaster.dialects.neutral import State
from paymaster.dialects.responses.requests import refers_to_items
from paymaster.dialects.state import id_with, owner_of, split_id
from paymaster.flow.ports import World
from paymaster.gateway.auth import Caller
from paymaster.gateway.dialects.dialect import DialectRequest
from paymaster.gateway.http_errors import HttpError, Rejected
from paymaster.gateway.request_body import invalid
from paymaster.jsontypes import JsonObject
from paymaster.registry.models import Dialect, Model
from paymaster.routing.chains import resolve

PREVIOUS = "previous_response_id"
_OWN = Dialect.RESPONSES
_CODE_DIGITS = 32


@dataclass(frozen=True, slots=True)
class Stored:
    """A response at its endpoint: the endpoint's own id, and the model that wrote it; None if its id does not name it."""

    id: str
    writer: Model | None


class StoredResponses:
    """The responses that one caller may use."""

    def __init__(self, world: World, caller: Caller) -> None:
        self._world = world
        self._caller = caller
        key = caller.key
        # A pinned key belongs to the command that this gateway was started for: there is nobody else.
        self._key_id = "" if key is None or key.pinned else key.id

    @property
    def is_shared(self) -> bool:
        """Whether other callers use the same endpoints."""
        return bool(self._key_id)

    def shown_id(self, given: str, writer: Model) -> str:
        """The id of a response of this model, as this caller may name it."""
        owner = owner_of(writer.provider, writer.model_id)
        return id_with(given, State(value=self._code(given, writer), dialect=_OWN, owner=owner))

    def find(self, given: str) -> Stored:
        """The response that an id names. Raises Rejected for that of another caller, or of a model that is not in the registry."""
        plain, state = split_id(given, _OWN)
        if state is None:
            if self.is_shared:
                raise Rejected(_not_found(given))
            return Stored(given, None)
        for model in stores(self._world):
            # Not as texts: a client may write others than ASCII, which can't be compared so.
            is_code = hmac.compare_digest(self._code(plain, model).encode(), state.value.encode())
            if is_code and owner_of(model.provider, model.model_id) == state.owner:
                return Stored(plain, model)
        raise Rejected(_not_found(given))

    def are_neighbours(self, one: Model, other: Model) -> bool:
        """Whether two models keep their responses in one place: the same endpoint with the same key."""
        return self._place(one) == self._place(other)

    def places(self) -> list[Model]:
        """One model of each place."""
        return list({self._place(model): model for model in stores(self._world)}.values())

    def _place(self, model: Model) -> tuple[object, ...]:
        return model.provider, model.base_url, model.api_version, self._secret(model)

    def _secret(self, model: Model) -> str:
        return self._world.key_of(model, self._caller.scope) or ""

    def _code(self, given: str, model: Model) -> str:
        # Models of the same id at two addresses are two: neither has the other's responses.
        text = f"{self._key_id}\n{owner_of(model.provider, model.model_id)}\n{model.base_url}\n{model.api_version}\n{given}"
        return hmac.new(self._secret(model).encode(), text.encode(), sha256).hexdigest()[:_CODE_DIGITS]


def stores(world: World) -> Iterator[Model]:
    """The endpoints that may keep responses."""
    return (place for model in world.registry.models.values() for place in model.places if place.dialect is _OWN)


def continued(asked: DialectRequest, world: World, caller: Caller) -> DialectRequest:
    """The request for the model that keeps what it refers to, and for no other; its answer's id is shown as this caller may use it.

    Raises Rejected for what the caller may not use.
    """
    body, stored = asked.body, StoredResponses(world, caller)
    given = body.get(PREVIOUS)
    if given is not None and not isinstance(given, str):
        raise Rejected(invalid(f"{PREVIOUS} must be a string", PREVIOUS))
    refers = refers_to_items(body)
    if refers and stored.is_shared:
        message = "an item_reference, or an image_generation_call without its result, does not say whose it is, so client keys can't use it"
        refused = invalid(message, "input")
        raise Rejected(replace(refused, advice=f"Send the item itself, or name its whole response in {PREVIOUS}."))
    first = model = resolve(world.registry, asked.request.model)
    if given:
        found = stored.find(given)
        writer = found.writer
        if writer is not None and not any(stored.are_neighbours(writer, place) for place in world.registry.models[model].places):
            model = writer.name
        asked = _with_body(asked, {**body, PREVIOUS: found.id})
    if given or refers:
        name = asked.request.model if model == first else model
        asked = replace(asked, request=replace(asked.request, model=name, alone=True))

    def shown(response: JsonObject, name: str) -> JsonObject:
        echoed = {PREVIOUS: given} if given and response.get(PREVIOUS) is not None else {}
        response_id, writer = response.get("id"), world.registry.models.get(name)
        is_kept = response.get("store") is not False and body.get("store") is not False
        if is_kept and isinstance(response_id, str) and writer is not None and (stored.is_shared or name != model):
            return {**response, "id": stored.shown_id(response_id, writer), **echoed}
        return {**response, **echoed} if echoed else response

    return replace(asked, shown=shown)


def _with_body(asked: DialectRequest, body: Mapping[str, object]) -> DialectRequest:
    source = asked.request.source
    sent = asked.request if source is None else replace(asked.request, source=replace(source, body=body))
    return replace(asked, body=body, request=sent)


def _not_found(given: str) -> HttpError:
    return HttpError(
        status=400,
        code="previous_response_not_found",
        message=f"no response {shown(given)} is known to this key",
        advice="Use an id as this gateway gave it to the same key, or send the whole conversation as `input`.",
        param=PREVIOUS,
    )
