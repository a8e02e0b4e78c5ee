"""Joins a LiteLLM config with the files that its `include` names, as LiteLLM does: lists are extended, anything else is replaced."""

from dataclasses import dataclass, replace

from paymaster.imports.findings import Finding, Outcome, fields_of
from paymaster.registry.yamltext import Document, KeyPath, Plain

INCLUDE = "include"


@dataclass(frozen=True, slots=True)
class Joined:
    """The joined config. `files` has the file of each part from elsewhere, `replaced` the fields that another file replaces."""

    document: Document
    files: tuple[tuple[KeyPath, str], ...] = ()
    replaced: tuple[Finding, ...] = ()

    def file_of(self, path: KeyPath) -> str:
        """The file that a field is in."""
        return next((file for part, file in reversed(self.files) if path[: len(part)] == part), self.document.file)

    def located(self, findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
        """The findings with their files, and those of replaced fields."""
        if not self.files:
            return findings
        return (*(replace(finding, file=self.file_of(finding.path)) for finding in findings), *self.replaced)


def included(tree: Plain) -> list[str]:
    """The files that a config names, in order."""
    named = tree.get(INCLUDE) if isinstance(tree, dict) else None
    return [name for name in named if isinstance(name, str) and name] if isinstance(named, list) else []


def join(joined: Joined, other: Document) -> Joined:
    """The config with another file of its `include`."""
    tree = dict(joined.document.tree) if isinstance(joined.document.tree, dict) else {}
    lines, files, replaced = dict(joined.document.lines), list(joined.files), list(joined.replaced)
    for key, value in (other.tree if isinstance(other.tree, dict) else {}).items():
        if key == INCLUDE:
            continue
        before = tree.get(key)
        start = len(before) if isinstance(before, list) and isinstance(value, list) else None
        if start is None and key in tree:
            replaced += _replaced(joined, key, before, other.file)
        tree[key] = [*before, *value] if isinstance(before, list) and isinstance(value, list) else value
        for path, line in other.lines.items():
            if path[:1] == (key,):
                lines[_moved(path, start)] = line
        added = range(start, start + len(value)) if start is not None and isinstance(value, list) else ()
        files += [((key, index), other.file) for index in added] or [((key,), other.file)]
    return Joined(Document(joined.document.file, tree, lines), tuple(files), tuple(replaced))


def _moved(path: KeyPath, start: int | None) -> KeyPath:
    return path if start is None or len(path) < 2 or not isinstance(path[1], int) else (path[0], path[1] + start, *path[2:])


def _replaced(joined: Joined, key: str, value: Plain, by: str) -> list[Finding]:
    """A finding for each field below a key that another file has again."""
    detail = f"{by}, which is included, replaces this section"
    return [
        Finding(path=path, file=joined.file_of(path), line=joined.document.line(path), outcome=Outcome.CHANGED, detail=detail)
        for path in fields_of(value, (key,))
    ]
