"""Models that differ from others of their provider: parameters, prices of caching, and the wire format; knows rows only.

A model may be served in more than one wire format: its row names the one in which it can do most.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from paymaster.registry.models import Dialect

_SAMPLING = frozenset({"temperature", "top_p", "presence_penalty", "frequency_penalty", "logprobs", "top_logprobs", "logit_bias"})


@dataclass(frozen=True, slots=True)
class ModelQuirk:
    """Differences of the models whose id starts with a match of the regular expression `pattern`."""

    pattern: str
    unsupported_params: frozenset[str] = frozenset()
    output_limit_param: str | None = None
    writes_cache_unasked: bool = False
    effort_with_tools: bool = True
    dialect: Dialect | None = None


_RESPONSES_LACK = frozenset(
    {
        "audio", "best_of", "frequency_penalty", "function_call", "functions", "logit_bias", "logprobs", "modalities", "n", "prediction",
        "presence_penalty", "seed", "stop", "web_search_options",
    }
)  # fmt: skip
UNKNOWN_TO: Mapping[Dialect, frozenset[str]] = {Dialect.RESPONSES: _RESPONSES_LACK}
"""Parameters of chat completions that a dialect has no word for."""

# The reasoning models take only one temperature, and no longer `max_tokens`.
OPENAI_QUIRKS = (
    # Chat completions don't have these (github.com/pgadmin-org/pgadmin4, issue 9795; github.com/alvinunreal/tmuxai, issue 82; litellm's
    # model table, 2026-11).
    ModelQuirk(
        r"(openai/)?(o[134](-mini)?-(pro|deep-research)|gpt-5-(pro|codex)|codex-mini|computer-use-preview)",
        _SAMPLING,
        "max_completion_tokens",
        dialect=Dialect.RESPONSES,
    ),
    ModelQuirk(r"(openai/)?gpt-5\.1-codex", output_limit_param="max_completion_tokens", dialect=Dialect.RESPONSES),
    ModelQuirk(r"(openai/)?gpt-daybreak-", dialect=Dialect.RESPONSES),
    ModelQuirk(r"(openai/)?(o[134](-|$)|gpt-5(-(mini|nano|20\d\d)|$))", _SAMPLING, "max_completion_tokens"),
    # From GPT-5.6 on, writes to the prompt cache are billed at 1.25 x the input, requested or not.
    # From GPT-5.2 on, chat completions reject tools together with a reasoning effort (github.com/openai/openai-openapi, issue 541, for
    # GPT-5.4; github.com/livekit/agents, pull request 5088, for GPT-5.2): responses take both.
    ModelQuirk(r"(openai/)?gpt-\d+(\.\d+)?-chat", output_limit_param="max_completion_tokens", effort_with_tools=False),
    ModelQuirk(
        r"(openai/)?gpt-(5\.([6-9]|\d\d)|[6-9]|\d\d)",
        output_limit_param="max_completion_tokens",
        writes_cache_unasked=True,
        effort_with_tools=False,
        dialect=Dialect.RESPONSES,
    ),
    ModelQuirk(r"(openai/)?gpt-5\.[2-5]", output_limit_param="max_completion_tokens", effort_with_tools=False, dialect=Dialect.RESPONSES),
    ModelQuirk(r"(openai/)?gpt-5", output_limit_param="max_completion_tokens"),
)
_GROK_REFUSES = frozenset({"presence_penalty", "frequency_penalty", "stop", "logit_bias"})
GROK_QUIRKS = (
    ModelQuirk(r"grok-[\d.]+-multi-agent", _GROK_REFUSES, dialect=Dialect.RESPONSES),
    ModelQuirk(r"grok-([4-9]|3-mini|code|build)", _GROK_REFUSES),
)
