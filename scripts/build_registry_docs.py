"""Generates the reference in docs/registry.md from the registry's schema, providers and settings; knows their types, and no key by name.

Run it after a change of the registry: `python scripts/build_registry_docs.py`. With `--check` it writes nothing, and ends with status 1
if the file is old.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from paymaster.registry.budget_schema import BudgetSection
from paymaster.registry.compat_schema import CompatSection
from paymaster.registry.model_schema import EndpointSection, ModelSection, PlaceSection, ServerToolSection, TimeoutsSection
from paymaster.registry.names import CAPABILITIES, CAPABILITY_ALIASES
from paymaster.registry.overrides import SETTINGS, flag_of, variable_of
from paymaster.registry.presets import PRESETS, read_preset
from paymaster.registry.price_schema import BaseSection, DatedPriceSection, PeakSection, RatesSection, ServiceTierSection, TierSection
from paymaster.registry.provider_facts import PROVIDERS, ProviderFacts
from paymaster.registry.schema import PolicySection, PricesSection, RegistrySection

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "docs" / "registry.md"
BEGIN, END = "<!-- begin: made by scripts/build_registry_docs.py -->", "<!-- end -->"

TYPES = {"integer": "whole number", "number": "number", "string": "text", "boolean": "true or false", "object": "map", "array": "list"}
SECTIONS: tuple[tuple[str, str, type[BaseSection]], ...] = (
    ("The registry", "", RegistrySection),
    ("A model", "models.NAME", ModelSection),
    ("An endpoint", "models.NAME.endpoints[]", EndpointSection),
    ("A price tier", "models.NAME.tiers[]", TierSection),
    ("A service tier", "models.NAME.service_tiers.TIER", ServiceTierSection),
    ("Peak hours", "models.NAME.peak", PeakSection),
    ("A dated price", "models.NAME.prices[]", DatedPriceSection),
    ("A tool that the provider runs", "models.NAME.server_tools.TYPE", ServerToolSection),
    ("Time limits", "models.NAME.timeouts", TimeoutsSection),
    ("What an endpoint takes", "models.NAME.compat", CompatSection),
    ("Policies", "policies", PolicySection),
    ("Updates of prices", "prices", PricesSection),
    ("A budget", "policies.budgets[], models.NAME.budgets[]", BudgetSection),
)


def main(arguments: list[str]) -> int:
    """Write the reference, or compare it with `--check`; the status is 1 if it is old."""
    current = REFERENCE.read_text(encoding="utf-8")
    made = reference_text(current)
    if made == current:
        return 0
    print(f"{REFERENCE.relative_to(ROOT)} {'is old' if '--check' in arguments else 'written'}")
    if "--check" in arguments:
        return 1
    REFERENCE.write_text(made, encoding="utf-8")
    return 0


def reference_text(current: str) -> str:
    """The file with a new part between the marks; the text around it is written by hand."""
    before, _, marked = current.partition(BEGIN)
    _, _, after = marked.partition(END)
    parts = [*(section_text(*section) for section in SECTIONS), providers_text(), capabilities_text(), settings_text(), presets_text()]
    return f"{before}{BEGIN}\n\n" + "\n\n".join(parts) + f"\n\n{END}{after}"


def section_text(title: str, key_path: str, section: type[BaseSection]) -> str:
    """One section of the file: its keys, their types, meanings and examples."""
    schema = section.model_json_schema()
    inherited = inherited_from(section)
    own = [name for name in schema["properties"] if name not in inherited]
    rows = [
        (
            f"`{name}`" + (" (required)" if name in schema.get("required", ()) else ""),
            kind_text(schema["properties"][name]),
            description_text(section, name),
        )
        for name in own
    ]
    heading = f"### {title}" + (f": `{key_path}`" if key_path else "")
    return f"{heading}\n\n{schema['description']}\n\n{table(('key', 'type', 'meaning'), rows)}{inherited_text(section)}"


def inherited_from(section: type[BaseSection]) -> frozenset[str]:
    """The keys that the table of another section has."""
    if section is ModelSection:
        return frozenset()
    shared = PlaceSection if section is EndpointSection else RatesSection
    return frozenset(shared.model_fields) if issubclass(section, shared) else frozenset()


def inherited_text(section: type[BaseSection]) -> str:
    """The sentence about those keys."""
    if section is EndpointSection:
        keys = [name for name in PlaceSection.model_fields if name not in RatesSection.model_fields]
        return f"\n\nAnd these keys of a model: {', '.join(f'`{name}`' for name in keys)}, and its prices, `usd_per_…`."
    return "\n\nAnd the prices of a model, `usd_per_…`." if inherited_from(section) else ""


def kind_text(schema: dict[str, object]) -> str:
    """The type of a value in words."""
    options = schema.get("anyOf")
    if isinstance(options, list):
        kinds = [kind_text(option) for option in options if option.get("type") != "null"]
        return " or ".join(dict.fromkeys(kinds))
    if "const" in schema:
        return f"`{schema['const']}`"
    words = schema.get("enum")
    if isinstance(words, list) and len(words) <= 4:
        return " or ".join(f"`{word}`" for word in words)
    return "section" if "$ref" in schema else TYPES.get(str(schema.get("type")), "")


def description_text(section: type[BaseSection], name: str) -> str:
    """A key's meaning, with the schema's examples."""
    field = section.model_fields[name]
    examples = " ".join(f"`{name}: {example_text(example)}`" for example in field.examples or ())
    return f"{field.description}" + (f" {examples}" if examples else "")


def example_text(value: object) -> str:
    """A value as YAML writes it on one line."""
    if isinstance(value, str):
        return value
    return json.dumps(value).replace('"', "")


def providers_text() -> str:
    """Every provider with its names, key and endpoint."""
    rows = [
        (
            f"`{facts.id}`",
            ", ".join(f"`{alias}`" for alias in facts.aliases),
            key_text(facts),
            facts.base_url or ("give `base_url`" if facts.needs_base_url else ""),
            "free" if facts.local else facts.adapter,
        )
        for facts in PROVIDERS
    ]
    intro = (
        "Names ignore case, and `-`, `_` and `.` are the same. `litellm` in the last column: calls go through litellm "
        "(`pip install 'paymaster[litellm]'`); all others are called over HTTP, Anthropic in its own wire format, the rest in OpenAI's."
    )
    return f"### Providers\n\n{intro}\n\n{table(('provider', 'also called', 'key in', 'endpoint', 'called by'), rows)}"


def key_text(facts: ProviderFacts) -> str:
    """The variables of a provider's key."""
    names = " or ".join(f"`{name}`" for name in facts.key_variables)
    return f"{names}, optional" if names and not facts.key_required else names


def capabilities_text() -> str:
    """Every capability with its meaning and its other names."""
    rows = [
        (f"`{name}`", meaning, ", ".join(f"`{alias}`" for alias, canonical in CAPABILITY_ALIASES.items() if canonical == name))
        for name, meaning in CAPABILITIES.items()
    ]
    return f"### Capabilities\n\n{table(('capability', 'the model', 'also called'), rows)}"


def settings_text() -> str:
    """Every flag and variable."""
    rows = [(f"`{flag_of(name)}`", f"`{variable_of(name)}`", meaning) for name, meaning in SETTINGS.items()]
    intro = "A flag wins over its variable, the variable over the file, the file over the default. `paymaster check` shows the origins."
    return f"### Flags and environment variables\n\n{intro}\n\n{table(('flag', 'variable', 'meaning'), rows)}"


def presets_text() -> str:
    """Every preset, with the first line of its comment."""
    rows = [(f"`{name}`", read_preset(name).splitlines()[0].removeprefix("# ")) for name in PRESETS]
    return f"### Presets\n\n`paymaster init --preset NAME` writes one of these, commented.\n\n{table(('preset', 'what it is'), rows)}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    escaped = ([cell.replace("|", "\\|") for cell in row] for row in rows)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *escaped))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
