"""The AI SDK: `generateText`, `streamText` and structured output, over its three providers."""

from clients.client import Client

JOB_ENV = {"ADDRESS": "$address", "KEY": "$key", "MODEL": "$model", "DIALECT": "$dialect", "TASK": "$task", "PROMPT": "$prompt"}

CLIENTS = (
    Client(
        name="ai-sdk",
        installer="npm",
        packages=("ai@6.0.326", "@ai-sdk/openai@3.0.141", "@ai-sdk/openai-compatible@2.0.92", "@ai-sdk/anthropic@3.0.140", "zod@4.6.7"),
        program="node_modules/ai/package.json",
        dialects=("chat", "responses", "messages"),
        words=("node", "$home/ai_sdk.mjs"),
        env=JOB_ENV,
        job="ai_sdk.mjs",
        tasks=("job", "whole", "structured"),
        section="AI SDK",
    ),
)
