"""A model while it is being completed, and the sources of what it lacks; knows no value and no rule."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

from paymaster.registry.endpoints import WrittenPlace
from paymaster.registry.model_data import GuessedLimit, ModelFacts
from paymaster.registry.model_prices import PriceSource
from paymaster.registry.model_schema import ModelSection
from paymaster.registry.overrides import Overrides
from paymaster.registry.sections import Written


class KnownModels(Protocol):
    """Published limits and capabilities."""

    def lookup(self, provider: str, model_id: str) -> ModelFacts | None:
        """The facts about a model, None for an unknown name."""
        ...

    def guess(self, provider: str, model_id: str, limit: str) -> GuessedLimit | None:
        """A limit of the same model elsewhere, None if no seller has one."""
        ...

    def names(self, provider: str) -> tuple[str, ...]:
        """The models of a provider that are known."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where missing values come from. Relative paths in the registry start from `directory`."""

    catalogue: PriceSource
    model_data: KnownModels
    environ: Mapping[str, str]
    at: datetime
    directory: Path


@dataclass(slots=True)
class Draft:
    """One model, or one of its endpoints, while it is being completed."""

    place: WrittenPlace
    written: Written
    overrides: Overrides
    origins: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @property
    def section(self) -> ModelSection:
        """Every value that was written."""
        return self.place.section

    @property
    def name(self) -> str:
        """The name for messages."""
        return self.place.name

    def line(self, key: str) -> str:
        """The origin of a key in the registry."""
        return self.written.origin(self.place.path(key))

    def note(self, key: str, origin: str) -> None:
        """Keep the origin of a value."""
        self.origins[key] = origin
