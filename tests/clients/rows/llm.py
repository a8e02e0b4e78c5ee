"""llm, the command line, with a tool of its own."""

from clients.client import Client
from clients.recipes import recipe

TOOL = """\
import subprocess


def run_command(command: str) -> str:
    "Run a command."
    return subprocess.run(command, shell=True, capture_output=True, text=True, check=False).stdout
"""
ASKED = '"Hi"'

CLIENTS = (
    Client(
        name="llm",
        installer="pip",
        packages=("llm==0.36",),
        program="bin/llm",
        words=("bash", "-c", "PATH=$client/bin:$$PATH && . ./recipe.sh"),
        env={"PROMPT": "$prompt", "LLM_USER_PATH": "$folder/llm", "PYTHONUNBUFFERED": "1"},
        files={
            "llm/extra-openai-models.yaml": recipe("llm", "yml"),
            "tool.py": TOOL,
            "recipe.sh": recipe("llm", "sh").replace(ASKED, '--functions tool.py "$$PROMPT"'),
        },
        section="llm",
    ),
)
