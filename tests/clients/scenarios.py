"""The scenarios that every client is run through, as data: what the endpoint does, what the registry allows, how the client is to end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clients.client import Client

DIALECTS = ("chat", "responses", "messages")


@dataclass(frozen=True, slots=True)
class Scenario:
    """One scenario. `variant` is the endpoint's (`endpoint.py`), `task` the client's."""

    name: str
    variant: str = "ok"
    task: str = "job"
    fallback: bool = False
    """Whether a second model, which works, stands behind the first, in another dialect."""
    every_model: bool = False
    """Whether to run it for models of every dialect, and not only of the client's own."""
    answers: bool = True
    """Whether the client is to end well, with the word in its output."""
    output: str = ""
    """A regular expression that its output has otherwise."""


SCENARIOS = (
    Scenario("job", every_model=True),
    Scenario("parallel", variant="parallel"),
    Scenario("thinking", variant="thinks", every_model=True),
    Scenario("whole", task="whole", every_model=True),
    Scenario("structured", task="structured", every_model=True),
    Scenario("fallback", variant="fails", fallback=True),
    Scenario("budget", variant="expensive", answers=False, output=r"budget_usd_per_run"),
    Scenario("cut", variant="cut", answers=False, output=r"cut after it had begun"),
    Scenario("cancel", variant="slow", answers=False),
)


@dataclass(frozen=True, slots=True)
class Case:
    """One run: a client that speaks a dialect, a scenario, and the dialect of the model behind the gateway."""

    client: Client
    dialect: str
    scenario: Scenario
    upstream: str

    @property
    def id(self) -> str:
        """The name of the test."""
        return f"{self.client.name}-{self.dialect}-{self.scenario.name}-{self.upstream}"

    @property
    def lacks(self) -> str:
        """Why the client can't do it; empty if it can."""
        lacks, name = self.client.lacks, self.scenario.name
        return lacks.get(f"{name}/{self.dialect}") or lacks.get(name) or ""


def cases_of(client: Client) -> list[Case]:
    """Every run of a client."""
    return [
        Case(client, dialect, scenario, upstream)
        for dialect in client.dialects
        for scenario in SCENARIOS
        if scenario.task in client.tasks
        for upstream in (DIALECTS if scenario.every_model else (dialect,))
    ]
