"""OpenAI's and Anthropic's own SDKs, for Node and for Python."""

from clients.client import JOB_ENV, Client
from clients.recipes import recipe

DIALECTS = {"openai": ("chat", "responses"), "anthropic": ("messages",)}
TASKS = ("job", "whole", "structured")


def node(section: str, package: str) -> Client:
    """The row of an SDK for Node."""
    job = f"{section}_node.mjs"
    return Client(
        name=f"{section}-node",
        installer="npm",
        packages=(package,),
        program=f"node_modules/{package.rpartition('@')[0]}/package.json",
        dialects=DIALECTS[section],
        words=("bash", "-c", f". ./recipe.sh && exec node $home/{job}"),
        env=JOB_ENV,
        files={"recipe.sh": recipe(section, "sh")},
        job=job,
        tasks=TASKS,
        section=section,
    )


def python(section: str, package: str) -> Client:
    """The row of an SDK for Python."""
    return Client(
        name=f"{section}-python",
        installer="pip",
        packages=(package,),
        program="bin/python",
        dialects=DIALECTS[section],
        words=("bash", "-c", f". ./recipe.sh && exec $client/bin/python $jobs/{section}_python.py"),
        env=JOB_ENV,
        files={"recipe.sh": recipe(section, "sh")},
        tasks=TASKS,
        section=section,
    )


CLIENTS = (
    node("openai", "openai@7.59.0"),
    node("anthropic", "@anthropic-ai/sdk@1.14.0"),
    python("openai", "openai==3.57.0"),
    python("anthropic", "anthropic==2.14.0"),
)
