"""Continue's command line, with OpenAI's chat completions and Anthropic's messages."""

from clients.client import Client
from clients.recipes import recipe

PROVIDERS = {"chat": "provider: openai", "messages": "provider: anthropic"}

CLIENTS = (
    Client(
        name="continue",
        installer="npm",
        packages=("@continuedev/cli@1.5.47",),
        program="node_modules/.bin/cn",
        dialects=tuple(PROVIDERS),
        words=("bash", "-c", "mv continue_$dialect.yaml continue.yaml && PATH=$client/node_modules/.bin:$$PATH && . ./recipe.sh"),
        env={"PROMPT": "$prompt", "CONTINUE_TELEMETRY_ENABLED": "0"},
        files={
            **{
                f"continue_{dialect}.yaml": recipe("Continue", "yaml").replace(PROVIDERS["chat"], line)
                for dialect, line in PROVIDERS.items()
            },
            "recipe.sh": recipe("Continue", "sh").replace('"Hi"', '"$$PROMPT"'),
        },
        section="Continue",
    ),
)
