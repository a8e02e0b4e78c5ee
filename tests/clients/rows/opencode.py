"""opencode, with a provider of each dialect in its configuration."""

from clients.client import Client
from clients.recipes import recipe

NPM = {"chat": "@ai-sdk/openai-compatible", "responses": "@ai-sdk/openai", "messages": "@ai-sdk/anthropic"}

CLIENTS = (
    Client(
        name="opencode",
        installer="npm",
        packages=("opencode-ai@1.18.33",),
        program="node_modules/.bin/opencode",
        dialects=tuple(NPM),
        words=("bash", "-c", "mv opencode_$dialect.json opencode.json && PATH=$client/node_modules/.bin:$$PATH && . ./recipe.sh"),
        env={"PROMPT": "$prompt", "OPENCODE_DISABLE_AUTOUPDATE": "1", "OPENCODE_DISABLE_MODELS_FETCH": "1"},
        files={
            **{f"opencode_{dialect}.json": recipe("opencode", "json").replace(NPM["chat"], npm) for dialect, npm in NPM.items()},
            "recipe.sh": recipe("opencode", "sh").replace('"Hi"', '"$$PROMPT"'),
        },
        budget_usd=0.15,
        section="opencode",
    ),
)
