"""Qwen Code, with OpenAI's chat completions."""

from clients.client import Client
from clients.recipes import recipe

CLIENTS = (
    Client(
        name="qwen-code",
        installer="npm",
        packages=("@qwen-code/qwen-code@0.24.4",),
        program="node_modules/.bin/qwen",
        words=("bash", "-c", "PATH=$client/node_modules/.bin:$$PATH && . ./recipe.sh"),
        env={"PROMPT": "$prompt"},
        files={"recipe.sh": recipe("Qwen Code", "sh").replace('"Hi"', '"$$PROMPT"')},
        budget_usd=0.15,
        section="Qwen Code",
    ),
)
