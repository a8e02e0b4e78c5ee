"""Reads flags and `PAYMASTER_…` variables with pydantic-settings from mappings; knows no registry and not the process's environment."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from paymaster.errors import Problem, RegistryInvalid
from paymaster.registry.values import Count, Switch, Text, Total, Usd


class _Settings(BaseSettings):
    model_config = SettingsConfigDict(extra="forbid", protected_namespaces=())

    model_registry: Text | None = None
    budget_usd: Usd | None = None
    budget_tokens: Total | None = None
    budget_requests: Total | None = None
    rpm_limit: Count | None = None
    tpm_limit: Count | None = None
    hard_stop_on_budget: Switch | None = None
    run_id: Text | None = None
    batch_id: Text | None = None
    user: Text | None = None
    ledger: Text | None = None
    state_dir: Text | None = None
    events: Text | None = None


class _MappingSource(PydanticBaseSettingsSource):
    """A mapping of values: the flags, or the caller's environment (not the process's)."""

    def __init__(self, settings: type[BaseSettings], values: Mapping[str, object]) -> None:
        super().__init__(settings)
        self._values = values

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[object, str, bool]:
        """One value, its field, and False: it is not JSON."""
        return self._values.get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:  # Any: the base class's own type
        """Every value by its field."""
        fields = _Settings.model_fields.items()
        return {name: self.get_field_value(spec, name)[0] for name, spec in fields if name in self._values}


def read_settings(flags: Mapping[str, object], variables: Mapping[str, str], origins: Mapping[str, str]) -> dict[str, Any]:
    """Every setting, parsed; flags win. Raises RegistryInvalid with the origin of each invalid value."""

    class FromMappings(_Settings):
        @classmethod
        def settings_customise_sources(cls, settings_cls: type[BaseSettings], *_: object, **__: object) -> tuple[_MappingSource, ...]:
            return _MappingSource(settings_cls, flags), _MappingSource(settings_cls, variables)

    try:
        return FromMappings().model_dump()
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        raise RegistryInvalid([Problem(origins[str(detail["loc"][0])], 0, "", detail["msg"]) for detail in details]) from None
