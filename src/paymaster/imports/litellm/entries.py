"""The entries of LiteLLM's `model_list`, each with the defaults and the credential that apply to it; knows no provider."""

from collections.abc import Iterator, Mapping
from decimal import Decimal

from paymaster.imports.findings import Findings
from paymaster.imports.litellm.making import Entry, Fields
from paymaster.registry.yamltext import KeyPath, Plain

LIST = "model_list"
_OUTSIDE = frozenset({"rpm", "tpm", "weight"})
"""Fields that older configs have beside `litellm_params`."""


def fields_at(tree: Plain, path: KeyPath) -> Fields:
    """The fields of the map at a path; none if there is no map."""
    for part in path:
        tree = tree.get(str(part)) if isinstance(tree, dict) else None
    return {key: (value, (*path, key)) for key, value in tree.items()} if isinstance(tree, dict) else {}


def read_entries(tree: Plain, defaults: Fields, findings: Findings) -> Iterator[Entry]:
    """Every entry that has parameters. Says of the others, and of fields that belong to none, what became of them."""
    entries = tree.get(LIST) if isinstance(tree, dict) else None
    credentials = _credentials(tree, findings)
    if entries is not None and not isinstance(entries, list):
        findings.no_counterpart((LIST,), "it is a list of models, each with model_name and litellm_params")
    for index, entry in enumerate(entries if isinstance(entries, list) else ()):
        path: KeyPath = (LIST, index)
        if not isinstance(entry, dict) or not isinstance(entry.get("litellm_params"), dict):
            findings.drop(path, "left out: an entry has model_name and litellm_params, which is a map")
            continue
        yield _entry(entry, path, defaults, credentials, findings)


def _entry(entry: Mapping[str, Plain], path: KeyPath, defaults: Fields, credentials: Mapping[str, Fields], findings: Findings) -> Entry:
    own = _inner(entry, "litellm_params", path)
    outside = {name: (value, (*path, name)) for name, value in entry.items() if name in _OUTSIDE}
    credential = _credential(own, credentials, findings)
    for name in entry.keys() - {"model_name", "litellm_params", "model_info"} - _OUTSIDE:
        findings.no_counterpart((*path, name), "LiteLLM reads it in litellm_params or model_info alone")
    info = entry.get("model_info")
    if info is not None and not isinstance(info, dict):
        findings.no_counterpart((*path, "model_info"), "this is no map of fields")
    for name in outside.keys() & own.keys():
        findings.changed(outside[name][1], "the field in litellm_params counts")
    called = entry.get("model_name")
    named = isinstance(called, str | int | Decimal) and not isinstance(called, bool) and str(called).strip()
    model = own.get("model", (None, ()))[0]
    return Entry(
        path=path,
        name=str(called).strip() if named else str(model).strip() if isinstance(model, str) else "",
        name_path=(*path, "model_name") if "model_name" in entry else (*path, "litellm_params", "model"),
        params={**defaults, **outside, **credential, **own},
        info=_inner(entry, "model_info", path),
    )


def _inner(entry: Mapping[str, Plain], key: str, path: KeyPath) -> Fields:
    inner = entry.get(key)
    return {name: (value, (*path, key, name)) for name, value in inner.items()} if isinstance(inner, dict) else {}


def _credential(own: Fields, credentials: Mapping[str, Fields], findings: Findings) -> Fields:
    name, path = own.get("litellm_credential_name", (None, ()))
    if not path:
        return {}
    values = credentials.get(str(name))
    if values is None:
        findings.no_counterpart(path, "credential_list has no credential of this name; name the key's variable in api_key_env")
        return {}
    return values


def _credentials(tree: Plain, findings: Findings) -> dict[str, Fields]:
    """The values of each named credential. Those that no entry uses keep the finding that is made here."""
    listed = tree.get("credential_list") if isinstance(tree, dict) else None
    found: dict[str, Fields] = {}
    for index, item in enumerate(listed if isinstance(listed, list) else ()):
        path: KeyPath = ("credential_list", index)
        if not isinstance(item, dict) or "credential_name" not in item:
            findings.no_counterpart(path, "a credential has a credential_name and credential_values")
            continue
        findings.no_counterpart(path, "no model uses it")
        findings.changed((*path, "credential_name"), "its values are written at the models that use it")
        findings.no_counterpart((*path, "credential_info"), "nothing here needs it")
        found[str(item["credential_name"])] = _inner(item, "credential_values", path)
    return found
