"""A registry in the making: its values, and the fields of another tool's config that each came from; knows no tool."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias, cast

from paymaster.errors import RegistryInvalid
from paymaster.imports.findings import Findings
from paymaster.registry.checking import check
from paymaster.registry.problems import Findings as Mistakes
from paymaster.registry.secrets import looks_like_a_secret
from paymaster.registry.sections import read_sections
from paymaster.registry.yamltext import Document, KeyPath, Plain

Tree: TypeAlias = dict[str, Plain]

_DECISIVE = frozenset({"provider", "model_id", "base_url", "adapter", "dialect"})
"""Without one of these, calls would go to another server or model than the config names: the whole section is left out."""

_DEPTH_OF_MODELS = 3  # models, a name, a key


@dataclass(slots=True)
class Draft:
    """A section with the source of each of its values, by the path in the section."""

    values: Tree = field(default_factory=dict)
    sources: dict[KeyPath, tuple[KeyPath, ...]] = field(default_factory=dict)

    def put(self, keys: tuple[str, ...], value: Plain, *sources: KeyPath) -> None:
        """Set the value at these keys, one inside of the other."""
        inner = self.values
        for key in keys[:-1]:
            found = inner.get(key)
            inner = found if isinstance(found, dict) else cast("Tree", inner.setdefault(key, {}))
        inner[keys[-1]] = value
        self.sources[keys] = (*self.sources.get(keys, ()), *sources)

    def place(self, section: "Draft", at: KeyPath) -> None:
        """Take over the sources of a section whose values are at this path."""
        for keys, sources in section.sources.items():
            self.sources[*at, *keys] = (*self.sources.get((*at, *keys), ()), *sources)

    def sources_at(self, path: KeyPath) -> list[KeyPath]:
        """The fields that the value at this path was made of."""
        return [source for keys, sources in self.sources.items() if keys[: len(path)] == path for source in sources]

    def remove(self, paths: Iterable[KeyPath]) -> dict[KeyPath, list[KeyPath]]:
        """Remove the values at these paths, and what is empty without them; the fields that each was made of."""
        made_of: dict[KeyPath, list[KeyPath]] = {path: [] for path in paths}
        kept: dict[KeyPath, tuple[KeyPath, ...]] = {}
        for keys, sources in self.sources.items():
            around = next((keys[:length] for length in range(1, len(keys) + 1) if keys[:length] in made_of), None)
            if around is None:
                kept[_moved_up(keys, made_of)] = sources
            else:
                made_of[around] += sources
        self.sources = kept
        for path in sorted(made_of, key=_last_first):
            emptied = self._delete(path)
            if emptied != path:
                made_of[path] += self.sources.pop(emptied, ())
        return made_of

    def _delete(self, path: KeyPath) -> KeyPath:
        """Delete the value, and each container that is empty without it; the path of the outermost of these."""
        *outer, last = path
        container = value_at(self.values, tuple(outer))
        if isinstance(container, list) and isinstance(last, int) and last < len(container):
            del container[last]
        elif isinstance(container, dict):
            container.pop(str(last), None)
        if len(path) > _DEPTH_OF_MODELS and value_at(self.values, tuple(outer)) in ({}, []):
            return self._delete(tuple(outer))
        return path


def value_at(tree: Plain, path: KeyPath) -> Plain:
    """The value at a path; None where there is none."""
    for part in path:
        if isinstance(tree, list) and isinstance(part, int) and part < len(tree):
            tree = tree[part]
        elif isinstance(tree, dict):
            tree = tree.get(str(part))
        else:
            return None
    return tree


def leave_out_mistakes(draft: Draft, findings: Findings) -> dict[KeyPath, str]:
    """Remove what the registry's own rules refuse, and report each such field as one without a counterpart; the paths with the reasons.

    A section whose provider, address or model id is refused is removed as a whole. What is left may have other mistakes, as where the
    name of a removed model is used: repeat this until nothing is removed.
    """
    refused = {_refused(draft.values, path): message for path, message in reversed(_mistakes(draft))}
    refused.pop((), None)
    made_of = draft.remove(refused)
    elsewhere = {source for sources in draft.sources.values() for source in sources} if refused else set()
    for path, sources in made_of.items():
        if not sources and isinstance(path[-1], int):
            for source in draft.sources.get(path[:-1], ()):
                findings.changed(source, f"in part: {refused[path]}")
        for source in sources:
            if source not in elsewhere:
                findings.drop(source, f"left out: {refused[path]}")
    return refused


def _mistakes(draft: Draft) -> list[tuple[KeyPath, str]]:
    """The path and the message of every mistake."""
    found = _Paths(Document("", draft.values))
    found.paths += [(path, "a text that looks like a key is not written") for path in _secrets(draft.values)]
    try:
        check(read_sections(found.document, found, {}), found)
    except RegistryInvalid:
        return []
    return found.paths


def _secrets(value: Plain, path: KeyPath = ()) -> Iterator[KeyPath]:
    """The path of every text, and of every key, that looks like a secret."""
    match value:
        case str() if looks_like_a_secret(value):
            yield path
        case dict():
            for key, item in value.items():
                if looks_like_a_secret(key):
                    yield (*path, key)
                else:
                    yield from _secrets(item, (*path, key))
        case list():
            for index, item in enumerate(value):
                yield from _secrets(item, (*path, index))
        case _:
            pass


@dataclass(slots=True)
class _Paths(Mistakes):
    paths: list[tuple[KeyPath, str]] = field(default_factory=list)

    def add(self, path: KeyPath, message: str, suggestion: str = "") -> None:
        self.paths.append((path, f"{message} ({suggestion})" if suggestion else message))


def _refused(tree: Plain, path: KeyPath) -> KeyPath:
    """The nearest value around a mistake that can be removed."""
    while path and value_at(tree, path) is None:
        path = path[:-1]
    decisive = next((index for index, part in enumerate(path) if index > 1 and part in _DECISIVE), None)
    if decisive is not None and path[0] == "models" and "params" not in path[:decisive]:
        path = path[:decisive]
    return () if len(path) < 2 and path not in (("default",), ("policies",)) else path


def _last_first(path: KeyPath) -> tuple[object, ...]:
    return tuple((0, -part, "") if isinstance(part, int) else (1, 0, part) for part in path)


def _moved_up(keys: KeyPath, removed: Mapping[KeyPath, object]) -> KeyPath:
    """The path without the items of lists that are removed before it."""
    if not any(isinstance(part, int) for part in keys):
        return keys
    return tuple(
        part - sum((*keys[:at], before) in removed for before in range(part)) if isinstance(part, int) else part
        for at, part in enumerate(keys)
    )
