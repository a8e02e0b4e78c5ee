"""Puts the registry's name of a model into the bytes of a chunk without writing it anew; knows of a chunk no more than that name."""

import re

import orjson

from paymaster.jsontypes import JsonObject

_KEY = b'"model"'
_MEMBER = re.compile(rb'"model"\s*:\s*"(?:[^"\\]|\\.)*"')


class Renamer:
    """Renames the chunks of one stream, which name their model in the same bytes again and again. `name` is the name to put in."""

    __slots__ = ("_given", "_member", "_new", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self._new = b'"model":' + orjson.dumps(name)
        self._given: object = None
        self._member = b""

    def renamed(self, raw: bytes, chunk: JsonObject) -> bytes | None:
        """The bytes with the other name; None if it is not clear where in them the model is named. `chunk` is what they say.

        Inside a text the quotes of JSON are escaped, so the key's bytes are a key, or a whole text of its own: they must be there once.
        """
        model = chunk.get("model")
        if raw.count(_KEY) != 1:
            return None
        if model != self._given or not self._member:
            found = _MEMBER.search(raw)
            if found is None or not isinstance(model, str):
                return None
            self._given, self._member = model, found.group()
        head, member, tail = raw.partition(self._member)
        return head + self._new + tail if member else None
