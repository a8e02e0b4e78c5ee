"""What a model with several endpoints is as one: the values that hold wherever a call goes; knows complete endpoints, and no file."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from paymaster.registry.endpoints import WrittenPlace
from paymaster.registry.model_schema import ModelSection
from paymaster.registry.models import Affinity, Balancing, Model
from paymaster.registry.problems import Findings


def over_all(section: ModelSection, places: Sequence[Model]) -> Model:
    """The model of these endpoints, or the one alone as it is.

    It has the first endpoint's values. Its window and limits are the smallest, so that a prompt within them fits everywhere. Its
    capabilities are those of any endpoint, since a call goes to one that has what it needs; unknown if those of one are.
    """
    known = [place.capabilities for place in places if place.capabilities is not None]
    balance = Balancing.LEAST_LOADED if section.balance is None else Balancing(section.balance)
    affinity = Affinity.CONVERSATION if section.affinity is None else Affinity(section.affinity)
    endpoints = tuple(replace(place, balance=balance, affinity=affinity) for place in places)
    first = endpoints[0]
    if not first.endpoint:
        return first
    return replace(
        first,
        endpoint="",
        endpoints=endpoints,
        capabilities=frozenset().union(*known) if len(known) == len(places) else None,
        context_window=_smallest(place.context_window for place in places),
        max_input_tokens=_smallest(place.max_input_tokens for place in places),
        max_output_tokens=_smallest(place.max_output_tokens for place in places),
        embeds=next((place.embeds for place in places if place.embeds is not None), None),
        variables={},
    )


def vector_space_of(model_id: str) -> str:
    """The name for the vectors of a model, if the registry states none."""
    return model_id.rpartition("/")[2].lower()


def check_vectors(model: Model, written: Sequence[WrittenPlace], findings: Findings) -> None:
    """Add a problem for each endpoint whose vectors can't be compared with those of the first one, or that alone makes none."""
    first = model.places[0]
    for place, at in zip(model.endpoints, written, strict=False):
        if None not in (place.embeds, first.embeds) and place.embeds != first.embeds:
            maker, other = (first, place) if first.embeds else (place, first)
            findings.add(at.path(), f"{maker.place} makes embeddings and {other.place} makes none", "make two models of them")
        elif first.embeds and place.vector_space != first.vector_space:
            message = f"{place.place} makes vectors of {place.vector_space}, which can't be compared with {first.vector_space}"
            findings.add(at.path("model_id"), message, "if both are the same model, write vector_space: in the model")


def _smallest(limits: Iterable[int | None]) -> int | None:
    """The smallest limit that is known."""
    return min((limit for limit in limits if limit is not None), default=None)
