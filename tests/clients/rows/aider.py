"""aider, which has no tools: it adds the files that an answer names to the chat, and asks again."""

from clients.client import Client
from clients.recipes import recipe

DIALECTS = ("chat", "messages")
TASK = (
    '--message "$$PROMPT" --yes-always --no-check-update --no-show-release-notes --no-show-model-warnings --analytics-disable '
    "--no-auto-commits --no-suggest-shell-commands --map-tokens 0\n"
)

CLIENTS = (
    Client(
        name="aider",
        installer="pip",
        packages=("aider-chat==0.86.2",),
        program="bin/aider",
        python="3.12",
        words=("bash", "-c", "git init -q && git add . && PATH=$client/bin:$$PATH && . ./recipe_$dialect.sh"),
        dialects=DIALECTS,
        env={"PROMPT": "$prompt", "PYTHONUNBUFFERED": "1"},
        files={f"recipe_{dialect}.sh": f"{recipe('aider', 'sh', number).rstrip()} {TASK}" for number, dialect in enumerate(DIALECTS)},
        lacks={
            "parallel": "has no tools",
            "budget/messages": "retries for 64 s: its litellm takes a status 402 of Anthropic's API for a lost connection",
        },
        section="aider",
    ),
)
