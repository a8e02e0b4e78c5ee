"""Keeps the work and the figures of an agent of mini's when it is ended: the `git diff` of where it worked, and what was paid for nothing.

Knows mini's agents and environments.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from paymaster.accounting.money import NANOUSD_PER_USD
from paymaster.errors import PaymasterError

if TYPE_CHECKING:
    from paymaster.agents.mini.model import PaymasterModel

_DIFF = "git --no-optional-locks diff --no-color --no-ext-diff HEAD 2>/dev/null"
_MOST_DIRECTORIES = 8
_CHANGES_DIRECTORY = re.compile(r"""^\s*cd\s+("[^"\n]*"|'[^'\n]*'|[^\s;&|]+)\s*(?:&&|;|\n)""")


class Environment(Protocol):
    """Where an agent's commands run."""

    def execute(self, action: dict[str, object]) -> Mapping[str, object]:
        """Run a command; the answer has `output` and `returncode`."""
        ...


class Agent(Protocol):
    """What is used of mini's agents."""

    model: "PaymasterModel"
    env: Environment
    messages: list[dict[str, object]]
    cost: float
    n_calls: int
    query: Callable[[], object]


def keep_work(agent: Agent) -> None:
    """From here on, a limit that ends this agent leaves its work as the submission, and a call that brought no answer is in its figures.

    The agent is one of mini's, unchanged but for this.
    """
    from minisweagent.exceptions import LimitsExceeded

    ask = agent.query

    def query() -> object:
        calls = agent.n_calls
        try:
            return ask()
        except LimitsExceeded as end:
            _correct_figures(agent, calls)
            extra = end.messages[-1]["extra"]
            if not extra.get("submission"):
                extra["submission"] = work_in(agent.env, agent.messages)
            raise
        except PaymasterError:
            _correct_figures(agent, calls)
            raise

    agent.query = query


def _correct_figures(agent: Agent, calls: int) -> None:
    """A call is counted by mini before it is made, and its cost when it is answered."""
    paid = agent.model.unanswered
    agent.cost += paid.cost_nanousd / NANOUSD_PER_USD
    if not paid.attempts:
        agent.n_calls = calls


def work_in(environment: Environment, messages: Sequence[Mapping[str, object]]) -> str:
    """The work as a patch: of the environment's own directory, else of the one that the agent's commands went to last.

    Empty where there is no git, no repository, no commit or no change.
    """
    for directory in ("", *directories(messages)):
        done = environment.execute({"command": f"cd {directory} && {_DIFF}" if directory else _DIFF})
        if done.get("returncode") == 0 and (patch := str(done.get("output") or "")).strip():
            return patch
    return ""


def directories(messages: Sequence[Mapping[str, object]]) -> list[str]:
    """Where the agent's commands went, the last first, in the words of the agent: each of its commands begins where the first one did."""
    found = dict.fromkeys(match[1] for command in _commands(messages) if (match := _CHANGES_DIRECTORY.match(command)))
    return list(found)[:_MOST_DIRECTORIES]


def _commands(messages: Sequence[Mapping[str, object]]) -> Iterator[str]:
    """The last first."""
    for message in reversed(messages):
        extra = message.get("extra")
        actions = extra.get("actions") if isinstance(extra, Mapping) else None
        for action in reversed(actions if isinstance(actions, list) else []):
            yield str(action.get("command", "")) if isinstance(action, Mapping) else ""
