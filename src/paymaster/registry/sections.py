"""Finds the registry in a document and reads the valid keys of each section; knows layouts, not how sections fit together."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from paymaster.errors import RegistryInvalid
from paymaster.registry.endpoints import WrittenPlace, places_of
from paymaster.registry.model_schema import EndpointSection, ModelSection, PlaceSection
from paymaster.registry.price_schema import BaseSection
from paymaster.registry.problems import Findings
from paymaster.registry.schema import PolicySection, PricesSection, RegistrySection
from paymaster.registry.secrets import filled, variable_names
from paymaster.registry.values import read_address, read_text
from paymaster.registry.yamltext import Document, KeyPath, Plain

REGISTRY_KEY = "model_registry"
POLICIES_KEY = "policies"
ENDPOINTS = "endpoints"
SCHEMA_KEY = "$schema"
"""For editors: the schema of the file. Ignored here."""

_KNOWN = tuple(RegistrySection.model_fields)
_PLACEHOLDER_PROVIDER = "openai_compatible"

S = TypeVar("S", bound=BaseSection)
P = TypeVar("P", bound=PlaceSection)


@dataclass(frozen=True, slots=True)
class Written:
    """A document's sections. Invalid keys are left out of their section, and their paths are in `invalid`.

    `root` and `policy_path` are the paths of the registry and of its policy, for messages. `places` has the endpoints of each model, or
    the model itself, with all their values.
    """

    document: Document
    root: KeyPath
    policy_path: KeyPath
    default: str | None
    models: Mapping[str, ModelSection]
    places: Mapping[str, tuple[WrittenPlace, ...]]
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


def registry_part(document: Document) -> Document:
    """What of another program's config is a registry: `model_registry:`, with `policies:` beside it; the lines are the file's."""
    tree = document.tree if isinstance(document.tree, dict) else {}
    return replace(document, tree={key: value for key, value in tree.items() if key in (REGISTRY_KEY, POLICIES_KEY)})


def read_sections(document: Document, findings: Findings, environ: Mapping[str, str]) -> Written:
    """Every section of the registry in `document`.

    Variables in addresses are replaced by their values in `environ`; those that are not set stay. Raises RegistryInvalid if there is no
    registry at all.
    """
    tree, root, policy_path = _find(document, findings)
    invalid: set[KeyPath] = set()
    reader = _ModelReader(findings, invalid, environ)
    models = {name: reader.model(value, (*root, "models", name)) for name, value in _models(tree.get("models"), root, findings).items()}
    places = {name: places_of(name, section, (*root, "models", name), document) for name, section in models.items()}
    policies = value_at(document.tree, policy_path)
    policy = PolicySection() if policies is None else _read(PolicySection, policies, policy_path, findings, invalid, {})
    default = _default(tree.get("default"), (*root, "default"), findings, invalid)
    written_prices = tree.get("prices")
    prices = PricesSection() if written_prices is None else _read(PricesSection, written_prices, (*root, "prices"), findings, invalid, {})
    return Written(document, root, policy_path, default, models, places, policy, frozenset(invalid), prices)


def _find(document: Document, findings: Findings) -> tuple[Mapping[str, Plain], KeyPath, KeyPath]:
    """The registry's own map, its path, and the path of its policies."""
    tree = document.tree
    if tree is None:
        raise _no_registry(findings, "the file is empty", "a registry starts with models:, see: paymaster init")
    if not isinstance(tree, dict):
        raise _no_registry(findings, "must be a map of keys and values, with models: at its top")
    root: KeyPath = (REGISTRY_KEY,) if REGISTRY_KEY in tree else ()
    if not root and "models" not in tree:
        _refuse_unknown_keys(tree, (), (REGISTRY_KEY, *_KNOWN), findings)
        raise _no_registry(findings, "there is neither model_registry: nor models: here", "see: paymaster init")
    inner = tree[REGISTRY_KEY] if root else tree
    if not isinstance(inner, dict):
        findings.add(root, "must be a map with models: in it")
        raise RegistryInvalid(findings.problems)
    beside = POLICIES_KEY in tree and bool(root)
    if beside and POLICIES_KEY in inner:
        findings.add((POLICIES_KEY,), f"policies are given twice, also on line {document.line((*root, POLICIES_KEY))}", "join the two")
    if root:
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
    foreign = findings.add_other_references(value, path)
    invalid.update((*path, key) for key in foreign)
    try:
        return section.model_validate(value)
    except ValidationError as error:
        findings.add_validation(error, section, path, besides=foreign)
        invalid_keys = {str(detail["loc"][0]) for detail in error.errors(include_url=False, include_input=False)}
        invalid.update((*path, key) for key in invalid_keys)
        return section.model_validate({**required, **{key: item for key, item in value.items() if key not in invalid_keys}})


@dataclass(frozen=True, slots=True)
class _ModelReader:
    """Reads models with their endpoints."""

    findings: Findings
    invalid: set[KeyPath]
    environ: Mapping[str, str]

    def model(self, value: Plain, path: KeyPath) -> ModelSection:
        """One model. Endpoints are read one by one, so that a mistake in one leaves the others valid."""
        own = {key: item for key, item in value.items() if key != ENDPOINTS} if isinstance(value, dict) else value
        section = self._addressed(_read(ModelSection, own, path, self.findings, self.invalid, {}), path)
        written = value.get(ENDPOINTS) if isinstance(value, dict) else None
        endpoints = [] if written is None else self._endpoints(written, (*path, ENDPOINTS))
        if not endpoints or (*path, "provider") in self.invalid:
            section = self._with_provider(section, path)
        if not section.provider:
            endpoints = [self._with_provider(each, (*path, ENDPOINTS, index)) for index, each in enumerate(endpoints)]
        return section.model_copy(update={ENDPOINTS: endpoints or None})

    def _endpoints(self, value: Plain, path: KeyPath) -> list[EndpointSection]:
        if not isinstance(value, list) or not value:
            self.findings.add(path, "must be a list with at least one endpoint", "endpoints: [{name: direct}, {name: eu, region: eu}]")
            return []
        return [
            self._addressed(
                _read(EndpointSection, item, (*path, index), self.findings, self.invalid, {"name": f"endpoint-{index}"}), (*path, index)
            )
            for index, item in enumerate(value)
        ]

    def _with_provider(self, section: P, path: KeyPath) -> P:
        """The section with a provider, also in place of one that is missing or not valid."""
        key = (*path, "provider")
        if section.provider:
            return section
        if key not in self.invalid:
            self.findings.add(key, "this key is required")
            self.invalid.add(key)
        return section.model_copy(update={"provider": _PLACEHOLDER_PROVIDER})

    def _addressed(self, section: P, path: KeyPath) -> P:
        """The section with the values of variables in its address."""
        written = section.base_url
        if written is None or "$" not in written:
            return section
        text = filled(written, lambda name: self.environ.get(name, "").strip() or None)
        try:
            return section.model_copy(update={"base_url": read_address(text)})
        except PydanticCustomError:  # the message would repeat the value, which may be a secret
            key = (*path, "base_url")
            names = ", ".join(variable_names(written))
            self.findings.add(key, f"with the value of {names} this is no http:// or https:// address", "it has no user, query or fragment")
            self.invalid.add(key)
            return section.model_copy(update={"base_url": None})


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
