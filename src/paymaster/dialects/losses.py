"""Names what a dialect has no word for; knows which dialect a field belongs to, and no field."""

import re
from collections.abc import Iterable, Iterator

from paymaster.dialects.neutral import SHAPE, Extras
from paymaster.registry.models import Dialect


def lost_extras(extras: Extras, dialect: Dialect, where: str = "") -> Iterator[str]:
    """The paths of the fields that only other dialects know. `where` is the path of what has them, empty for the request itself."""
    for other, fields in extras.items():
        if other is not dialect:
            yield from (f"{where}.{name}" if where else name for name in fields if name != SHAPE)


_PLACE = re.compile(r"(\.content)?\.\d+(?=\.|$)")


def without_places(names: Iterable[str]) -> tuple[str, ...]:
    """Each name once, without where it was: `messages.citations` for `messages.4.content.0.citations`."""
    return tuple(dict.fromkeys(_PLACE.sub("", name) for name in names))
