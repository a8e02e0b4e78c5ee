"""Where a deployment of LiteLLM's is called, and with which key; knows no other field."""

from decimal import Decimal

from paymaster.imports.litellm.making import Entry, Making
from paymaster.imports.litellm.providers import Target, find_target
from paymaster.imports.litellm.variables import means_no_key, reference, variable_name
from paymaster.registry.yamltext import KeyPath, Plain

CONNECTION = frozenset(
    {"model", "custom_llm_provider", "api_base", "base_url", "api_key", "use_litellm_proxy", "max_budget", "budget_duration"}
)


def target_of(entry: Entry) -> Target | str:
    """What the entry calls, or why that can't be called."""
    model, _ = entry.params.get("model", (None, ()))
    stated, _ = entry.params.get("custom_llm_provider", (None, ()))
    address, _ = _address(entry)
    if not isinstance(model, str) or not model.strip():
        return "it has no model in litellm_params" if model in (None, "") else "its model is not a text"
    if reference(model) is not None:
        return "its model is named by a variable; a registry names its models itself"
    by_proxy = entry.params.get("use_litellm_proxy", (None, ()))[0] is True
    provider = "litellm_proxy" if by_proxy else stated if isinstance(stated, str) else None
    base_url = None if not isinstance(address, str) or not address.strip() else address.strip()
    variable = reference(base_url)
    return find_target(model.strip(), provider, base_url if variable is None else f"${variable}")


def _address(entry: Entry) -> tuple[Plain, KeyPath]:
    return entry.params.get("api_base") or entry.params.get("base_url") or (None, ())


def put_connection(making: Making) -> None:
    """Put provider, model, address and dialect into the section."""
    entry, target = making.made.entry, making.made.target
    _, model_path = entry.params["model"]
    making.put(("provider",), target.provider, model_path, target.how)
    making.draft.put(("model_id",), target.model_id, model_path)
    if "*" in target.model_id:
        making.draft.remove([("model_id",)])
    address, path = _address(entry)
    if target.base_url is not None:
        making.draft.put(("base_url",), target.base_url, path or model_path)
    if path:
        same = isinstance(address, str) and target.base_url == address
        how = "" if same else "as the registry writes it" if target.base_url is not None else "left out: it is the provider's own address"
        making.findings.changed(path, how) if how else making.findings.carried(path)
    if "api_base" in entry.params and "base_url" in entry.params:
        making.findings.changed(entry.params["base_url"][1], "api_base counts")
    for name in ("custom_llm_provider", "use_litellm_proxy"):
        if name in entry.params:
            making.put(("provider",), target.provider, entry.params[name][1])
    mode, mode_path = entry.info.get("mode", (None, ()))
    dialect = target.dialect or ("responses" if mode == "responses" else None)
    if dialect is not None and not target.by_litellm:
        making.draft.put(("dialect",), dialect, mode_path or model_path)


def put_key(making: Making) -> None:
    """The variable of the key. A key that is written in the config is never written again."""
    entry, target = making.made.entry, making.made.target
    value, path = entry.params.get("api_key", (None, ()))
    if not path:
        if target.key_variable is not None and target.needs_key:
            usual = making.variables.use(target.key_variable, entry.name)
            if target.provider == "openai_compatible":
                making.draft.put(("api_key_env",), usual, entry.params["model"][1])
        return
    named = reference(value)
    if named is not None:
        making.put(("api_key_env",), making.variables.use(named, entry.name), path)
    elif value is None:
        making.findings.changed(path, "an empty key is none")
    elif not target.needs_key and means_no_key(value):
        making.findings.changed(path, "left out: the text only stands for a key, so none is sent; else name its variable in api_key_env")
    elif not isinstance(value, str | int | Decimal) or isinstance(value, bool):
        making.findings.no_counterpart(path, "name the variable of the key in api_key_env")
    else:
        wished = target.key_variable or f"{entry.name}_API_KEY"
        variable = making.variables.instead_of(str(value), variable_name(wished), entry.name, entry.name)
        making.put(
            ("api_key_env",), variable, path, "the key itself is not written: put it into this variable, and replace it if others saw it"
        )
