"""Which models a name means that no registry has as it is: one with a date, without it, or a provider's own; knows no request and no price.

OpenAI, Anthropic and Google write the date of a model behind its name (`gpt-4o-2024-08-06`, `claude-haiku-4-5-20251001`,
`claude-haiku-4-5@20251001`), `-latest` for the newest, and Claude Code `[1m]` for a longer window, which it asks for in a header.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from paymaster.registry.models import Model

_MARK = re.compile(r"\[[a-z0-9]+\]\Z", re.IGNORECASE | re.ASCII)
_DATE = re.compile(r"[-@](20\d\d)(-?)(0[1-9]|1[0-2])\2(0[1-9]|[12]\d|3[01])\Z", re.ASCII)
_LATEST = re.compile(r"[-@]latest\Z")


class DatedName(NamedTuple):
    """A name of a model without its date, and the date as `20251001`; empty if it has none."""

    stem: str
    date: str

    def agrees(self, other: DatedName) -> bool:
        """Whether both may be one model: the same stem, and not two dates."""
        return self.stem == other.stem and (not self.date or not other.date or self.date == other.date)


def dated(name: str) -> DatedName:
    """The parts of a name."""
    if (found := _DATE.search(name)) is not None:
        return DatedName(name[: found.start()], found[1] + found[3] + found[4])
    return DatedName(_LATEST.sub("", name), "")


def models_named(asked: str, models: Iterable[Model]) -> tuple[Model, ...]:
    """The models that a name means which is not in the registry; several if it does not say which.

    The nearest kind of match counts: the id at the provider, then names and aliases without dates, then such ids. A model whose name or
    id has another date than was asked for is another model.
    """
    plain = _MARK.sub("", asked)
    name, known = dated(plain), tuple(models)
    for matches in _matches(plain, name):
        if found := tuple(model for model in known if matches(model)):
            return found
    return ()


def _matches(plain: str, name: DatedName) -> Iterator[Callable[[Model], bool]]:
    """The kinds of match, the nearest first."""
    yield lambda model: plain in (model.name, *model.aliases)
    yield lambda model: plain in _ids(model)
    yield lambda model: not _is_another(model, name) and any(name.agrees(dated(own)) for own in (model.name, *model.aliases))
    yield lambda model: not _is_another(model, name) and any(name.agrees(dated(own)) for own in _ids(model))


def _is_another(model: Model, name: DatedName) -> bool:
    """Whether the model's name or its id is the asked one with another date."""
    return any(own.stem == name.stem and not own.agrees(name) for own in map(dated, (model.name, *_ids(model))))


def _ids(model: Model) -> tuple[str, ...]:
    """What its endpoints call the model."""
    return tuple(place.model_id for place in model.places)
