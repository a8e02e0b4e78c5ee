"""The vectors of a scripted model: made from the text alone, so that the same text has the same vector; pure."""

import math
from array import array
from hashlib import blake2b

import orjson

from paymaster.jsontypes import JsonObject
from paymaster.providers.scripted.answers import TokenCounts
from paymaster.providers.scripted.script import ScriptedModel, UsageFigures
from paymaster.vectors import base64_of

MOST_DIMENSIONS = 8_192
_WORD_BYTES = 4


def items_in(body: JsonObject) -> list[object]:
    """The items that get one vector each: texts, or lists of tokens. Empty if there is no input."""
    given = body.get("input")
    if not isinstance(given, list):
        return [given] if given else []
    return [given] if given and isinstance(given[0], int) else given


def item_tokens(model: ScriptedModel, body: JsonObject) -> list[int]:
    """The tokens of each item: its bytes divided by `bytes_per_token`, rounded up; a list of tokens has as many as its length."""
    return [
        len(item) if isinstance(item, list) else max(1, -(-len(str(item).encode("utf-8", "replace")) // model.bytes_per_token))
        for item in items_in(body)
    ]


def count_items(model: ScriptedModel, body: JsonObject) -> TokenCounts:
    """The tokens of a request for vectors, which has no output."""
    scripted = (model.usage or UsageFigures()).prompt_tokens
    return TokenCounts(sum(item_tokens(model, body)) if scripted is None else scripted, 0)


def dimensions_of(model: ScriptedModel, body: JsonObject) -> int | None:
    """The length of the vectors; None if the request asks for a length that is not possible."""
    requested = body.get("dimensions")
    requested = model.dimensions if requested is None else requested
    return requested if isinstance(requested, int) and 0 < requested <= MOST_DIMENSIONS else None


def whole_embeddings(body: JsonObject, name: str, dimensions: int, usage: JsonObject | None) -> dict[str, object]:
    """OpenAI's list of embeddings."""
    vectors = [vector_of(item, dimensions) for item in items_in(body)]
    in_base64 = body.get("encoding_format") == "base64"
    answer: dict[str, object] = {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": base64_of(vector) if in_base64 else vector}
            for index, vector in enumerate(vectors)
        ],
        "model": name,
    }
    if usage is not None:
        answer["usage"] = usage
    return answer


def vector_of(item: object, dimensions: int) -> list[float]:
    """A vector of length 1 whose numbers are exact as 32-bit floats."""
    seed = orjson.dumps(item)
    words = (blake2b(seed, digest_size=_WORD_BYTES, salt=index.to_bytes(16, "big")).digest() for index in range(dimensions))
    numbers = [int.from_bytes(word, "big") / 2**31 - 1 for word in words]
    length = math.hypot(*numbers) or 1.0
    return array("f", (number / length for number in numbers)).tolist()
