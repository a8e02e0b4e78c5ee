"""Fixtures that load a registry from text, with the shipped catalogue and model data, at a fixed moment."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from paymaster.accounting.prices.catalogue import Catalogue
from paymaster.errors import RegistryInvalid
from paymaster.registry.completing import Sources
from paymaster.registry.loading import read_registry
from paymaster.registry.model_data import ModelData
from paymaster.registry.overrides import read_overrides
from paymaster.registry.sections import registry_part
from paymaster.registry.yamltext import read_yaml

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from paymaster.registry.models import Registry

NOVEMBER = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.fixture(scope="session")
def catalogue() -> Catalogue:
    return Catalogue()


@pytest.fixture(scope="session")
def model_data() -> ModelData:
    return ModelData()


@pytest.fixture
def load(catalogue: Catalogue, model_data: ModelData) -> Callable[..., Registry]:
    def load_text(
        text: str, *, flags: Mapping[str, object] | None = None, environ: Mapping[str, str] | None = None, embedded: bool = False
    ) -> Registry:
        environ = environ or {}
        sources = Sources(catalogue=catalogue, model_data=model_data, environ=environ, at=NOVEMBER, directory=Path("/where/it/is"))
        overrides = read_overrides(flags or {}, environ)
        document = read_yaml(text, "registry.yaml")
        return read_registry(registry_part(document) if embedded else document, overrides, sources)

    return load_text


@pytest.fixture
def problems(load: Callable[..., Registry]) -> Callable[..., list[str]]:
    """The problems of a registry, one line each, without the file's name."""

    def find(text: str, **options: object) -> list[str]:
        with pytest.raises(RegistryInvalid) as caught:
            load(text, **options)
        return [str(problem).removeprefix("registry.yaml:") for problem in caught.value.problems]

    return find
