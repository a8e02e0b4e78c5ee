"""Facts about places, moved names and suffixes: what each does to a price; knows their file's format, and no provider's name."""

import re
import tomllib
from datetime import datetime
from decimal import Decimal
from functools import cached_property
from importlib.resources import files

from pydantic import Field

from paymaster.accounting.prices.names import GLOBAL
from paymaster.accounting.prices.price import ALWAYS, Period
from paymaster.accounting.prices.supplement import PricedModel, TomlRow


class Place(TomlRow):
    """A factor of list price in some regions (none named: all except `global`), for models whose names start with a match of `models`.

    Without a factor the price there is unknown. `apart`: nobody is served there who did not ask for it.
    """

    provider: str
    regions: frozenset[str] = frozenset()
    models: str
    factor: Decimal | None = None
    start: datetime = Field(default=ALWAYS, alias="from")
    apart: bool = False
    source: str

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """`models`, compiled."""
        return re.compile(self.models)

    def applies(self, provider: str, region: str, name: str) -> bool:
        """Whether it applies to this model (lower case) of this provider in this region."""
        in_region = region in self.regions if self.regions else region != GLOBAL
        return self.provider == provider and in_region and self.pattern.match(name) is not None


class Moved(TomlRow):
    """Names that became those of another model on a day."""

    provider: str
    names: frozenset[str]
    to: str
    start: datetime = Field(alias="from")
    source: str


class Suffix(TomlRow):
    """What a suffix of a name adds to the price of the name without it: a fee for each request, or nothing, or it is free."""

    provider: str
    suffixes: tuple[str, ...]
    free: bool = False
    usd_per_request: Decimal = Decimal(0)
    source: str


class Places(TomlRow):
    """The file `data/places.toml`."""

    version: str
    place: tuple[Place, ...] = ()
    model: tuple[PricedModel, ...] = ()
    moved: tuple[Moved, ...] = ()
    suffix: tuple[Suffix, ...] = ()

    def histories(self) -> dict[tuple[str, str], tuple[Period, ...]]:
        """The periods, ascending, of each (provider, model name) in the file."""
        source = f"catalogue paymaster {self.version}"
        return {(row.provider, name): row.history({}, source) for row in self.model for name in row.names}

    def place_of(self, provider: str, region: str, name: str) -> Place | None:
        """The row that counts there; None: the list price does."""
        return next((row for row in self.place if row.applies(provider, region, name)), None)

    def possible(self, provider: str, name: str) -> tuple[Place, ...]:
        """The rows that may count for a model whose place is unknown."""
        return tuple(row for row in self.place if row.provider == provider and not row.apart and row.pattern.match(name))

    def moves(self, provider: str, name: str) -> tuple[Moved, ...]:
        """The moves of a name, in order."""
        return tuple(sorted((row for row in self.moved if row.provider == provider and name in row.names), key=lambda row: row.start))

    def suffix_of(self, provider: str, name: str) -> tuple[str, Suffix] | None:
        """The name without its suffix, and what the suffix means; None without a known one."""
        for row in self.suffix:
            for suffix in row.suffixes:
                if row.provider == provider and name.endswith(suffix):
                    return name.removesuffix(suffix), row
        return None


def load_places() -> Places:
    """Read the file that ships with the package."""
    return read_places(files("paymaster.accounting.prices").joinpath("data/places.toml").read_text(encoding="utf-8"))


def read_places(text: str) -> Places:
    """Parse the file's text. Raises ValueError for mistakes."""
    return Places.model_validate(tomllib.loads(text))
