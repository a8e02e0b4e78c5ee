"""Numbers the entries of lists in deltas: OpenAI's own library adds them up by their `index`, and raises for one without; knows no field.

Tool calls and the lists of chat servers have theirs. Those that are made from other dialects have none.
"""

from collections.abc import Mapping

from paymaster.jsontypes import JsonObject


class ListPlaces:
    """The places in one stream. Pieces of one thought have one place, up to its signature."""

    def __init__(self) -> None:
        self._counts: dict[tuple[object, str], int] = {}
        self._open: set[tuple[object, str]] = set()

    def placed(self, chunk: JsonObject) -> JsonObject:
        """The chunk with an `index` in each entry; the very same object if nothing is missing."""
        choices = chunk.get("choices")
        if not isinstance(choices, list):
            return chunk
        placed = [self._choice(choice) for choice in choices]
        return chunk if all(new is old for new, old in zip(placed, choices, strict=True)) else {**chunk, "choices": placed}

    def _choice(self, choice: object) -> object:
        delta = choice.get("delta") if isinstance(choice, Mapping) else None
        if not isinstance(choice, Mapping) or not isinstance(delta, Mapping):
            return choice
        lists = {name: value for name, value in delta.items() if name != "tool_calls" and isinstance(value, list)}
        placed = {name: [self._entry(entry, (choice.get("index"), name)) for entry in value] for name, value in lists.items()}
        return choice if placed == lists else {**choice, "delta": {**delta, **placed}}

    def _entry(self, entry: object, of: tuple[object, str]) -> object:
        if not isinstance(entry, Mapping) or "index" in entry:
            return entry
        is_thought = entry.get("type") == "thinking"
        if not (is_thought and of in self._open):
            self._counts[of] = self._counts.get(of, 0) + 1
        if is_thought and not entry.get("signature"):
            self._open.add(of)
        else:
            self._open.discard(of)
        return {**entry, "index": self._counts[of] - 1}
