"""The AI SDK: `generateText`, `streamText` and structured output, over its three providers."""

from clients.client import JOB_ENV, Client
from clients.recipes import recipe

DIALECTS = ("chat", "responses", "messages")


def row(name: str, *packages: str) -> Client:
    """The same job for a release of the SDK."""
    return Client(
        name=name,
        installer="npm",
        packages=packages,
        program="node_modules/ai/package.json",
        dialects=DIALECTS,
        words=("node", "$home/ai_sdk.mjs"),
        env=JOB_ENV,
        files={f"$home/recipe_{dialect}.mjs": recipe("AI SDK", "js", number) for number, dialect in enumerate(DIALECTS)},
        job="ai_sdk.mjs",
        tasks=("job", "whole", "structured"),
        section="AI SDK",
    )


CLIENTS = (
    row("ai-sdk", "ai@6.0.326", "@ai-sdk/openai@3.0.141", "@ai-sdk/openai-compatible@2.0.92", "@ai-sdk/anthropic@3.0.140", "zod@4.6.7"),
    row("ai-sdk-7", "ai@7.0.173", "@ai-sdk/openai@4.0.118", "@ai-sdk/openai-compatible@3.0.92", "@ai-sdk/anthropic@4.0.105", "zod@4.6.7"),
)
