"""Cline's command line, with OpenAI's chat completions."""

from clients.client import Client
from clients.recipes import recipe

CLIENTS = (
    Client(
        name="cline",
        installer="npm",
        packages=("cline@3.0.65",),
        program="node_modules/.bin/cline",
        words=("bash", "-c", "PATH=$client/node_modules/.bin:$$PATH && . ./recipe.sh"),
        env={"PROMPT": "$prompt"},
        files={"recipe.sh": recipe("Cline", "sh").replace('"Hi"', '"$$PROMPT"')},
        section="Cline",
    ),
)
