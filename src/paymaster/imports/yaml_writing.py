"""Writes a registry as YAML for people: small sections on a line, others in blocks, comments above; knows no key's meaning."""

import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal

from paymaster.registry.yamltext import KeyPath, Plain

_PLAIN = re.compile(r"[A-Za-z_$/][A-Za-z0-9_.$/@+-]*(:[A-Za-z0-9_.$/@+-]+)*")
_WORDS = frozenset({"true", "false", "yes", "no", "on", "off", "null", "none", "y", "n", "nan", "inf"})
_BLOCKS = frozenset({"model_registry", "models", "policies", "endpoints"})
_WIDTH = 120
_INDENT = "  "
_SPACED = 10_000


def yaml_text(tree: Mapping[str, Plain], comments: Mapping[KeyPath, Sequence[str]]) -> str:
    """The text of a map. `comments` are lines above the key at a path."""
    return "".join(f"{line}\n" for line in _map_lines(tree, (), comments))


def _map_lines(tree: Mapping[str, Plain], path: KeyPath, comments: Mapping[KeyPath, Sequence[str]]) -> Iterator[str]:
    for index, (key, value) in enumerate(tree.items()):
        at = (*path, key)
        if index and len(path) < 2 and isinstance(value, dict) and value:
            yield ""
        yield from (f"# {line}" for line in comments.get(at, ()))
        head = f"{_text(key)}:"
        flat = None if _is_block(at, value) else f"{head} {_flow(value)}"
        if flat is not None and len(flat) + len(_INDENT) * len(path) <= _WIDTH:
            yield flat
        elif isinstance(value, dict) and value:
            yield head
            yield from (f"{_INDENT}{line}" if line else "" for line in _map_lines(value, at, comments))
        elif isinstance(value, list) and any(isinstance(item, dict) and item for item in value):
            yield head
            yield from (f"{_INDENT}{line}" for line in _list_lines(value, at, comments))
        else:
            yield f"{head} {_flow(value)}"


def _is_block(path: KeyPath, value: Plain) -> bool:
    """Whether a section is never written on one line: the large ones, and each model."""
    is_model = len(path) > 1 and path[-2] == "models" and isinstance(value, dict)
    several = isinstance(value, list) and any(isinstance(item, dict) and item for item in value)
    return is_model or several or (path[-1] in _BLOCKS and bool(value) and isinstance(value, dict | list))


def _list_lines(items: Sequence[Plain], path: KeyPath, comments: Mapping[KeyPath, Sequence[str]]) -> Iterator[str]:
    for index, item in enumerate(items):
        at = (*path, index)
        yield from (f"# {line}" for line in comments.get(at, ()))
        flat = f"- {_flow(item)}"
        if not isinstance(item, dict) or not item or (path[-1] not in _BLOCKS and len(flat) <= _WIDTH):
            yield flat
            continue
        first, *rest = _map_lines(item, at, comments)
        yield f"- {first}"
        yield from (f"{_INDENT}{line}" for line in rest)


def _flow(value: Plain) -> str:
    """A value on one line."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int():
            return f"{value:_}" if abs(value) >= _SPACED else str(value)
        case Decimal():
            return _number(value)
        case str():
            return _text(value)
        case list():
            return f"[{', '.join(map(_flow, value))}]"
        case _:
            return "{" + ", ".join(f"{_text(key)}: {_flow(item)}" for key, item in value.items()) + "}"


def _number(value: Decimal) -> str:
    if not value.is_finite():
        return ".nan" if value.is_nan() else ".inf" if value > 0 else "-.inf"
    return f"{value:f}" if abs(value.adjusted()) < 20 else f"{value:e}"


def _text(text: str) -> str:
    """A text as it is, where YAML reads it as this text; else in quotes."""
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    return '"' + "".join(_quoted(char) for char in text) + '"'


def _quoted(char: str) -> str:
    if char in '"\\':
        return f"\\{char}"
    if char.isprintable():
        return char
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
