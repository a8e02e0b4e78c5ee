"""What one deployment of LiteLLM's `model_list` is in a registry, with a finding for each of its fields; knows no other deployment."""

from paymaster.imports.findings import Findings
from paymaster.imports.litellm.connection import CONNECTION, put_connection, put_key, target_of
from paymaster.imports.litellm.info import put_base_model, put_budget, put_capabilities, read_info
from paymaster.imports.litellm.making import Deployment, Entry, Making
from paymaster.imports.litellm.params import read_param
from paymaster.imports.litellm.prices import is_price, put_prices
from paymaster.imports.litellm.providers import Target
from paymaster.imports.litellm.variables import Variables
from paymaster.registry.yamltext import KeyPath, Plain

_CHAT_MODES = frozenset({"chat", "completion", "responses"})
_NOT_SERVED = (
    "dall-e",
    "gpt-image",
    "imagen",
    "whisper",
    "tts-",
    "text-moderation",
    "omni-moderation",
    "stable-diffusion",
    "rerank",
    "veo-",
)


def read_deployment(entry: Entry, findings: Findings, variables: Variables) -> Deployment | str:
    """The deployment, or why it is left out. Says of each of its fields what became of it."""
    target = target_of(entry)
    if isinstance(target, str):
        return target
    mode, _ = entry.info.get("mode", (None, ()))
    if (mode is not None and mode not in (*_CHAT_MODES, "embedding")) or _is_not_served(target, mode):
        return "Paymaster serves chat, responses and embeddings; let clients ask the provider for anything else"
    making = Making(Deployment(entry=entry, target=target, embeds=mode == "embedding"), findings, variables)
    put_connection(making)
    prices: dict[str, tuple[Plain, KeyPath]] = {}
    for name, (value, path) in entry.params.items():
        if is_price(name):
            prices[name] = (value, path)
        elif name not in CONNECTION:
            read_param(name, value, path, making)
    put_key(making)
    for name, (value, path) in entry.info.items():
        if is_price(name) and name not in prices:
            prices[name] = (value, path)
        elif is_price(name):
            findings.changed(path, "the price in litellm_params counts")
        else:
            read_info(name, value, path, making)
    priced = put_prices(prices, making.draft, findings, embeds=making.made.embeds)
    put_base_model(making, priced=priced)
    put_capabilities(making)
    put_budget(making)
    return making.made


def _is_not_served(target: Target, mode: Plain) -> bool:
    return mode is None and any(target.model_id.lower().rpartition("/")[2].startswith(name) for name in _NOT_SERVED)
