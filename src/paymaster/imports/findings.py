"""What became of each field of another tool's config: carried, changed, or without a counterpart; knows no tool and no field."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from paymaster.registry.secrets import looks_like_a_secret
from paymaster.registry.yamltext import Document, KeyPath, Plain, dotted

_MOST_TARGETS = 3


class Outcome(StrEnum):
    """What became of a field."""

    CARRIED = "carried"
    CHANGED = "changed"
    NO_COUNTERPART = "no counterpart"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What became of one field: the file and line (0: unknown) that it is on, and the keys of the registry that have its value.

    `detail` is how it was changed, or what to do instead.
    """

    path: KeyPath
    file: str
    line: int
    outcome: Outcome
    targets: tuple[str, ...] = ()
    detail: str = ""

    @property
    def field(self) -> str:
        """The field as a person writes it: `model_list[0].litellm_params.rpm`. A name that looks like a key is not shown."""
        shown = tuple("…" if isinstance(part, str) and looks_like_a_secret(part) else part for part in self.path)
        return dotted(shown) or "the file"

    @property
    def text(self) -> str:
        """Where the value is now, and the detail."""
        more = f" and {len(self.targets) - _MOST_TARGETS} more" if len(self.targets) > _MOST_TARGETS else ""
        where = ", ".join(self.targets[:_MOST_TARGETS]) + more
        return ": ".join(part for part in (where, self.detail) if part)


@dataclass(slots=True)
class Findings:
    """Collects what becomes of the fields of a document. What is said of a path counts for every field below it without a word of its own.

    `unknown` words the finding of a field that nothing was said of.
    """

    document: Document
    unknown: str
    _said: dict[KeyPath, tuple[Outcome, str]] = field(default_factory=dict)
    _dropped: dict[KeyPath, str] = field(default_factory=dict)

    def carried(self, path: KeyPath, detail: str = "") -> None:
        """The value is in the registry as it was."""
        self._said[path] = (Outcome.CARRIED, detail)

    def changed(self, path: KeyPath, how: str) -> None:
        """The value is in the registry in another form."""
        self._said[path] = (Outcome.CHANGED, how)

    def no_counterpart(self, path: KeyPath, instead: str) -> None:
        """The value is not in the registry; `instead` is what to do."""
        self._said[path] = (Outcome.NO_COUNTERPART, instead)

    def drop(self, path: KeyPath, instead: str) -> None:
        """The same for everything below the path too, whatever else is said of it."""
        self._dropped.setdefault(path, instead)

    def has(self, path: KeyPath) -> bool:
        """Whether something was said of exactly this path."""
        return path in self._said

    def listed(self, sources: Mapping[KeyPath, Sequence[KeyPath]]) -> tuple[Finding, ...]:
        """One finding for each field, in the order of the file. `sources` has the fields that each key of the registry came from."""
        targets: dict[KeyPath, list[str]] = {}
        for target, paths in sources.items():
            for path in paths:
                targets.setdefault(path, []).append(dotted(target))
        return tuple(self._finding(path, targets) for path in fields_of(self.document.tree))

    def _finding(self, path: KeyPath, targets: Mapping[KeyPath, Sequence[str]]) -> Finding:
        around = [path[:length] for length in range(len(path), -1, -1)]
        dropped = next(((Outcome.NO_COUNTERPART, self._dropped[each]) for each in around if each in self._dropped), None)
        said = next((self._said[each] for each in around if each in self._said), (Outcome.NO_COUNTERPART, self.unknown))
        outcome, detail = dropped or said
        kept = next((targets[each] for each in around if each in targets), ()) if outcome is not Outcome.NO_COUNTERPART else ()
        line = self.document.line(path)
        return Finding(path=path, file=self.document.file, line=line, outcome=outcome, targets=tuple(dict.fromkeys(kept)), detail=detail)


def fields_of(tree: Plain, path: KeyPath = ()) -> Iterator[KeyPath]:
    """The path of each field: of every value that is not itself made of keys. A list of plain values is one field."""
    match tree:
        case dict() if tree:
            for key, value in tree.items():
                yield from fields_of(value, (*path, key))
        case list() if any(isinstance(item, dict | list) and item for item in tree):
            for index, item in enumerate(tree):
                yield from fields_of(item, (*path, index))
        case _:
            yield path
