"""Thinking, schema and parameters of a request in Anthropic's format, read and written; knows no message and no tool."""

from collections.abc import Iterator, Mapping

from paymaster.dialects.messages.fields import OWN, count_of, extras_of
from paymaster.dialects.neutral import Conversation, ThinkingWish
from paymaster.dialects.objects import section
from paymaster.jsontypes import JsonObject
from paymaster.registry.models import Dialect

MEDIUM_TOKENS, HIGH_TOKENS = 2_048, 4_096
"""Thinking budgets from which the effort is medium, and high: the same as in litellm, whose clients also use the gateway."""
BUDGETS: Mapping[str, int] = {"minimal": 1_024, "low": 1_024, "medium": MEDIUM_TOKENS, "high": HIGH_TOKENS, "xhigh": 8_192, "max": 16_384}
"""The thinking budget for an effort, for models that take no effort."""
EFFORTS: Mapping[str, str] = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "max"}
"""OpenAI's words for an effort, in Anthropic's."""

CHAT_EFFORTS: Mapping[str, str] = {"low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}
"""Anthropic's words for an effort, in those that all chat endpoints with an effort take."""

SHARED = ("temperature", "top_p", "top_k")
"""Parameters by the same name in chat completions."""
ONLY_HERE = frozenset(
    {
        "anthropic_beta", "betas", "billing_policy", "cache_control", "compaction", "container", "context_management", "diagnostics",
        "fallback_credit_token", "fallbacks", "inference_geo", "mcp_servers", "speed", "thread", "user_profile_id",
    }
)  # fmt: skip
"""Fields that no other dialect has a word for (platform.claude.com/docs, Messages API, 2026-11)."""
OTHER_LIMITS = frozenset({"max_completion_tokens", "max_output_tokens"})
"""What other dialects call the output limit."""
READ_APART = frozenset(
    {
        "model", "messages", "system", "tools", "tool_choice", "max_tokens", "stream", "stop_sequences", "metadata", "thinking",
        "output_config", "output_format", "service_tier", *SHARED, *ONLY_HERE, *OTHER_LIMITS,
    }
)  # fmt: skip
"""Fields that `read_request` knows. Any other is a parameter: a model of any dialect may know it."""

_THINKS = ("enabled", "adaptive")
_WAYS = (*_THINKS, "disabled")
_FORMAT = frozenset({"type", "schema"})
_TIERS = {"standard_only": "default", "auto": "auto"}
_OWN_TIERS = {word: own for own, word in _TIERS.items()}
_WRITTEN_APART = frozenset({"max_tokens", "metadata", "user"})
_OPENAI_TIERS = frozenset({"flex", "priority", "scale"})
_FOREIGN = frozenset(
    {
        "audio", "chat_template_kwargs", "enable_thinking", "frequency_penalty", "function_call", "functions", "google",
        "guided_json", "include", "include_reasoning", "length_penalty", "logit_bias", "logprobs", "max_completion_tokens",
        "min_p", "min_tokens", "modalities", "n", "parallel_tool_calls", "prediction", "presence_penalty", "prompt_cache_key",
        "prompt_cache_retention", "prompt_mode", "reasoning", "reasoning_effort", "repetition_penalty", "response_format",
        "safe_prompt", "safety_identifier", "seed", "separate_reasoning", "service_tier", "store", "stream_options", "text",
        "think", "thinking_budget", "tool_choice", "top_a", "top_logprobs", "truncation", "typical_p", "verbosity",
        "web_search_options",
    }
)  # fmt: skip
"""Parameters of OpenAI's API and of servers for open models, which Anthropic's refuses, as it does every field that it does not know."""


def read_thinking(body: JsonObject) -> ThinkingWish | None:
    """How much the model shall think; None: the client does not say. Raises RequestInvalid."""
    own, config = section(body.get("thinking")), section(body.get("output_config"))
    kind, effort, display = own.get("type"), config.get("effort"), own.get("display")
    budget = count_of(own, "budget_tokens", "thinking.budget_tokens") if kind == "enabled" else None
    if not own and not isinstance(effort, str):
        return None
    said = {name: value for name, value in (("thinking", body.get("thinking")), ("effort", effort)) if value is not None}
    return ThinkingWish(
        effort=effort if isinstance(effort, str) else "" if budget is None else effort_of(budget),
        budget_tokens=budget,
        adaptive=kind == "adaptive",
        off=kind == "disabled",
        shown=None if display is None else display != "omitted",
        own={OWN: said},
    )


def wants_thinking(body: JsonObject) -> bool:
    """Whether the client requested thinking: other clients do not expect such a block, and get none."""
    return section(body.get("thinking")).get("type") in _THINKS


def effort_of(budget_tokens: int) -> str:
    """The effort that a thinking budget means."""
    return "high" if budget_tokens >= HIGH_TOKENS else "medium" if budget_tokens >= MEDIUM_TOKENS else "low"


def read_schema(body: JsonObject) -> tuple[JsonObject | None, JsonObject]:
    """The schema of the answer, and what is left of the fields that have it."""
    config = {name: value for name, value in section(body.get("output_config")).items() if name != "effort" and value is not None}
    older = body.get("output_format")
    found = section(config.get("format") or older)
    if found.get("type") == "json_schema" and found.keys() <= _FORMAT:
        config.pop("format", None)
        return {"name": "answer", "schema": found.get("schema"), "strict": True}, {"output_config": config} if config else {}
    rest = {"output_config": config} if config else {}
    return None, rest if older is None else {**rest, "output_format": older}


def read_params(body: JsonObject) -> Iterator[tuple[str, object]]:
    """The parameters by the names that chat completions has for them."""
    yield from ((name, body[name]) for name in SHARED if body.get(name) is not None)
    if stops := body.get("stop_sequences"):
        yield "stop", stops
    if isinstance(user := section(body.get("metadata")).get("user_id"), str):
        yield "user", user
    if isinstance(tier := body.get("service_tier"), str):
        yield "service_tier", _TIERS.get(tier, tier)
    yield from ((name, value) for name, value in body.items() if name not in READ_APART and value is not None)


def read_extras(body: JsonObject, rest: JsonObject) -> JsonObject:
    """What no other dialect has a word for."""
    metadata = extras_of(section(body.get("metadata")), frozenset({"user_id"}))
    own = {name: body[name] for name in sorted(ONLY_HERE | OTHER_LIMITS) if body.get(name) not in (None, [], {})}
    return {**own, **({"metadata": metadata[OWN]} if metadata else {}), **rest}


def write_wishes(conversation: Conversation, *, forced: bool, dropped: dict[str, None]) -> dict[str, object]:
    """The fields for thinking, schema and parameters. A model that must call a tool can't think."""
    body: dict[str, object] = {}
    config: dict[str, object] = {}
    if (wish := conversation.thinking) is not None:
        config, thinking = _write_thinking(wish, forced=forced, dropped=dropped)
        if thinking is not None:
            body["thinking"] = thinking
    if (schema := conversation.schema) is not None:
        if isinstance(inner := schema.get("schema"), Mapping):
            config["format"] = {"type": "json_schema", "schema": inner if schema.get("strict") is True else _closed(inner)}
        else:
            dropped["response_format"] = None
    own = dict(conversation.extras.get(OWN, {}))
    params = dict(_write_params(conversation.params, section(own.pop("metadata", None)), dropped))
    config |= {**section(own.pop("output_config", None)), **section(params.pop("output_config", None))}
    body |= params
    if config:
        body["output_config"] = config
    return {**body, **own}


def _closed(schema: object) -> object:
    """The schema of a client that did not ask for a strict one: the API demands that every object in it is closed."""
    if isinstance(schema, list):
        return [_closed(item) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    inner = {name: _closed(value) for name, value in schema.items()}
    return {**inner, "additionalProperties": False} if schema.get("type") == "object" else inner


def _write_thinking(wish: ThinkingWish, *, forced: bool, dropped: dict[str, None]) -> tuple[dict[str, object], JsonObject | None]:
    """The effort, and the thinking: as it was said here, or as an adaptive one. What a model takes is `models.fit_body`'s to know."""
    said = wish.own.get(OWN) or wish.own.get(Dialect.CHAT, {})
    if OWN in wish.own or section(said.get("thinking")).get("type") in _WAYS:  # a chat client may use Anthropic's words, too
        thinking = said.get("thinking")
        return ({"effort": said["effort"]} if "effort" in said else {}), thinking if isinstance(thinking, Mapping) else None
    if wish.off or wish.effort == "none":
        return {}, {"type": "disabled"}
    if forced:
        dropped["reasoning_effort"] = None
        return {}, None
    effort = EFFORTS.get(wish.effort)
    config: dict[str, object] = {"effort": effort} if effort is not None else {}
    if wish.budget_tokens is not None:
        return config, {"type": "enabled", "budget_tokens": wish.budget_tokens}
    return config, {"type": "adaptive", **({"display": "summarized"} if wish.shown is not False else {})}


def _write_params(params: Mapping[str, object], metadata: JsonObject, dropped: dict[str, None]) -> Iterator[tuple[str, object]]:
    given = section(params.get("metadata"))
    user = params.get("user", given.get("user_id"))
    if isinstance(user, str):
        metadata = {**metadata, "user_id": user}
    if metadata:
        yield "metadata", metadata
    if given.keys() - {"user_id"}:
        dropped["metadata"] = None
    for name, value in params.items():
        if value is None or name in _WRITTEN_APART or (name == "n" and value == 1):
            continue
        if name == "stop":
            yield from _write_stops(value, dropped)
        elif name == "temperature" and isinstance(value, int | float):
            yield name, min(value, 1)  # OpenAI's goes up to 2
        elif name == "service_tier" and str(value) not in _OPENAI_TIERS:
            yield name, _OWN_TIERS.get(str(value), value)
        elif name in _FOREIGN:
            dropped[name] = None
        else:
            yield name, value


def _write_stops(value: object, dropped: dict[str, None]) -> Iterator[tuple[str, object]]:
    """The texts at which the answer stops. The API refuses one without a word."""
    stops = value if isinstance(value, list | tuple) else [value]
    kept = [stop for stop in stops if isinstance(stop, str) and stop.strip()]
    if kept:
        yield "stop_sequences", kept
    if len(kept) < len(stops):
        dropped["stop"] = None
