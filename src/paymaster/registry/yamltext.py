"""Reads YAML into plain values and keeps the line of every key; knows the YAML language and nothing about registries.

Numbers with a fraction or an exponent become Decimal straight from their text, so no price passes through a float. `5e-3`, a string in
YAML 1.1, is a number here, and so is `1_000`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import TypeAlias, Union, cast

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from paymaster.errors import Problem, RegistryInvalid

Plain: TypeAlias = Union[bool, int, Decimal, str, list["Plain"], dict[str, "Plain"], None]  # noqa: UP007 - `|` takes no names in quotes
"""A YAML value once read. Keys are always text: `2025:` is the key "2025"."""

KeyPath: TypeAlias = tuple[str | int, ...]
"""The keys and list positions that lead from the top of the file to a value."""

LONGEST_INTEGER = 100
MOST_VALUES = 1_000_000
"""Of one file, with every use of an anchor: a few lines of anchors inside of anchors could otherwise fill the memory."""
_TAG = "tag:yaml.org,2002:"


@dataclass(frozen=True, slots=True)
class Document:
    """A file as read: `tree` is its content, `lines` has the line (from 1) of each key and item, `file` is its name for messages."""

    file: str
    tree: Plain
    lines: Mapping[KeyPath, int] = field(default_factory=dict)

    def line(self, path: KeyPath) -> int:
        """The line of the value at `path`, else of the nearest value around it; 0 for a document without lines."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 0)


MOST_BYTES = 16 * 1024 * 1024
"""No registry is larger. Of a larger file only the beginning is read."""


def read_file(path: Path) -> str:
    """The text of a file, which must exist, be a file and be UTF-8. Raises RegistryInvalid."""
    return decode(read_bytes(path), str(path))


def read_bytes(path: Path) -> bytes:
    """The content of a file, of a large one the beginning. Raises RegistryInvalid."""
    name = str(path)
    try:
        with path.open("rb") as file:
            return file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        raise _invalid(name, 0, "file not found", "create one with: paymaster init") from None
    except IsADirectoryError:
        raise _invalid(name, 0, "this is a directory, not a YAML file") from None
    except OSError as error:
        raise _invalid(name, 0, f"can't be read: {error.strerror or error}") from error


def decode(data: bytes, file: str) -> str:
    """The text of a file's content. Raises RegistryInvalid."""
    if len(data) > MOST_BYTES:
        raise _invalid(file, 0, f"larger than {MOST_BYTES // 1024**2} MB, which no registry is")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _invalid(file, line, "not UTF-8 text", "save the file as UTF-8") from None


def read_yaml(text: str, file: str) -> Document:
    """Parse one YAML document. Raises RegistryInvalid with every duplicate key, or with the first syntax error."""
    try:
        return _read(text, file)
    except RecursionError:
        raise _invalid(file, 0, "invalid YAML: values are nested too deeply") from None


def _read(text: str, file: str) -> Document:
    try:
        root = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        raise _syntax_error(error, text, file) from None
    except YAMLError as error:
        position = getattr(error, "position", 0)  # only the reader's error has one
        line = text.count("\n", 0, position) + 1
        raise _invalid(file, line, "invalid YAML: a control character") from None
    builder = _Builder(file)
    tree = builder.value(root, ()) if root is not None else None
    if builder.problems:
        raise RegistryInvalid(builder.problems)
    return Document(file, tree, builder.lines if tree is not None else {(): 1})


def read_loosely(text: str) -> Plain:
    """The content of a YAML document, whatever its mistakes; None if it can't be parsed."""
    try:
        root = YAML(typ="safe", pure=True).compose(text)
        return None if root is None else _Builder("").value(root, ())
    except (YAMLError, RecursionError, RegistryInvalid):
        return None


def _syntax_error(error: MarkedYAMLError, text: str, file: str) -> RegistryInvalid:
    """The parser's message without the text around the mistake, which may hold a key."""
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark is not None else 0
    line_text = text.split("\n")[line - 1]
    indent = line_text[: len(line_text) - len(line_text.lstrip())]
    problem = str(error.problem)
    if "\t" in indent or repr("\t") in problem:
        return _invalid(file, line, "invalid YAML: indented with a tab", "use spaces")
    if "another document" in problem:
        return _invalid(file, line, "a second YAML document starts here; a registry must be one document")
    context_line = error.context_mark.line + 1 if error.context_mark is not None else line
    context = f", {error.context} that begins on line {context_line}" if context_line != line else ""
    return _invalid(file, line, f"invalid YAML: {problem}{context}")


