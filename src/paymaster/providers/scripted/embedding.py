"""The vectors of a scripted model: made of nothing but the text, so that the same text has the same vector; pure."""

import math
from array import array
from hashlib import blake2b

import orjson

from paymaster.jsontypes import JsonObject
from paymaster.providers.scripted.answers import Counts
from paymaster.providers.scripted.script import ScriptedModel, UsageFigures
from paymaster.vectors import base64_of

MOST_DIMENSIONS = 8_192
_WORD_BYTES = 4


def items_in(body: JsonObject) -> list[object]:
    """What each becomes one vector: texts, or lists of tokens. Nothing where nothing is given."""
    given = body.get("input")
    if not isinstance(given, list):
        return [given] if given else []
    return [given] if given and isinstance(given[0], int) else given


def item_tokens(model: ScriptedModel, body: JsonObject) -> list[int]:
    """The tokens of each item: its bytes divided by `bytes_per_token`, rounded up; a list of tokens has as many as it has."""
    return [
        len(item) if isinstance(item, list) else max(1, -(-len(str(item).encode("utf-8", "replace")) // model.bytes_per_token))
        for item in items_in(body)
    ]


def count_items(model: ScriptedModel, body: JsonObject) -> Counts:
    """What a request for vectors used: no output."""
    said = (model.usage or UsageFigures()).prompt_tokens
    return Counts(sum(item_tokens(model, body)) if said is None else said, 0)


def dimensions_of(model: ScriptedModel, body: JsonObject) -> int | None:
    """How long the vectors will be; None where that many can't be had."""
    asked = body.get("dimensions")
    asked = model.dimensions if asked is None else asked
    return asked if isinstance(asked, int) and 0 < asked <= MOST_DIMENSIONS else None


def whole_embeddings(body: JsonObject, name: str, dimensions: int, usage: JsonObject | None) -> dict[str, object]:
    """OpenAI's list of embeddings."""
    vectors = [vector_of(item, dimensions) for item in items_in(body)]
    in_base64 = body.get("encoding_format") == "base64"
    answer: dict[str, object] = {
        "object": "list",
        "data": [
            {"object": "embedding", "index": place, "embedding": base64_of(vector) if in_base64 else vector}
            for place, vector in enumerate(vectors)
        ],
        "model": name,
    }
    if usage is not None:
        answer["usage"] = usage
    return answer


def vector_of(item: object, dimensions: int) -> list[float]:
    """A vector of length 1 whose numbers are exact as 32-bit floats."""
    seed = orjson.dumps(item)
    words = (blake2b(seed, digest_size=_WORD_BYTES, salt=place.to_bytes(16, "big")).digest() for place in range(dimensions))
    numbers = [int.from_bytes(word, "big") / 2**31 - 1 for word in words]
    length = math.hypot(*numbers) or 1.0
    return array("f", (number / length for number in numbers)).tolist()
