"""Names that end in `*`, each of a family of models: which one a name belongs to, and a table with its members; knows no model.

`openai/*` is the family of every name that begins with `openai/`; `*` alone is that of all. The longest beginning counts.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

MARK = "*"
LONGEST_NAME = 256
"""A longer name is that of no model."""
MOST_MEMBERS = 1_000
"""As many members of families are kept in memory: callers may invent any name."""

V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Family(Generic[V]):
    """`make` makes a member from its whole name; `known` has the names of members that are known to exist, for lists."""

    make: Callable[[str], V]
    known: Callable[[], tuple[str, ...]] = tuple


def is_family(name: str) -> bool:
    """Whether a name is that of a family."""
    return name.endswith(MARK)


def family_of(name: str, families: Iterable[str]) -> str | None:
    """The family that a name belongs to; None for a name of none, for a family itself and for what can be no name."""
    if MARK in name or len(name) > LONGEST_NAME or not name.isprintable():
        return None
    return max((family for family in families if is_family(family) and _has(family, name)), key=len, default=None)


def member_of(family: str, model: str) -> str:
    """The name of the member for a model: `openai/gpt-4o` in `openai/*`, and in `openai/gpt-*` too."""
    return f"{_folder(family)}{model}"


def part_of(name: str, family: str) -> str:
    """The model that a member stands for: its name behind the last slash of the family's."""
    return name.removeprefix(_folder(family))


def _has(family: str, name: str) -> bool:
    beginning = family.removesuffix(MARK)
    return name.startswith(beginning) and bool(name.removeprefix(beginning).strip())


def _folder(family: str) -> str:
    return family[: family.rfind("/") + 1]


class FamilyTable(dict[str, V]):
    """What is known by name, and the members of families. A member is made when it is looked up, and is in no list."""

    def __init__(self, named: Mapping[str, V], families: Mapping[str, Family[V]]) -> None:
        super().__init__(named)
        self._families = families
        self._made: dict[str, V] = {}

    def __missing__(self, name: str) -> V:
        made = self._made.get(name)
        if made is None:
            family = family_of(name, self._families)
            if family is None:
                raise KeyError(name)
            if len(self._made) >= MOST_MEMBERS:
                self._made = {}
            made = self._made[name] = self._families[family].make(name)
        return made

    def find(self, name: str) -> V | None:
        """What has the name; None if nothing has it."""
        try:
            return self[name]
        except KeyError:
            return None