class _Builder:
    """Turns nodes into plain values, collecting lines and problems on the way."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.lines: dict[KeyPath, int] = {}
        self.problems: list[Problem] = []
        self._left = MOST_VALUES
        self._open: set[int] = set()  # the nodes around the one being read; one of them again is a value that contains itself

    def value(self, node: Node, path: KeyPath) -> Plain:
        self._left -= 1
        if self._left < 0:
            raise _invalid(self.file, node.start_mark.line + 1, f"more than {MOST_VALUES:,} values, counting each use of an anchor")
        self.lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, ScalarNode):
            return self._scalar(node, path)
        if id(node) in self._open:
            self._problem(node, path, "this value contains itself")
            return None
        self._open.add(id(node))
        try:
            if isinstance(node, SequenceNode):
                return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
            return self._mapping(cast("MappingNode", node), path)
        finally:
            self._open.discard(id(node))

    def _mapping(self, node: MappingNode, path: KeyPath) -> dict[str, Plain]:
        result: dict[str, Plain] = {}
        merged: dict[str, Plain] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, ScalarNode):
                self._problem(key_node, path, "a key must be plain text")
            elif key_node.tag == f"{_TAG}merge":
                for inherited in self._inherited(value_node, path):
                    merged = {**inherited, **merged}
            elif key_node.value in result:
                key = key_node.value
                message = f"duplicate key, first on line {self.lines[*path, key]}"
                self.problems.append(Problem(self.file, line, dotted((*path, key)), message))
            else:
                self.lines[*path, key_node.value] = line
                result[key_node.value] = self.value(value_node, (*path, key_node.value))
        return {**merged, **result}

    def _inherited(self, node: Node, path: KeyPath) -> Iterator[dict[str, Plain]]:
        """The maps that `<<: *base` or `<<: [*base, *other]` merges in; the first one wins."""
        for source in node.value if isinstance(node, SequenceNode) else (node,):
            before = dict(self.lines)
            value = self.value(source, path)
            self.lines |= before  # the map's own keys keep their lines
            if isinstance(value, dict):
                yield value
            else:
                self._problem(source, path, "`<<` merges maps, and this is not a map")

    def _scalar(self, node: ScalarNode, path: KeyPath) -> Plain:
        text = str(node.value)
        match str(node.tag).removeprefix(_TAG):
            case "null":
                return None
            case "bool":
                return text.lower() == "true"
            case "int" | "float" as tag:
                try:
                    return _integer(text) if tag == "int" else _decimal(text)
                except (ValueError, ArithmeticError):
                    self._problem(node, path, "this is tagged as a number but isn't one")
            case "str" | "timestamp" | "value":
                return text
            case tag:
                self._problem(node, path, f"the tag {tag} is not supported")
        return None

    def _problem(self, node: Node, path: KeyPath, message: str) -> None:
        self.problems.append(Problem(self.file, node.start_mark.line + 1, dotted(path), message))


def _integer(text: str) -> int | Decimal:
    if len(text) > LONGEST_INTEGER:
        return _decimal(text)  # too large for any key; the schema refuses it, and a conversion to int would be slow
    sign, digits = (-1, text[1:]) if text[0] == "-" else (1, text.lstrip("+"))
    base = {"0b": 2, "0o": 8, "0x": 16}.get(digits[:2].lower(), 10)
    return sign * int(digits.replace("_", ""), base)


def _decimal(text: str) -> Decimal:
    return Decimal(text.replace("_", "").lower().replace(".inf", "inf").replace(".nan", "nan"))


def dotted(path: KeyPath) -> str:
    """A key path as a person writes it: `models.gpt-4o.tiers[0]`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _invalid(file: str, line: int, message: str, suggestion: str = "") -> RegistryInvalid:
    return RegistryInvalid([Problem(file, line, "", message, suggestion)])
