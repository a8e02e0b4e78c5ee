"""Reads and checks `model:` of mini-swe-agent's config; knows neither mini's code nor a provider."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from paymaster.agents.clients import CLIENTS
from paymaster.dialects.chat.fitting.params import DROPS
from paymaster.errors import UsageMistake, near
from paymaster.registry.overrides import SETTINGS, flag_of, variable_of
from paymaster.registry.values import Count, Switch, Text, Total, Usd
from paymaster.routing.chains import has_name, resolve
from paymaster.routing.model_names import models_named

if TYPE_CHECKING:
    from paymaster.options import ClientSettings
    from paymaster.registry.models import Registry

DEFAULT = "default"
"""The name of the registry's default model."""

_OF_OTHER_MODEL_CLASSES = frozenset({"cost_tracking", "litellm_model_name_override", "litellm_model_registry", "provider"})
"""Keys of mini's own model classes that are ignored: prices and names come from the registry."""

_OWNED_BY_PAYMASTER = frozenset(
    {"fallbacks", "max_retries", "num_retries", "request_timeout", "stream", "stream_options", "timeout"} | DROPS
)
"""Parameters of litellm that no model gets: retries, time limits and fallbacks come from the registry; `drop_params` is no parameter."""

_OWNED_BY_REGISTRY = frozenset(
    {"api_base", "api_key", "api_version", "base_url", "custom_llm_provider", "extra_headers", "messages", "model", "tools"}
)
"""Parameters that would send calls around the registry. They are refused: ignoring them would hide that."""


class PaymasterModelConfig(BaseModel):
    """The keys of `model:` in mini's YAML. Those of the first group mean the same as Paymaster's flags of that name."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), hide_input_in_errors=True)

    model_name: Text = DEFAULT
    registry: Text | None = None
    budget_usd: Usd | None = None
    budget_tokens: Total | None = None
    budget_requests: Total | None = None
    rpm_limit: Count | None = None
    tpm_limit: Count | None = None
    hard_stop_on_budget: Switch | None = None
    run_id: Text | None = None
    batch_id: Text | None = None
    instance: Text | None = None
    user: Text | None = None
    ledger: Text | None = Field(None, exclude=True)  # a ledger's URL may carry a password, and mini saves its config
    state_dir: Text | None = None
    events: Text | None = None

    model_kwargs: dict[str, object] = Field(default_factory=dict)
    set_cache_control: Literal["default_end"] | None = None
    format_error_template: str = "{{ error }}"
    observation_template: str = (
        "{% if output.exception_info %}<exception>{{output.exception_info}}</exception>\n{% endif %}"
        "<returncode>{{output.returncode}}</returncode>\n<output>\n{{output.output}}</output>"
    )
    multimodal_regex: str = ""
    action_regex: str = ""  # if it is set, commands are read from the text and no tool is offered

    def settings(self) -> "ClientSettings":
        """The settings of the client."""
        return {
            "run": self.run_id,
            "batch": self.batch_id,
            "user": self.user,
            "budget_usd": self.budget_usd,
            "budget_tokens": self.budget_tokens,
            "budget_requests": self.budget_requests,
            "rpm_limit": self.rpm_limit,
            "tpm_limit": self.tpm_limit,
            "hard_stop_on_budget": self.hard_stop_on_budget,
            "ledger": self.ledger,
            "state_dir": self.state_dir,
            "events": self.events,
        }


class PaymasterTextModelConfig(PaymasterModelConfig):
    """The same, with mini's default pattern for a command in the text."""

    format_error_template: str = "Please always provide EXACTLY ONE action in triple backticks, found {{actions|length}} actions."
    action_regex: str = r"```mswea_bash_command\s*\n(.*?)\n```"


def read_config(config_class: type[PaymasterModelConfig], keys: Mapping[str, object]) -> PaymasterModelConfig:
    """The config; environment variables and the launcher's flags win over its keys. Raises UsageMistake with every mistake."""
    flags = {_key_of(name): value for name, value in CLIENTS.flags.items()}
    variables = {_key_of(name) for name in SETTINGS if os.environ.get(variable_of(name), "").strip()}
    written = {name: value for name, value in keys.items() if name not in _OF_OTHER_MODEL_CLASSES and name not in variables}
    try:
        return config_class.model_validate({**written, **flags})
    except ValidationError as error:
        lines = []
        for detail in error.errors(include_url=False, include_input=False):
            key = str(detail["loc"][0])
            shown = flag_of(_setting_of(key)) if key in flags else f"model.{key}"
            unknown = detail["type"] == "extra_forbidden"
            lines.append(f"{shown}: unknown key ({near(key, config_class.model_fields)})" if unknown else f"{shown}: {detail['msg']}")
        advice = "See docs/agents-mini.md for the keys of `model:`." if any(line.startswith("model.") for line in lines) else ""
        raise UsageMistake("\n".join(lines), advice=advice) from None


def _key_of(setting: str) -> str:
    return "registry" if setting == "model_registry" else setting


def _setting_of(key: str) -> str:
    return "model_registry" if key == "registry" else key


def requested_model(name: str, registry: "Registry") -> str | None:
    """The model's name for the client; None for the registry's default. Raises UsageMistake if the registry has no such model."""
    known = {*registry.models, *(alias for model in registry.models.values() for alias in model.aliases)}
    if name in known:
        return name
    if name == DEFAULT:
        return None
    if len(models_named(name, registry.models.values())) == 1 or has_name(registry, name):
        return name
    advice = f"Name one with -m or model.model_name ({near(name, known)}), or omit it for the default, {registry.default}."
    raise UsageMistake(f"the registry {registry.source} has no model {name!r}", advice=advice)


def request_params(kwargs: Mapping[str, object]) -> dict[str, object]:
    """The request parameters among mini's `model_kwargs`. Raises UsageMistake for those that would go around the registry."""
    forbidden = sorted(_OWNED_BY_REGISTRY & kwargs.keys())
    if forbidden:
        advice = "Set endpoints, keys and headers in the registry: base_url, api_key_env, extra_headers of the model."
        raise UsageMistake(f"model.model_kwargs must not have {', '.join(forbidden)}", advice=advice)
    return {name: value for name, value in kwargs.items() if name not in _OWNED_BY_PAYMASTER}


def drop_params(kwargs: Mapping[str, object]) -> dict[str, object]:
    """The words of litellm for parameters that may be left out where a model does not take them: they mean the same here."""
    return {name: kwargs[name] for name in sorted(DROPS.intersection(kwargs))}


def cache_mode(config: PaymasterModelConfig, model_name: str | None, registry: "Registry") -> str | None:
    """The config's cache mode. Without one, markers are set for a model that reads them; mini itself decides this by the model's name."""
    if "set_cache_control" in config.model_fields_set:
        return config.set_cache_control
    model = registry.models[resolve(registry, model_name)]
    return "default_end" if "cache_control" in model.compat.reads else None
