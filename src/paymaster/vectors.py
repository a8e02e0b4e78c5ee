"""Converts vectors between OpenAI's two encodings, JSON numbers and base64 of little-endian 32-bit floats; knows no provider."""

import base64
import sys
from array import array
from collections.abc import Mapping, Sequence

from paymaster.jsontypes import JsonObject

FLOAT, BASE64 = "float", "base64"
"""OpenAI's encodings; not every provider supports the second."""

_FLOAT_BYTES = 4


def vectors_in(body: JsonObject) -> list[list[float]]:
    """The vectors of a list of embeddings as numbers, in the order of the input.

    Raises ValueError if one is neither numbers nor base64 of 32-bit floats: without it, vectors would no longer match their inputs.
    """
    data = body.get("data")
    entries = [entry for entry in data if isinstance(entry, Mapping)] if isinstance(data, list) else []
    if all(isinstance(entry.get("index"), int) for entry in entries):
        entries.sort(key=lambda entry: entry["index"])
    vectors: list[list[float]] = []
    for position, entry in enumerate(entries):
        given = entry.get("embedding")
        vector = floats_of(given) if isinstance(given, str) else given if isinstance(given, list) else None
        if vector is None:
            msg = f"the embedding of input {position} is neither numbers nor base64 of 32-bit floats"
            raise ValueError(f"{msg}; the reply's `body` has the original")
        vectors.append(vector)
    return vectors


def written_as(body: JsonObject, encoding: object) -> JsonObject:
    """A list of embeddings with its vectors in `encoding`; the same object if nothing changes or the encoding is unknown."""
    data = body.get("data")
    entries = [entry for entry in data if isinstance(entry, Mapping)] if isinstance(data, list) else []
    written = [_written(entry.get("embedding"), encoding) for entry in entries]
    if all(vector is None for vector in written):
        return body
    changed = [entry if vector is None else {**entry, "embedding": vector} for entry, vector in zip(entries, written, strict=True)]
    return {**body, "data": changed}


def _written(vector: object, encoding: object) -> str | list[float] | None:
    """The vector in the encoding; None if it needs no conversion or has none."""
    if encoding == FLOAT and isinstance(vector, str):
        return floats_of(vector)
    if encoding == BASE64 and isinstance(vector, list):
        try:
            return base64_of(vector)
        except (TypeError, OverflowError):  # nested vectors, or numbers beyond 32 bits: a provider's own format
            return None
    return None


def floats_of(text: str) -> list[float] | None:
    """The numbers in base64; None if it is not base64 of 32-bit floats."""
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
