"""The vectors of an answer: whether all that were asked for are there, and whether they are written as they were asked for; pure.

OpenAI writes vectors as JSON numbers (`float`) or as base64 of little-endian 32-bit floats (`base64`). Not every provider knows the second.
"""

import base64
import binascii
import sys
from array import array
from collections.abc import Mapping, Sequence

from paymaster.jsontypes import JsonObject

_FLOAT, _BASE64 = "float", "base64"
_FLOAT_BYTES = 4


def judge_vectors(asked: JsonObject, answer: JsonObject) -> JsonObject | str:
    """The answer to an embeddings payload with each vector as it was asked for (as it came, where it is so already); or why it is unusable."""
    data = answer.get("data")
    if not isinstance(data, list) or not data:
        return "the answer has no data"
    wanted = inputs_in(asked)
    if len(data) != wanted:
        return f"the answer has {len(data)} vectors, {wanted} were asked for"
    vectors = []
    for place, entry in enumerate(data):
        vector = entry.get("embedding") if isinstance(entry, Mapping) else None
        if not isinstance(vector, str | list) or not vector or (isinstance(vector, list) and not isinstance(vector[0], int | float | list)):
            return f"data[{place}] has no vector"
        vectors.append(vector)
    if len({(type(vector), len(vector)) for vector in vectors}) > 1:
        return "the vectors differ in length"
    return _written(answer, data, vectors, asked.get("encoding_format", _FLOAT))


def inputs_in(asked: JsonObject) -> int:
    """How many vectors an embeddings payload asks for."""
    inputs = asked.get("input")
    return len(inputs) if isinstance(inputs, list | tuple) and inputs and not isinstance(inputs[0], int) else 1


def floats_of(text: str) -> list[float] | None:
    """The numbers in base64; None where it is none, or holds something else than 32-bit floats."""
    try:
        raw = base64.b64decode(text, validate=True)
    except binascii.Error:
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


def _written(answer: JsonObject, data: list[JsonObject], vectors: list[str | list[float]], encoding: object) -> JsonObject | str:
    """In the encoding that was asked for. Other encodings than OpenAI's two are the provider's own, and pass."""
    first = vectors[0]
    if encoding == _BASE64 and isinstance(first, list) and isinstance(first[0], int | float):
        try:
            encoded = [base64_of(vector) for vector in vectors if isinstance(vector, list)]
        except TypeError:
            return "a vector holds something else than numbers"
        return {**answer, "data": [{**entry, "embedding": text} for entry, text in zip(data, encoded, strict=True)]}
    if encoding == _FLOAT and isinstance(first, str):
        decoded = [floats_of(vector) for vector in vectors if isinstance(vector, str)]
        if None in decoded:
            return "the vectors are neither numbers nor base64 of 32-bit floats"
        return {**answer, "data": [{**entry, "embedding": numbers} for entry, numbers in zip(data, decoded, strict=True)]}
    return answer
