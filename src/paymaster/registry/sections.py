"""Finds the registry in a document and reads the valid keys of each section; knows layouts, not how sections fit together."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from paymaster.errors import RegistryInvalid
from paymaster.registry.price_schema import BaseSection
from paymaster.registry.problems import Findings
from paymaster.registry.schema import ModelSection, PolicySection, PricesSection, RegistrySection
from paymaster.registry.values import read_text
from paymaster.registry.yamltext import Document, KeyPath, Plain

REGISTRY_KEY = "model_registry"
POLICIES_KEY = "policies"
SCHEMA_KEY = "$schema"
"""For editors: the schema of the file. Ignored here."""

_KNOWN = tuple(RegistrySection.model_fields)
_PLACEHOLDER_PROVIDER = "openai_compatible"

S = TypeVar("S", bound=BaseSection)


@dataclass(frozen=True, slots=True)
class Written:
    """A document's sections. Invalid keys are left out of their section, and their paths are in `invalid`.

    `root` and `policy_path` are the paths of the registry and of its policy, for messages.
    """

    document: Document
    root: KeyPath
    policy_path: KeyPath
    default: str | None
    models: Mapping[str, ModelSection]
    policy: PolicySection
    invalid: frozenset[KeyPath] = field(default_factory=frozenset)
    prices: PricesSection = field(default_factory=PricesSection)

    def model_path(self, name: str, *keys: str | int) -> KeyPath:
        """The path of a model, or of one of its keys."""
        return (*self.root, "models", name, *keys)

    def origin(self, path: KeyPath) -> str:
        """Where a value was read, for a reader: `registry line 7`."""
        line = self.document.line(path)
        return f"registry line {line}" if line else "registry"

    def is_valid(self, *paths: KeyPath) -> bool:
        """Whether none of these keys is invalid."""
        return self.invalid.isdisjoint(paths)


def read_sections(document: Document, findings: Findings, *, embedded: bool) -> Written:
    """Every section of the registry in `document`. With `embedded`, keys beside `model_registry:` belong to another program.

    Raises RegistryInvalid if there is no registry at all.
    """
    tree, root, policy_path = _find(document, findings, embedded=embedded)
    invalid: set[KeyPath] = set()
    models = {
        name: _read(ModelSection, value, (*root, "models", name), findings, invalid, {"provider": _PLACEHOLDER_PROVIDER})
        for name, value in _models(tree.get("models"), root, findings).items()
    }
    policies = value_at(document.tree, policy_path)
    policy = PolicySection() if policies is None else _read(PolicySection, policies, policy_path, findings, invalid, {})
    default = _default(tree.get("default"), (*root, "default"), findings, invalid)
    written_prices = tree.get("prices")
    prices = PricesSection() if written_prices is None else _read(PricesSection, written_prices, (*root, "prices"), findings, invalid, {})
    return Written(document, root, policy_path, default, models, policy, frozenset(invalid), prices)


def _find(document: Document, findings: Findings, *, embedded: bool) -> tuple[Mapping[str, Plain], KeyPath, KeyPath]:
    """The registry's own map, its path, and the path of its policies."""
    tree = document.tree
    if tree is None:
        raise _no_registry(findings, "the file is empty", "a registry starts with models:, see: paymaster init")
    if not isinstance(tree, dict):
        raise _no_registry(findings, "must be a map of keys and values, with models: at its top")
    root: KeyPath = (REGISTRY_KEY,) if REGISTRY_KEY in tree else ()
    if not root and (embedded or "models" not in tree):
        keys = [key for key in tree if key != SCHEMA_KEY]
        if not embedded:
            for key in keys:
                if key not in _KNOWN:
                    findings.add_unknown_key((key,), (REGISTRY_KEY, *_KNOWN))
        raise _no_registry(findings, "there is neither model_registry: nor models: here", "see: paymaster init")
    inner = tree[REGISTRY_KEY] if root else tree
    if not isinstance(inner, dict):
        findings.add(root, "must be a map with models: in it")
        raise RegistryInvalid(findings.problems)
    beside = POLICIES_KEY in tree and bool(root) and not embedded
    if beside and POLICIES_KEY in inner:
        findings.add((POLICIES_KEY,), f"policies are given twice, also on line {document.line((*root, POLICIES_KEY))}", "join the two")
    if root and not embedded:
        _refuse_unknown_keys(tree, (), (REGISTRY_KEY, POLICIES_KEY), findings)
    _refuse_unknown_keys(inner, root, _KNOWN, findings)
    return inner, root, ((POLICIES_KEY,) if beside and POLICIES_KEY not in inner else (*root, POLICIES_KEY))


def _no_registry(findings: Findings, message: str, suggestion: str = "") -> RegistryInvalid:
    findings.add((), message, suggestion)
    return RegistryInvalid(findings.sorted())


def _refuse_unknown_keys(section: Mapping[str, Plain], path: KeyPath, known: tuple[str, ...], findings: Findings) -> None:
    for key in section:
        if key not in known and key != SCHEMA_KEY:
            findings.add_unknown_key((*path, key), known)


def _models(value: Plain, root: KeyPath, findings: Findings) -> Mapping[str, Plain]:
    path = (*root, "models")
    if not isinstance(value, dict) or not value:
        example = "models: {gpt-4o: {provider: openai, model_id: gpt-4o}}"
        findings.add(path, "must be a map with at least one model, each under its name", example)
        return {}
    for name in value:
        if name == "default":
            findings.add((*path, name), "the name default is reserved for the default model")
        elif not name.strip() or not name.isprintable():
            findings.add((*path, name), "a model's name must be printable text")
    return value


def _read(section: type[S], value: Plain, path: KeyPath, findings: Findings, invalid: set[KeyPath], required: Mapping[str, str]) -> S:
    """The section without its invalid keys, which are reported. `required` supplies keys that a section must have."""
    if not isinstance(value, dict):
        findings.add(path, "must be a map of keys and values")
        invalid.update((*path, key) for key in section.model_fields)
        return section.model_validate(required)
    try:
        return section.model_validate(value)
    except ValidationError as error:
        findings.add_validation(error, section, path)
        invalid_keys = {str(detail["loc"][0]) for detail in error.errors(include_url=False, include_input=False)}
        invalid.update((*path, key) for key in invalid_keys)
        return section.model_validate({**required, **{key: item for key, item in value.items() if key not in invalid_keys}})


def _default(value: Plain, path: KeyPath, findings: Findings, invalid: set[KeyPath]) -> str | None:
    if value is None:
        return None
    try:
        return read_text(value)
    except PydanticCustomError:
        findings.add(path, "must be the name of a model")
        invalid.add(path)
        return None


def value_at(tree: Plain, path: KeyPath) -> Plain:
    """The value at a path; None where there is none."""
    for part in path:
        tree = tree.get(str(part)) if isinstance(tree, dict) else None
    return tree
