"""A deployment of LiteLLM's in the making: an entry of the config, and the section that it becomes; knows no field's meaning."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import TypeAlias

from paymaster.imports.draft import Draft
from paymaster.imports.findings import Findings
from paymaster.imports.litellm.providers import Target
from paymaster.imports.litellm.variables import Variables
from paymaster.registry.yamltext import KeyPath, Plain

Fields: TypeAlias = Mapping[str, tuple[Plain, KeyPath]]
"""Values by name, each with its path in the config: some come from a credential or from defaults."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry of `model_list`: its name, the fields of `litellm_params` with everything that applies to it, and `model_info`.

    `drops_unknown`: parameters that the endpoint refuses are left out (`drop_params` of the settings).
    """

    path: KeyPath
    name: str
    name_path: KeyPath
    params: Fields
    info: Fields


@dataclass(slots=True)
class Deployment:
    """An entry as a section of a registry. `order` and `weight` are what LiteLLM knows of it beside others of the same name.

    `budget` is dollars and dimensions, with its fields.
    """

    entry: Entry
    target: Target
    draft: Draft = field(default_factory=Draft)
    embeds: bool = False
    order: int | None = None
    label: str | None = None
    budget: tuple[Plain, list[Plain], tuple[KeyPath, ...]] | None = None


@dataclass(slots=True)
class Making:
    """A deployment with what its readers report to."""

    made: Deployment
    findings: Findings
    variables: Variables

    @property
    def draft(self) -> Draft:
        """The section so far."""
        return self.made.draft

    def put(self, keys: tuple[str, ...], value: Plain, path: KeyPath, how: str = "") -> None:
        """Put a value into the registry; with `how`, it is another one than in the config."""
        self.draft.put(keys, value, path)
        if how:
            self.findings.changed(path, how)
        else:
            self.findings.carried(path)


def number_of(value: Plain) -> Decimal | None:
    """The number that a value is, or that its text says."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal | str):
        return None
    try:
        number = Decimal(str(value).strip())
    except InvalidOperation:
        return None
    return number if number.is_finite() else None
