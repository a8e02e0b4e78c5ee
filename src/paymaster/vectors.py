"""How vectors are written in OpenAI's format: as JSON numbers, or as base64 of little-endian 32-bit floats; knows no provider."""

import base64
import sys
from array import array
from collections.abc import Mapping, Sequence

from paymaster.jsontypes import JsonObject

FLOAT, BASE64 = "float", "base64"
"""OpenAI's two; not every provider knows the second."""

_FLOAT_BYTES = 4


def vectors_in(body: JsonObject) -> list[list[float]]:
    """The vectors of a list of embeddings as numbers, in the order of the input.

    Raises ValueError where one is neither numbers nor base64 of 32-bit floats: without it the others would stand for the wrong inputs.
    """
    data = body.get("data")
    entries = [entry for entry in data if isinstance(entry, Mapping)] if isinstance(data, list) else []
    if all(isinstance(entry.get("index"), int) for entry in entries):
        entries.sort(key=lambda entry: entry["index"])
    vectors: list[list[float]] = []
    for place, entry in enumerate(entries):
        given = entry.get("embedding")
        vector = floats_of(given) if isinstance(given, str) else given if isinstance(given, list) else None
        if vector is None:
            msg = f"the embedding of input {place} is neither numbers nor base64 of 32-bit floats"
            raise ValueError(f"{msg}; the reply's `body` has it as it came")
        vectors.append(vector)
    return vectors


def written_as(body: JsonObject, encoding: object) -> JsonObject:
    """A list of embeddings with its vectors in the encoding; the very same where they are so already, or where it is none of the two."""
    data = body.get("data")
    entries = [entry for entry in data if isinstance(entry, Mapping)] if isinstance(data, list) else []
    written = [_written(entry.get("embedding"), encoding) for entry in entries]
    if all(vector is None for vector in written):
        return body
    changed = [entry if vector is None else {**entry, "embedding": vector} for entry, vector in zip(entries, written, strict=True)]
    return {**body, "data": changed}


def _written(vector: object, encoding: object) -> str | list[float] | None:
    """The vector in the encoding; None where there is nothing to change, or no way to."""
    if encoding == FLOAT and isinstance(vector, str):
        return floats_of(vector)
    if encoding == BASE64 and isinstance(vector, list):
        try:
            return base64_of(vector)
        except (TypeError, OverflowError):  # vectors within vectors, or no numbers of 32 bits: the provider's own
            return None
    return None


def floats_of(text: str) -> list[float] | None:
    """The numbers in base64; None where it is none, or holds something else than 32-bit floats."""
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError:
        return None
    if len(raw) % _FLOAT_BYTES:
        return None
    numbers = array("f", raw)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tolist()


def base64_of(vector: Sequence[float]) -> str:
    """The numbers as OpenAI's base64."""
    numbers = array("f", vector)
    if sys.byteorder == "big":
        numbers.byteswap()
    return base64.b64encode(numbers.tobytes()).decode()
