"""Reads a registry out of another program's config file; knows nothing of that program's keys."""

import re
from pathlib import Path

from paymaster.errors import UsageMistake
from paymaster.registry.sections import REGISTRY_KEY, registry_part
from paymaster.registry.yamltext import Document, read_file, read_yaml

_MAY_BEGIN_HERE = re.compile(rf"^(['\"]?{REGISTRY_KEY}['\"]?\s*:|\s*\{{)", re.MULTILINE)
"""A key at the top of a block map, or inside braces: a quick check, so that configs without a registry are not read strictly."""


def read_embedded(path: Path) -> Document | None:
    """The `model_registry:` of a config, with `policies:` beside it, and the file's lines; None if it has no registry.

    Raises RegistryInvalid for a file that has a registry and is not valid YAML.
    """
    text = read_file(path)
    if not _MAY_BEGIN_HERE.search(text) or REGISTRY_KEY not in text:
        return None
    document = read_yaml(text, str(path))
    return registry_part(document) if isinstance(document.tree, dict) and REGISTRY_KEY in document.tree else None


def refuse_registry_key(key: str) -> None:
    """Raises UsageMistake for a key of the registry on the command line, as `model_registry.default=…`."""
    if key.partition("=")[0].partition(".")[0] == REGISTRY_KEY:
        advice = "Set it in the registry. Flags: --budget-usd, --budget-tokens, --budget-requests, --rpm-limit and --tpm-limit."
        raise UsageMistake(f"{key.partition('=')[0]}: keys of the registry can't be set on the command line", advice=advice)
