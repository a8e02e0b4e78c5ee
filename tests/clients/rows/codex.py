"""Codex CLI, with no setting but the address, and with a provider of its own in its configuration; its search and its agents are on."""

from clients.client import SCHEMA, Client
from clients.recipes import recipe

PACKAGES = ("@openai/codex@0.171.0",)
FLAGS = "--skip-git-repo-check --dangerously-bypass-approvals-and-sandbox $$SCHEMA"
START = """\
PATH=$client/node_modules/.bin:$$PATH
if [ $task = structured ]; then SCHEMA="--output-schema schema.json"; fi
. ./recipe.sh
"""


def row(name: str, number: int, files: dict[str, str]) -> Client:
    """Codex by one of the commands of its recipe."""
    return Client(
        name=name,
        installer="npm",
        packages=PACKAGES,
        program="node_modules/.bin/codex",
        dialects=("responses",),
        words=("bash", "-c", START),
        env={"PROMPT": "$prompt"},
        files={**files, "schema.json": SCHEMA, "recipe.sh": recipe("Codex CLI", "sh", number).replace('"Hi"', f'{FLAGS} "$$PROMPT"')},
        tasks=("job", "structured"),
        budget_usd=0.2,
        section="Codex CLI",
        folder="codex",
    )


CLIENTS = (
    row("codex", 0, {}),
    row("codex-config", 1, {"$home/.codex/config.toml": recipe("Codex CLI", "toml")}),
)
