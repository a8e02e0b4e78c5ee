"""Loads a complete registry from a file: read, check, override, fill in; knows the order of these steps and none of their rules."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from paymaster.errors import RegistryInvalid
from paymaster.registry.checking import check
from paymaster.registry.completing import KnownModels, Sources, complete
from paymaster.registry.model_prices import PriceSource
from paymaster.registry.models import Registry
from paymaster.registry.overrides import Overrides
from paymaster.registry.problems import Findings
from paymaster.registry.sections import read_sections
from paymaster.registry.yamltext import Document, Plain, read_file, read_yaml


def load_registry(
    path: str | Path,
    overrides: Overrides,
    *,
    catalogue: PriceSource,
    model_data: KnownModels,
    environ: Mapping[str, str],
    at: datetime,
    embedded: bool = False,
) -> Registry:
    """The registry in a file, with the prices at the moment `at`. `embedded` ignores keys beside `model_registry:`.

    Raises RegistryInvalid with every problem found.
    """
    file = Path(path)
    sources = Sources(catalogue=catalogue, model_data=model_data, environ=environ, at=at, directory=file.parent)
    return read_registry(read_yaml(read_file(file), str(path)), overrides, sources, embedded=embedded)


def read_registry(document: Document, overrides: Overrides, sources: Sources, *, embedded: bool = False) -> Registry:
    """The registry in a document that has been read. Raises RegistryInvalid with every problem found."""
    findings = Findings(document)
    written = read_sections(document, findings, sources.environ, embedded=embedded)
    check(written, findings)
    if findings.problems:
        raise RegistryInvalid(findings.sorted())
    return complete(written, overrides, sources)


def registry_for_model(name: str, overrides: Overrides, sources: Sources) -> Registry:
    """A registry of one model, for callers without one: `openai/gpt-4o`, or any other `provider/model_id`.

    Raises RegistryInvalid for an unknown provider.
    """
    provider, _, model_id = name.partition("/")
    tree: Plain = {"default": name, "models": {name: {"provider": provider, "model_id": model_id or None}}}
    return read_registry(Document(f"model {name}", tree), overrides, sources)
