"""Where environment variables are named in texts, and those texts with the values put in; knows no registry, no environment and no file.

`$NAME` and `${NAME}` are variables, `$$` is a dollar sign. The text under a key that itself begins with `$` is left as it is: such keys
are those of a JSON Schema, whose `$ref: "#/$defs/…"` names no variable.
"""

from collections.abc import Callable, Iterator, Mapping

from paymaster.registry.secrets import filled, variable_names
from paymaster.registry.yamltext import KeyPath

_OF_A_SCHEMA = "$"


def named_in(value: object, path: KeyPath = ()) -> Iterator[tuple[str, KeyPath]]:
    """Every variable that a value names, at any depth, with the path of the text that does."""
    match value:
        case str():
            for name in variable_names(value):
                yield name, path
        case list() | tuple():
            for index, item in enumerate(value):
                yield from named_in(item, (*path, index))
        case Mapping():
            for key, item in value.items():
                if not str(key).startswith(_OF_A_SCHEMA):
                    yield from named_in(item, (*path, str(key)))
        case _:
            pass


def with_values(value: object, value_of: Callable[[str], str | None]) -> object:
    """The value with every variable replaced, at any depth."""
    match value:
        case str():
            return filled(value, value_of)
        case list() | tuple():
            return [with_values(item, value_of) for item in value]
        case Mapping():
            return {key: item if str(key).startswith(_OF_A_SCHEMA) else with_values(item, value_of) for key, item in value.items()}
        case _:
            return value
