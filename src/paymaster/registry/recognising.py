"""Recognises files of other programs by their content and name; knows forms of files, and no program: the rows do."""

import json
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePath

from paymaster.errors import Problem
from paymaster.registry.client_files import CLIENT_FILES
from paymaster.registry.file_kinds import OtherFile
from paymaster.registry.other_files import OTHER_FILES
from paymaster.registry.yamltext import MOST_BYTES, read_loosely

FILE_KINDS = (*OTHER_FILES, *CLIENT_FILES)
ITEM = "[]"
_FORM, _NAME = "form:", "name:"
_SCHEMA = "$schema="
"""The sign of a file that states what it is, whatever else it has."""

_MAGIC: Mapping[bytes, str] = {b"SQLite format 3\x00": "sqlite", b"\x1f\x8b": "gzip", b"PK\x03\x04": "zip"}
_OWN_KEYS = frozenset({"provider", "model_id", "base_url", "endpoints"})
"""A model of a registry has one of these."""

_VARIABLE_LINE = re.compile(r"(export\s+)?([A-Za-z_][A-Za-z0-9_]*=|[A-Z_][A-Z0-9_]*\s*=).*")
_TEXT_OR_COMMENT = re.compile(r'("(?:\\.|[^"\\])*")|//[^\n]*|/\*.*?\*/', re.DOTALL)
_TRAILING_COMMA = re.compile(r'("(?:\\.|[^"\\])*")|,(?=\s*[}\]])')
_TOML_BEGINS = re.compile(r"(?:\s|#[^\n]*\n)*(?:\[|[\w.\"'-]+[ \t]*=)")
_DOCUMENT_MARK = re.compile(r"^---.*$", re.MULTILINE)
_COLUMN = re.compile(r"[A-Za-z_][\w .()/$-]*")
_FEWEST_COLUMNS, _LONGEST_LINE = 3, 10_000
_BEGINNING_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class _Given:
    """A file as the signs look at it: its name without the folder, its form, and its content."""

    name: str
    form: str
    tree: object


def is_registry(tree: object) -> bool:
    """Whether a document is meant as a registry, with whatever mistakes."""
    if not isinstance(tree, dict):
        return False
    models = tree.get("models")
    return "model_registry" in tree or (
        isinstance(models, dict) and any(isinstance(model, dict) and not _OWN_KEYS.isdisjoint(model) for model in models.values())
    )


def recognise(file: str, data: bytes, *, yaml: bool = True) -> OtherFile | None:
    """What kind of file of another program this is; None if it is a registry, or nothing known. `data` may be its beginning alone.

    Without `yaml` it is not read as YAML, which takes a hundred times longer than any other form.
    """
    form, tree = _content(PurePath(file).name, data if len(data) <= MOST_BYTES else data[:_BEGINNING_BYTES], yaml=yaml)
    return recognise_content(file, form, tree) if form or yaml else None


def recognise_content(file: str, form: str, tree: object) -> OtherFile | None:
    """The same for a file that has been read."""
    given = _Given(PurePath(file).name, form, tree)
    ours = form != "toml" and is_registry(tree)
    embedded = ours and isinstance(tree, dict) and "models" not in tree
    for row in FILE_KINDS:
        for signs in row.signs:
            # A registry stays one with any wrong key, unless the file states its kind or is a config with a registry in it.
            if (not ours or signs[0].startswith(_SCHEMA) or (embedded and row.embeds)) and _fits(signs, given):
                return row
    return None


def problem_of(row: OtherFile, file: str) -> Problem:
    """The mistake of a file that is no registry."""
    name = shlex.quote(file)
    path = name if "/" in file else shlex.quote(f"./{file}")
    return Problem(file, 0, "", f"this is {row.title}, not a registry", row.advice.format(file=name, path=path))


def _fits(signs: Sequence[str], given: _Given) -> bool:
    return all(_has(sign, given) for sign in signs)


