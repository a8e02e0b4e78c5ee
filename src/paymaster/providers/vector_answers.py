"""Whether the vectors of an answer are all there; knows the two ways to write them, and no transport."""

from collections.abc import Mapping

from paymaster.jsontypes import JsonObject


def judge_vectors(asked: JsonObject, answer: JsonObject) -> str | None:
    """Why the answer to an embeddings payload can't be used: it holds other than one vector for each input, all of one length."""
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
    return None


def inputs_in(asked: JsonObject) -> int:
    """How many vectors an embeddings payload asks for."""
    inputs = asked.get("input")
    return len(inputs) if isinstance(inputs, list | tuple) and inputs and not isinstance(inputs[0], int) else 1
