"""Requests and answers between a client and a model that both speak OpenAI's responses; knows no other dialect.

A request goes as it came, but for the state of other models, and ids of calls that OpenAI refuses; an answer, but for the model's name, and
for calls whose arguments are no text, or none.
"""

from collections.abc import Callable, Iterator, Mapping

from paymaster.dialects.chat.normal.arguments import whole_arguments
from paymaster.dialects.neutral import Written
from paymaster.dialects.objects import objects
from paymaster.dialects.responses.client_tools import ID_PREFIXES
from paymaster.dialects.responses.fields import OWN, text_in
from paymaster.dialects.responses.item_writer import short_id
from paymaster.dialects.responses.items import is_call, is_output, ordered, read_thought
from paymaster.dialects.responses.stream_items import Event
from paymaster.dialects.responses.summaries import as_message, summary_in
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
    if text := summary_in(item):
        yield as_message(text)
        return
    given = item.get("call_id")
    if isinstance(given, str) and (is_call(item) or is_output(item)):
        call_id, state = split_id(given, OWN)
        if state is not None and is_call(item):
            dropped.append(f"{where}.thought_signature")
        item = item if (sent := short_id(call_id)) == given else {**item, "call_id": sent}
    yield _without_odd_id(item)


def _without_odd_id(item: JsonObject) -> JsonObject:
    """The item; a call without an id that the API does not take. It needs none, and other servers and models make their own."""
    prefix, given = ID_PREFIXES.get(str(item.get("type"))), item.get("id")
    if prefix is None or not isinstance(given, str) or given.startswith(prefix) or "call_id" not in item:
        return item
    return {name: value for name, value in item.items() if name != "id"}


_ENDS = frozenset({"response.completed", "response.incomplete"})


def pass_answer(response: JsonObject) -> JsonObject:
    """A response; the very same object where nothing is wrong."""
    output = response.get("output")
    if not isinstance(output, list):
        return response
    items = [_pass_item(item) for item in output]
    return response if all(new is old for new, old in zip(items, output, strict=True)) else {**response, "output": items}


def _pass_item(item: object) -> object:
    if not isinstance(item, Mapping) or item.get("type") != "function_call" or item.get("status") == "in_progress":
        return item
    text = whole_arguments(given := item.get("arguments"))
    return item if text == given else {**item, "arguments": text}


class EventPasser:
    """Passes the events of one stream. `model` is the name that the client knows the model by; the last event waits for the cost.

    `shown` is a response as the client gets it.
    """

    def __init__(self, model: str, shown: Callable[[JsonObject], JsonObject] = lambda response: response) -> None:
        self._model = model
        self._shown = shown
        self._number = -1
        self._last: JsonObject = {}
        self._done: dict[object, object] = {}
        self.response: JsonObject = {}

    def passed(self, name: str, event: JsonObject) -> Iterator[JsonObject]:
        """The events that the client gets for this one."""
        given = event if isinstance(event.get("type"), str) else {"type": name, **event}
        self.count(given)
        if isinstance(response := given.get("response"), Mapping):
            self.response = {**self._shown(pass_answer(response)), "model": self._model}
            given = {**given, "response": self.response}
        if given["type"] in _ENDS:
            self._last = self._with_output(given)
            return
        match given["type"]:
            case "response.output_item.done":
                item = self._done[given.get("output_index")] = _pass_item(given.get("item"))
                yield given if item is given.get("item") else {**given, "item": item}
            case "response.function_call_arguments.done":
                text = whole_arguments(given.get("arguments"))
                yield given if text == given.get("arguments") else {**given, "arguments": text}
            case _:
                yield given

    def count(self, event: JsonObject) -> None:
        """Note the number of an event that passes."""
        number = event.get("sequence_number")
        self._number = number if isinstance(number, int) else self._number + 1

    def _with_output(self, last: JsonObject) -> JsonObject:
        """The last event: some servers leave out of it what they have streamed."""
        if self.response.get("output") or not self._done:
            return last
        self.response = {**self.response, "output": list(self._done.values())}
        return {**last, "response": self.response}

    def end(self) -> JsonObject:
        """The last event; empty if none came."""
        return self._last

    def numbered(self, event: Event) -> JsonObject:
        """An event of our own with the next number."""
        self._number += 1
        kind, fields = event
        return {"type": kind, "sequence_number": self._number, **fields}