def _has(sign: str, given: _Given) -> bool:
    if sign.startswith(_FORM):
        return given.form == sign.removeprefix(_FORM)
    if sign.startswith(_NAME):
        return fnmatchcase(given.name, sign.removeprefix(_NAME))
    path, _, pattern = sign.partition("=")
    found = _values(given.tree, path.split("."))
    return any(not pattern or (isinstance(value, str) and fnmatchcase(value, pattern)) for value in found)


def _values(tree: object, path: Sequence[str]) -> Iterator[object]:
    """Every value to which a path leads."""
    if not path:
        yield tree
    elif isinstance(tree, list) and path[0] == ITEM:
        for item in tree:
            yield from _values(item, path[1:])
    elif isinstance(tree, dict):
        for key, value in tree.items():
            if fnmatchcase(str(key), path[0]):
                yield from _values(value, path[1:])


def _content(name: str, data: bytes, *, yaml: bool) -> tuple[str, object]:
    """The form of a file, and what it has in this form; no form if it has none that is known."""
    for magic, form in _MAGIC.items():
        if data.startswith(magic):
            return form, None
    text = data.decode("utf-8-sig", "replace")
    for form, read in _forms(name, text):
        if (yaml or form != "yaml") and (tree := read(text)) is not None:
            return form, tree
    return "", None


def _forms(name: str, text: str) -> Iterable[tuple[str, Callable[[str], object]]]:
    """The forms that a text may have, with their readers, those with the strictest rules first: nearly every text is a YAML text."""
    if name.endswith(".toml"):
        return (("toml", _read_toml),)
    if text.lstrip()[:1] in ("{", "[", "/"):
        return ("json", _read_json), ("lines", _read_lines), ("toml", _read_toml), ("yaml", _read_yaml)
    return ("env", _read_variables), ("csv", _read_columns), ("toml", _read_toml), ("yaml", _read_yaml)


def _read_json(text: str) -> object:
    """JSON, also with comments and trailing commas."""
    with suppress(ValueError, RecursionError):
        return json.loads(text)
    with suppress(ValueError, RecursionError):
        return json.loads(_TRAILING_COMMA.sub(r"\1", _TEXT_OR_COMMENT.sub(r"\1", text)))
    return None


def _read_lines(text: str) -> object:
    """The first line of JSON lines."""
    first, _, rest = text.lstrip().partition("\n")
    try:
        tree = json.loads(first)
    except (ValueError, RecursionError):
        return None
    return tree if isinstance(tree, dict) and rest.lstrip().startswith("{") else None


def _read_toml(text: str) -> object:
    if _TOML_BEGINS.match(text) is None:
        return None
    import tomllib  # nearly every file is YAML

    try:
        return tomllib.loads(text) or None
    except (ValueError, RecursionError):
        return None


def _read_yaml(text: str) -> object:
    """The first document that is more than a text. A text alone is no YAML that anybody meant."""
    trees = (read_loosely(part) for part in _DOCUMENT_MARK.split(text) if part.strip())
    return next((tree for tree in trees if isinstance(tree, dict | list)), None)


def _read_variables(text: str) -> object:
    """The names of the variables, if every line sets one."""
    lines = [line.strip() for line in text.splitlines()]
    written = [line for line in lines if line and not line.startswith("#")]
    if not written or not all(_VARIABLE_LINE.fullmatch(line) for line in written):
        return None
    return {line.removeprefix("export").partition("=")[0].strip(): None for line in written}


def _read_columns(text: str) -> object:
    """The names of a table's columns."""
    lines = text.split("\n", 2)[:2]
    if len(lines) < 2 or max(map(len, lines)) > _LONGEST_LINE or min(line.count(",") for line in lines) < _FEWEST_COLUMNS - 1:
        return None
    import csv  # nearly every file is YAML

    names, values = csv.reader(lines)
    names = [name.strip() for name in names]
    is_table = len(names) == len(values) >= _FEWEST_COLUMNS and all(_COLUMN.fullmatch(name) for name in names)
    return dict.fromkeys(names) if is_table else None
