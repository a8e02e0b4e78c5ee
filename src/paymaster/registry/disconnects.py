"""What providers state about a connection that closes in the middle of an answer: facts with a date and a source; knows no call.

A provider has a row only if its own documents say that the model stops and that billing ends. A search on 2026-11-30 found one other
statement: Novita bills "actual token usage regardless of disconnect timing" (novita.ai/docs/guides/llm-billing), which does not say that
the model stops.
"""

from dataclasses import dataclass

GENEROUS_TOKENS_PER_SECOND = 1_000
"""Faster than any answer of the endpoints in the rows below. Where answers come faster (Cerebras, Groq), state it in the registry."""

CLOSING_MS = 500
"""What is on its way when the connection closes: output that has not arrived yet, and then the news of the close."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StopsOnDisconnect:
    """A provider stops, and bills no more, when the connection of a *streamed* answer closes.

    `source` is where that is stated, `stated_on` the day on which it was read. An answer has at most `tokens_per_second` of output. With
    `served_by` it holds only for answers that name one of these in their `provider` field, compared in lower case.
    """

    source: str
    stated_on: str
    tokens_per_second: int = GENEROUS_TOKENS_PER_SECOND
    closing_ms: int = CLOSING_MS
    served_by: frozenset[str] | None = None

    def holds_for(self, served_by: str | None) -> bool:
        """Whether the fact covers an answer of this upstream provider; None if the answer names none."""
        return self.served_by is None or (served_by or "").strip().lower() in self.served_by


OPENROUTER = StopsOnDisconnect(
    source="openrouter.ai/docs/api-reference/streaming, Stream Cancellation",
    stated_on="2026-11-30",
    served_by=frozenset(
        {
            "anthropic", "anyscale", "avian", "azure", "chutes", "cloudflare", "cohere", "deepinfra", "deepseek", "fireworks", "friendli",
            "hyperbolic", "infermatic", "lepton", "liquid", "mancer", "nineteen", "novita", "octoai", "openai", "recursal", "sfcompute",
            "together", "xai",
        }
    ),
)  # fmt: skip
"""OpenRouter lists the providers behind it that stop; all others, Google, Bedrock and Groq among them, finish the answer and bill it."""
