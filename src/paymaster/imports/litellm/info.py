"""What LiteLLM's `model_info` is in a registry: limits, capabilities, the model behind a name; knows no prices."""

from collections.abc import Mapping

from paymaster.imports.litellm.durations import budget_per
from paymaster.imports.litellm.fields import INFO_WITHOUT
from paymaster.imports.litellm.making import Making
from paymaster.imports.litellm.providers import Target, find_target
from paymaster.registry.secrets import looks_like_a_secret
from paymaster.registry.yamltext import KeyPath, Plain

_CAPABILITIES: Mapping[str, str] = {
    "supports_function_calling": "function_calling",
    "supports_parallel_function_calling": "parallel_tool_calls",
    "supports_tool_choice": "tool_choice",
    "supports_response_schema": "json_schema",
    "supports_vision": "vision",
    "supports_pdf_input": "pdf",
    "supports_audio_input": "audio",
    "supports_audio_output": "audio_output",
    "supports_video_input": "video",
    "supports_reasoning": "reasoning",
    "supports_prompt_caching": "prompt_caching",
    "supports_system_messages": "system_messages",
    "supports_assistant_prefill": "assistant_prefill",
    "supports_web_search": "web_search",
    "supports_computer_use": "computer_use",
}


def read_info(name: str, value: Plain, path: KeyPath, making: Making) -> None:
    """One field of `model_info` that is no price."""
    findings = making.findings
    match name:
        case "mode":
            findings.carried(path, "") if value != "completion" else findings.changed(path, "asked by chat completions")
        case "id":
            named = isinstance(value, str | int) and not isinstance(value, bool) and not looks_like_a_secret(str(value))
            making.made.label = str(value) if named else None
            findings.changed(path, "the name of the endpoint, where a model has several")
        case "base_model":
            pass  # with the prices
        case "max_tokens":
            making.put(("max_input_tokens" if making.made.embeds else "max_output_tokens",), value, path)
            if {"max_output_tokens", "max_input_tokens"} & making.made.entry.info.keys():
                findings.changed(path, "max_input_tokens and max_output_tokens count")
        case "max_input_tokens" | "max_output_tokens":
            making.put((name,), value, path)
        case _ if name in _CAPABILITIES or name.startswith("supports_"):
            pass  # all together
        case _ if name in INFO_WITHOUT:
            findings.no_counterpart(path, INFO_WITHOUT[name])
        case _:
            findings.no_counterpart(path, "write it as a comment")


def put_base_model(making: Making, *, priced: bool) -> None:
    """The model behind a name, whose price counts unless the config has prices (`priced`)."""
    value, path = making.made.entry.info.get("base_model", making.made.entry.params.get("base_model", (None, ())))
    if not path:
        return
    if priced:
        making.findings.changed(path, "the prices in the config count")
    elif not isinstance(value, str) or not value.strip():
        making.findings.no_counterpart(path, "this is no name of a model")
    else:
        name = _priced_as(value.strip(), making.made.target)
        making.put(("price_as",), name, path, "" if name == value else "the model whose published price counts")


def _priced_as(model: str, target: Target) -> str:
    """A model as `price_as` names it. Azure's deployments have Azure's prices of OpenAI's models."""
    base = find_target(model, None, None)
    if not isinstance(base, Target):
        return model
    own = base.provider in (target.provider, "azure") or (base.provider, target.provider) == ("openai", "azure")
    return base.model_id if own else f"{base.provider}/{base.model_id}"


def put_capabilities(making: Making) -> None:
    """The capabilities, if the config states the one that decides: whether tools are taken. Otherwise the model data knows more."""
    info = making.made.entry.info
    stated = {name: value for name, (value, _) in info.items() if name.startswith("supports_")}
    paths = [path for name, (_, path) in info.items() if name.startswith("supports_")]
    if making.made.embeds:
        making.draft.put(("capabilities",), ["embeddings"], info["mode"][1], *paths)
        for path in paths:
            making.findings.no_counterpart(path, "a model that makes embeddings does nothing else")
    elif "supports_function_calling" in stated:
        known: list[Plain] = [_CAPABILITIES[name] for name, value in stated.items() if value is True and name in _CAPABILITIES]
        making.draft.put(("capabilities",), known, *paths)
        for name, (_, path) in info.items():
            if name in _CAPABILITIES:
                making.findings.changed(path, "capabilities has everything that the model can do")
            elif name.startswith("supports_"):
                making.findings.no_counterpart(path, "no capability of this kind is needed for a call")
    else:
        for path in paths:
            instead = "the model data counts; capabilities: […] at the model replaces it, and has to name function_calling too"
            making.findings.no_counterpart(path, instead)


def put_budget(making: Making) -> None:
    """The budget of a deployment, which a model with one endpoint takes."""
    value, path = making.made.entry.params.get("max_budget", (None, ()))
    duration, duration_path = making.made.entry.params.get("budget_duration", (None, ()))
    if not path:
        if duration_path:
            making.findings.no_counterpart(duration_path, "a duration needs max_budget")
        return
    per = budget_per(duration)
    paths = (path, duration_path) if duration_path else (path,)
    for each in paths:
        if per is None:
            making.findings.no_counterpart(each, "a budget is per day, per month or for all time: write it at the model")
        else:
            making.findings.changed(each, per.how)
    if per is not None:
        making.made.budget = (value, list(per.dimensions), paths)
