"""Why a model, one endpoint or one tier of it, does not serve a request; knows no request and no ledger."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from paymaster.accounting.place_names import place_name
from paymaster.errors import PromptSize
from paymaster.registry.models import Model
from paymaster.routing.failures import FailureKind


class SkipCause(StrEnum):
    """The kind of reason for which a model is skipped."""

    CAPABILITY = "capability"
    VECTORS = "vectors"
    CONTEXT = "context"
    PARAMETER = "parameter"
    UNPRICED = "unpriced"
    UNBOUNDED = "unbounded"
    KEY = "key"
    LIMIT = "limit"
    BUDGET = "budget"
    WAIT = "wait"
    PAUSED = "paused"
    FAILED = "failed"
    MIXED = "mixed"


@dataclass(frozen=True, slots=True)
class Skipped:
    """A model that will not serve this request, and why, in a sentence for a person. `retry_in_ms` is when it may, where that is known.

    `failure` is what it failed with, for this call or for another. `too_long` has the figures of a prompt that does not fit the model, by
    our count or its provider's. `tier` is set where only this tier of service is skipped, and another one of the model is next.
    """

    model: str
    cause: SkipCause
    detail: str
    retry_in_ms: int | None = None
    failure: FailureKind | None = None
    too_long: PromptSize | None = None
    endpoint: str = ""
    tier: str = ""

    @classmethod
    def of(
        cls,
        model: Model,
        cause: SkipCause,
        detail: str,
        retry_in_ms: int | None = None,
        failure: FailureKind | None = None,
        too_long: PromptSize | None = None,
    ) -> Self:
        """The model, or one endpoint of it."""
        tier = model.tier if model.has_next_tier else ""
        return cls(model.name, cause, detail, retry_in_ms, failure, too_long, model.endpoint, tier)

    @property
    def place(self) -> str:
        """What is skipped, as people read it: the model, the endpoint of it, or one tier of that."""
        return place_name(self.model, self.endpoint, self.tier)

    @property
    def endpoint_place(self) -> str:
        """The same at every tier of service."""
        return place_name(self.model, self.endpoint)


def by_reason(skipped: Sequence[Skipped]) -> list[tuple[str, str]]:
    """Who is skipped and why, each once: endpoints of one model with the same reason together, as `sonnet/eu, us`."""
    found = dict[tuple[str, str, str], list[Skipped]]()
    for each in skipped:
        alike = found.setdefault((each.model, each.tier, each.detail), [])
        if each not in alike:
            alike.append(each)
    return [(", ".join([alike[0].place, *(each.endpoint for each in alike[1:])]), detail) for (_, _, detail), alike in found.items()]
