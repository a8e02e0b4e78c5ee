"""Whether a request asks a model to think or not, in the words of any API, and the same in the words of its endpoint; knows no model."""

from collections.abc import Mapping

from paymaster.jsontypes import JsonObject

MEDIUM_TOKENS, HIGH_TOKENS = 2_048, 4_096
"""Thinking budgets from which the effort is medium, and high: the same as in litellm."""

_WORDS = frozenset({"enable_thinking", "reasoning", "reasoning_effort", "think", "thinking", "thinking_budget"})
_IN_TEMPLATE = frozenset({"enable_thinking", "thinking"})
_TEMPLATE = "chat_template_kwargs"
THINKING_WORDS = _WORDS | {_TEMPLATE, "google"}
"""Parameters that may say whether to think."""


def effort_for(budget_tokens: int) -> str:
    """OpenAI's word for a thinking budget."""
    return "high" if budget_tokens >= HIGH_TOKENS else "medium" if budget_tokens >= MEDIUM_TOKENS else "low"


def asks_not_to_think(params: JsonObject) -> bool:
    """Whether a parameter switches thinking off."""
    if THINKING_WORDS.isdisjoint(params):
        return False
    thinking, reasoning, template = (_section(params.get(name)) for name in ("thinking", "reasoning", _TEMPLATE))
    google = _section(_section(params.get("google")).get("thinking_config"))
    return (
        is_off(thinking)
        or params.get("reasoning_effort") == "none"
        or reasoning.get("enabled") is False
        or reasoning.get("effort") == "none"
        or any(params.get(name) is False for name in ("enable_thinking", "think"))
        or any(template.get(name) is False for name in _IN_TEMPLATE)
        or any(_is_zero(budget) for budget in (params.get("thinking_budget"), reasoning.get("max_tokens"), google.get("thinking_budget")))
    )


def is_off(thinking: JsonObject) -> bool:
    """Whether Anthropic's parameter switches thinking off."""
    return thinking.get("type") == "disabled" or _is_zero(thinking.get("budget_tokens"))


def asks_for_the_least(params: JsonObject, off: JsonObject) -> bool:
    """Whether an effort is asked for that the endpoint does not have, and that comes nearest to none at all."""
    return params.get("reasoning_effort") == "minimal" and "reasoning" not in off


def without_thinking(params: JsonObject, off: JsonObject) -> dict[str, object]:
    """The parameters with `off`, the endpoint's own words, in place of all others about thinking."""
    kept = {name: value for name, value in params.items() if name not in _WORDS}
    template = {name: value for name, value in _section(kept.pop(_TEMPLATE, None)).items() if name not in _IN_TEMPLATE}
    google = {name: value for name, value in _section(kept.pop("google", None)).items() if name != "thinking_config"}
    for name, value in off.items():
        if name == _TEMPLATE:
            template |= _section(value)
        else:
            kept[name] = value
    return {**kept, **({_TEMPLATE: template} if template else {}), **({"google": google} if google else {})}


def effort_in(params: JsonObject) -> str | None:
    """The effort that `thinking` or `reasoning` amounts to, for an endpoint that knows only an effort; None if they ask for none."""
    thinking, reasoning = (_section(params.get(name)) for name in ("thinking", "reasoning"))
    effort = reasoning.get("effort")
    if isinstance(effort, str):
        return effort
    for budget in (thinking.get("budget_tokens"), reasoning.get("max_tokens")):
        if isinstance(budget, int) and not isinstance(budget, bool):
            return effort_for(budget)
    return "medium" if thinking.get("type") in ("enabled", "adaptive") or reasoning.get("enabled") is True else None


def _section(value: object) -> JsonObject:
    return value if isinstance(value, Mapping) else {}


def _is_zero(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and not value
