"""Saves the work of an agent of mini's that a refusal ends, as a `git diff`, and the cost of its last call; knows mini's agents."""

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
    """The environment in which an agent's commands run."""

    def execute(self, action: dict[str, object]) -> Mapping[str, object]:
        """Run a command; the result has `output` and `returncode`."""
        ...


class Agent(Protocol):
    """The parts of mini's agents that are used here."""

    model: "PaymasterModel"
    env: Environment
    messages: list[dict[str, object]]
    cost: float
    n_calls: int
    query: Callable[[], object]


def keep_work(agent: Agent) -> None:
    """Change an agent of mini's: if a limit or a refusal ends it, its work becomes the submission; a failed call is in its figures."""
    from minisweagent.exceptions import InterruptAgentFlow

    original_query = agent.query

    def query() -> object:
        calls = agent.n_calls
        try:
            return original_query()
        except InterruptAgentFlow as end:
            if end.messages[-1].get("role") == "exit":  # others go on, as after an answer that mini can't read
                _correct_figures(agent, calls)
                extra = end.messages[-1]["extra"]
                if not extra.get("submission"):
                    extra["submission"] = find_diff(agent.env, agent.messages)
            raise
        except PaymasterError:
            _correct_figures(agent, calls)
            raise

    agent.query = query


def _correct_figures(agent: Agent, calls: int) -> None:
    """Correct the figures: mini counts a call before it is made, and its cost only when it is answered."""
    failed = agent.model.unanswered
    agent.cost += failed.cost_nanousd / NANOUSD_PER_USD
    if not failed.attempts:
        agent.n_calls = calls


def find_diff(environment: Environment, messages: Sequence[Mapping[str, object]]) -> str:
    """The work as a patch: of the environment's own directory, else of the last directory of the agent's commands with a change.

    Empty if there is no git, no repository, no commit or no change.
    """
    for directory in ("", *directories(messages)):
        result = environment.execute({"command": f"cd {directory} && {_DIFF}" if directory else _DIFF})
        if result.get("returncode") == 0 and (patch := str(result.get("output") or "")).strip():
            return patch
    return ""


def directories(messages: Sequence[Mapping[str, object]]) -> list[str]:
    """The directories of the agent's `cd` commands, the last first, as written: each command starts in the same directory."""
    found = dict.fromkeys(match[1] for command in _commands(messages) if (match := _CHANGES_DIRECTORY.match(command)))
    return list(found)[:_MOST_DIRECTORIES]


def _commands(messages: Sequence[Mapping[str, object]]) -> Iterator[str]:
    """The agent's commands, the last first."""
    for message in reversed(messages):
        extra = message.get("extra")
        actions = extra.get("actions") if isinstance(extra, Mapping) else None
        for action in reversed(actions if isinstance(actions, list) else []):
            yield str(action.get("command", "")) if isinstance(action, Mapping) else ""
