"""Requests and answers between a client and a model that both speak OpenAI's responses; knows no other dialect.

A request goes as it came, but for the state of other models; an answer, but for the model's name.
"""

from collections.abc import Iterator, Mapping

from paymaster.dialects.neutral import Written
from paymaster.dialects.responses.fields import OWN, objects, text_in
from paymaster.dialects.responses.item_writer import short_id
from paymaster.dialects.responses.items import is_call, is_output, ordered, read_thought
from paymaster.dialects.responses.stream_items import Event
from paymaster.dialects.state import is_for, split_id
from paymaster.jsontypes import JsonObject


def passed(body: JsonObject, owner: str) -> Written:
    """The body for the model that signs its state so; the very same object where nothing is to do."""
    given = body.get("input")
    if not isinstance(given, list):
        return Written(body=dict(body))
    items = objects(given, "input")
    dropped: list[str] = []
    kept = [item for index, item in enumerate(items) for item in _passed(item, owner, f"input.{index}", dropped)]
    return Written(body={**body, "input": list(ordered(kept))}, dropped=tuple(dropped))


def _passed(item: JsonObject, owner: str, where: str, dropped: list[str]) -> Iterator[JsonObject]:
    """The item as its model wants it back; none if it is another model's thought."""
    if item.get("type") == "reasoning":
        thought = read_thought(item, where)
        state = thought.state
        if state is None or not state.owner:
            yield item
        elif state.value and is_for(state, owner=owner, dialect=OWN):
            own_id = thought.extras.get(OWN, {}).get("id") or split_id(text_in(item, "id"), OWN)[0]
            yield {**item, **({"id": own_id} if own_id else {}), "encrypted_content": state.value}
        else:
            dropped.append(f"{where}.reasoning")
        return
    given = item.get("call_id")
    if isinstance(given, str) and (is_call(item) or is_output(item)):
        call_id, state = split_id(given, OWN)
        if state is not None and is_call(item):
            dropped.append(f"{where}.thought_signature")
        if (sent := short_id(call_id)) != given:
            yield {**item, "call_id": sent}
            return
    yield item


_ENDS = frozenset({"response.completed", "response.incomplete"})


class EventPasser:
    """Passes the events of one stream. `model` is the name that the client knows the model by; the last event waits for the cost."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._number = -1
        self._last: JsonObject = {}
        self.response: JsonObject = {}

    def passed(self, name: str, event: JsonObject) -> Iterator[JsonObject]:
        """The events that the client gets for this one."""
        given = event if isinstance(event.get("type"), str) else {"type": name, **event}
        number = given.get("sequence_number")
        self._number = number if isinstance(number, int) else self._number + 1
        if isinstance(response := given.get("response"), Mapping):
            self.response = {**response, "model": self._model}
            given = {**given, "response": self.response}
        if given["type"] in _ENDS:
            self._last = given
        else:
            yield given

    def end(self) -> JsonObject:
        """The last event; empty if none came."""
        return self._last

    def numbered(self, event: Event) -> JsonObject:
        """An event of our own with the next number."""
        self._number += 1
        kind, fields = event
        return {"type": kind, "sequence_number": self._number, **fields}
