"""Fields of one JSON object of chat completions, taken one by one, and what is left of it as extras; knows no field's meaning."""

from collections.abc import Iterator, Mapping
from typing import TypeVar

from paymaster.dialects.losses import lost_extras
from paymaster.dialects.neutral import SHAPE, Extras
from paymaster.jsontypes import JsonObject
from paymaster.registry.models import Dialect

T = TypeVar("T")
_NULLS = "null"


class Unreadable(ValueError):
    """A message that no chat client writes: it stays as it is, and only a chat endpoint can judge it."""


class Fields:
    """An object of which each field is taken once. What has another type than expected stays among the rest."""

    __slots__ = ("_left",)

    def __init__(self, given: JsonObject) -> None:
        self._left = dict(given)

    def take(self, name: str, kind: type[T]) -> T | None:
        """The field if it is of this type; a tuple, as a program may have it, is a list."""
        value = as_list(self._left.get(name))
        if value is None or not isinstance(value, kind):
            return None
        del self._left[name]
        return value

    def forget(self, name: str) -> None:
        """Take a field that says nothing."""
        self._left.pop(name, None)

    def put_back(self, name: str, value: object) -> None:
        """Leave a field that was taken to the rest; None is none."""
        if value is not None:
            self._left[name] = value

    def text(self, name: str) -> str:
        """A text, empty if there is none. An empty one stays among the rest, so that it is written again."""
        value = self._left.get(name)
        if not isinstance(value, str) or (not value and name not in _MAY_BE_EMPTY):
            return ""
        del self._left[name]
        return value

    def flag(self, name: str) -> bool | None:
        """A truth value."""
        return self.take(name, bool)

    def mapping(self, name: str) -> JsonObject | None:
        """An object."""
        return self.take(name, Mapping)  # type: ignore[type-abstract]  # a protocol is fine for isinstance

    @property
    def is_odd(self) -> bool:
        """Whether a field that should be a text is something else."""
        return any(name in _TEXTS and value is not None and not isinstance(value, str) for name, value in self._left.items())

    def rest(self) -> JsonObject:
        """What nobody took."""
        return self._left

    def extras(self, shape: JsonObject | None = None, inner: Mapping[str, JsonObject] | None = None) -> Extras:
        """What nobody took, with the shape and what is left of inner objects; a null field says nothing, and is a shape."""
        nulls = [name for name, value in self._left.items() if value is None]
        found: dict[str, object] = {name: value for name, value in self._left.items() if value is not None}
        found |= {name: fields for name, fields in (inner or {}).items() if fields}
        shapes = {**(shape or {}), **({_NULLS: nulls} if nulls else {})}
        if shapes:
            found[SHAPE] = shapes
        return {Dialect.CHAT: found} if found else {}


def as_list(value: object) -> object:
    """A tuple as the list that it is in JSON; anything else as it is."""
    return list(value) if isinstance(value, tuple) else value


_TEXTS = frozenset({"url", "detail", "file_data", "file_id", "filename"})
_MAY_BE_EMPTY = frozenset({"text", "refusal", "thinking"})


def shape_of(extras: Extras) -> JsonObject:
    """How chat completions wrote it; empty where it did not, or needs no note."""
    found = extras.get(Dialect.CHAT, {}).get(SHAPE)
    return found if isinstance(found, Mapping) else {}


def shape_only(shape: JsonObject) -> Extras:
    """Extras with a shape alone."""
    return {Dialect.CHAT: {SHAPE: shape}} if shape else {}


def own(written: dict[str, object], extras: Extras) -> dict[str, object]:
    """The written object with the fields that only chat completions knows; those of an inner object join it."""
    for name, value in extras.get(Dialect.CHAT, {}).items():
        if name == SHAPE:
            continue
        written[name] = _joined(written.get(name), value)
    nulls = shape_of(extras).get(_NULLS)
    for name in nulls if isinstance(nulls, list) else ():
        written[name] = None
    return written


def _joined(written: object, left: object) -> object:
    if not isinstance(written, Mapping) or not isinstance(left, Mapping):
        return left
    return {**written, **{name: _joined(written.get(name), value) for name, value in left.items()}}


def extras_of(extras: Extras, where: str) -> Iterator[str]:
    """What chat completions has no word for, by path."""
    return lost_extras(extras, Dialect.CHAT, where)
