"""Codex CLI, with no setting but the address: its search is on, and so are its agents."""

from clients.client import Client

CLIENTS = (
    Client(
        name="codex",
        installer="npm",
        packages=("@openai/codex@0.171.0",),
        program="node_modules/.bin/codex",
        dialects=("responses",),
        words=(
            "$client/node_modules/.bin/codex",
            "exec",
            "-c",
            'openai_base_url="$address/v1"',
            "-m",
            "$model",
            "--skip-git-repo-check",
            "--dangerously-bypass-approvals-and-sandbox",
            "$prompt",
        ),
        env={"CODEX_API_KEY": "$key", "CODEX_HOME": "$home/codex"},
        files={"$home/codex/config.toml": ""},
        budget_usd=0.2,
        section="Codex CLI",
    ),
)
