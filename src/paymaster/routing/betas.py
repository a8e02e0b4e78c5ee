"""Betas of Anthropic's API: which change no price, and which of a client's go on; knows no request's other fields."""

import re
from collections.abc import Mapping

from paymaster.registry.models import Model
from paymaster.routing.requests import Source

BETA_HEADER = "anthropic-beta"
BETA_FIELDS = ("betas", "anthropic_beta")
FAST_MODE = re.compile(r"fast-mode(-|$)")

LIST_PRICE_BETAS = frozenset(
    {
        "advanced-tool-use", "advisor-tool", "cache-diagnosis", "claude-code", "code-execution", "compact", "computer-use", "context-1m",
        "context-management", "dev-full-thinking", "effort", "extended-cache-ttl", "fallback-credit", "files-api",
        "fine-grained-tool-streaming", "inline-tools", "interleaved-thinking", "max-tokens-3-5-sonnet", "mcp-client", "mcp-tunnels",
        "message-batches", "message-threads", "mid-conversation-output-config", "mid-conversation-system",
        "mid-conversation-system-clear-at", "mid-conversation-tool-changes", "model-context-window-exceeded", "oauth", "output-128k",
        "output-300k", "pdfs", "prompt-caching",
        "prompt-caching-scope", "redact-thinking", "search-results", "server-side-fallback", "skills", "structured-outputs",
        "task-budgets", "thinking-binding-controls", "thinking-display-updates", "thinking-token-count", "token-counting",
        "token-efficient-tools", "tool-search-tool", "web-fetch", "web-search",
    }
)  # fmt: skip
"""Anthropic's betas that change no rate, without their dates (platform.claude.com/docs, API release notes and beta headers, 2026-11).

What they allow, such as tools and long contexts, is held for by its own field and the price's tiers.
"""
_DATE = re.compile(r"-(20\d\d)-?\d\d-?\d\d$")


def passed_headers(source: Source | None, model: Model, *, hard: bool) -> Mapping[str, str]:
    """The client's headers that go on to a model of its dialect. With `hard`, betas whose price nobody knows are not sent."""
    if source is None or source.dialect is not model.dialect:
        return {}
    if not hard or BETA_HEADER not in source.headers:
        return source.headers
    known = ",".join(known_betas(source.headers[BETA_HEADER], model))
    rest = {name: value for name, value in source.headers.items() if name != BETA_HEADER}
    return {**rest, BETA_HEADER: known} if known else rest


def known_betas(header: str, model: Model) -> list[str]:
    """The betas of a header whose price is known."""
    return [beta for beta in listed(header) if FAST_MODE.match(beta) or is_at_list_price(beta, model)]


def is_at_list_price(beta: str, model: Model) -> bool:
    """Whether a beta costs no more than the price."""
    return beta in model.at_list_price or _DATE.sub("", beta) in LIST_PRICE_BETAS


def listed(value: object) -> list[str]:
    """A list, or names with commas between them."""
    items = value if isinstance(value, list | tuple) else str(value).split(",") if value is not None else ()
    return [name for item in items if (name := str(item).strip())]
