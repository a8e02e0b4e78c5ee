"""The work of an agent that a limit ends: found in the agent's directory, on this machine or in a container."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("minisweagent", reason="mini-swe-agent is not installed: pip install 'paymaster[mini]'")

from minisweagent.agents.default import DefaultAgent
from minisweagent.environments.local import LocalEnvironment
from minisweagent.exceptions import LimitsExceeded

from paymaster.agents.clients import Tally
from paymaster.agents.mini.saved_work import directories, find_diff, keep_work

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FIXED = "def add(a, b):\n    return a + b\n"


def history(*commands: str) -> list[dict[str, object]]:
    return [{"role": "assistant", "extra": {"actions": [{"command": command}]}} for command in commands]


class Container:
    """A fake container: commands run in a directory whose path is not known outside."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def execute(self, action: Mapping[str, object]) -> dict[str, object]:
        args = ["bash", "-c", str(action["command"])]
        done = subprocess.run(args, cwd=self._directory, check=False, capture_output=True, text=True)
        return {"output": done.stdout, "returncode": done.returncode}


def test_the_environments_own_directory_comes_first_even_in_a_container(repository: Path) -> None:
    (repository / "sum.py").write_text(FIXED)
    assert "+    return a + b" in find_diff(Container(repository), history("cd / && ls"))


def test_the_last_directory_of_the_commands_comes_next(repository: Path) -> None:
    (repository / "sum.py").write_text(FIXED)
    environment = LocalEnvironment(cwd=str(repository.parent))
    assert "+    return a + b" in find_diff(environment, history("cd /nowhere; ls", "cd 'repository' && make", "ls"))
    assert find_diff(environment, history("ls", "echo cd repository")) == ""


def test_without_a_repository_or_a_change_there_is_no_diff(repository: Path, tmp_path: Path) -> None:
    assert find_diff(LocalEnvironment(cwd=str(repository)), []) == ""
    assert find_diff(LocalEnvironment(cwd=str(tmp_path)), []) == ""


def test_directories_are_listed_once_the_last_first() -> None:
    commands = ["cd a && ls", 'cd "b c"; ls', "ls && cd no", "cd a\nls", "cd $(pwd) || ls", "cd d"]
    assert directories([{"role": "user"}, *history(*commands)]) == ["a", '"b c"']


class LimitedModel:
    """A model whose limit is reached at once."""

    unanswered = Tally()

    def __init__(self, submission: str) -> None:
        self._submission = submission

    def query(self, _: object) -> object:
        raise LimitsExceeded({"role": "exit", "content": "", "extra": {"exit_status": "LimitsExceeded", "submission": self._submission}})


@pytest.mark.parametrize(("submission", "found"), [("", "+    return a + b"), ("kept", "kept")])
def test_a_limit_makes_the_work_the_submission_if_there_is_none(repository: Path, submission: str, found: str) -> None:
    (repository / "sum.py").write_text(FIXED)
    agent = DefaultAgent(LimitedModel(submission), LocalEnvironment(cwd=str(repository)), system_template="", instance_template="")
    keep_work(agent)
    with pytest.raises(LimitsExceeded) as end:
        agent.step()
    assert found in end.value.messages[0]["extra"]["submission"]
