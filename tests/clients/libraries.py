"""Makes the row of a Python library: its job is a program of `jobs/`, its settings are the page's recipe; knows no library."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clients.client import Client
from clients.recipes import recipe

if TYPE_CHECKING:
    from collections.abc import Mapping

JOB_ENV = {
    "MODEL": "$model", "DIALECT": "$dialect", "TASK": "$task", "PROMPT": "$prompt", "PYTHONPATH": "$folder",
    "PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": "ignore",
}  # fmt: skip
"""What a job program reads. Its recipe is a module of the working folder for each dialect."""


def library(
    name: str,
    *packages: str,
    dialects: tuple[str, ...] = ("chat", "responses", "messages"),
    tasks: tuple[str, ...] = ("job", "whole", "structured"),
    section: str = "",
    oldest_python: str = "",
    model: str = "worker",
    lacks: Mapping[str, str] | None = None,
    budget_usd: float = 0.03,
) -> Client:
    """A row. The Python blocks of its section of the page are its recipes, in the order of `dialects`."""
    heading = section or name
    return Client(
        name=name,
        installer="pip",
        packages=packages,
        program="bin/python",
        # -P: a program's folder is no place to import from, as one of them may have the name of its library.
        words=("$client/bin/python", "-P", f"$jobs/{name.replace('-', '_')}.py"),
        dialects=dialects,
        env=JOB_ENV,
        files={f"recipe_{dialect}.py": recipe(heading, "python", number) for number, dialect in enumerate(dialects)},
        model=model,
        tasks=tasks,
        budget_usd=budget_usd,
        lacks=lacks or {},
        oldest_python=oldest_python,
        section=heading,
    )
