"""Loads a complete registry from a file: read, check, override, fill in; knows the order of these steps and none of their rules."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from paymaster.errors import RegistryInvalid
from paymaster.registry.checking import check
from paymaster.registry.completing import KnownModels, Sources, complete
from paymaster.registry.file_kinds import OtherFile
from paymaster.registry.model_prices import PriceSource
from paymaster.registry.models import Registry
from paymaster.registry.overrides import Overrides
from paymaster.registry.problems import Findings
from paymaster.registry.recognising import problem_of, recognise, recognise_content
from paymaster.registry.sections import REGISTRY_KEY, read_sections, registry_part
from paymaster.registry.yamltext import Document, decode, read_bytes, read_yaml


def load_registry(
    path: str | Path,
    overrides: Overrides,
    *,
    catalogue: PriceSource,
    model_data: KnownModels,
    environ: Mapping[str, str],
    at: datetime,
) -> Registry:
    """The registry in a file, with the prices at the moment `at`. Raises RegistryInvalid with every problem found."""
    file = Path(path)
    sources = Sources(catalogue=catalogue, model_data=model_data, environ=environ, at=at, directory=file.parent)
    return read_registry(read_document(read_bytes(file), str(path)), overrides, sources)


def read_document(data: bytes, file: str) -> Document:
    """The document in a registry's file; of an agent's config with a registry in it, that part alone.

    Raises RegistryInvalid; for a file of another program it says what the file is, and what helps.
    """
    _refuse_other_file(recognise(file, data, yaml=False), file, data)
    try:
        document = read_yaml(decode(data, file), file)
    except RegistryInvalid:
        _refuse_other_file(recognise(file, data), file, data)
        raise
    other = recognise_content(file, "yaml", document.tree)
    if other is not None and other.embeds and isinstance(document.tree, dict) and REGISTRY_KEY in document.tree:
        return registry_part(document)
    if other is not None:
        raise RegistryInvalid([problem_of(other, file)])
    return document


def _refuse_other_file(other: OtherFile | None, file: str, data: bytes) -> None:
    """Raise RegistryInvalid for a file of another program without a registry in it."""
    if other is not None and not (other.embeds and REGISTRY_KEY.encode() in data):
        raise RegistryInvalid([problem_of(other, file)])


def read_registry(document: Document, overrides: Overrides, sources: Sources) -> Registry:
    """The registry in a document that has been read. Raises RegistryInvalid with every problem found."""
    findings = Findings(document)
    written = read_sections(document, findings, sources.environ)
    check(written, findings)
    if findings.problems:
        raise RegistryInvalid(findings.sorted())
    return complete(written, overrides, sources)
