"""The work of an agent that a limit ends: found where the agent worked, on this machine or in a container."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("minisweagent", reason="mini-swe-agent is not installed: pip install 'paymaster[mini]'")

from minisweagent.agents.default import DefaultAgent
from minisweagent.environments.local import LocalEnvironment
from minisweagent.exceptions import LimitsExceeded

from paymaster.agents.clients import Tally
from paymaster.agents.mini.saved_work import directories, keep_work, work_in

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FIXED = "def add(a, b):\n    return a + b\n"


def said(*commands: str) -> list[dict[str, object]]:
    return [{"role": "assistant", "extra": {"actions": [{"command": command}]}} for command in commands]


class Elsewhere:
    """A container, as far as its commands go: they run in a directory that nobody here can name."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def execute(self, action: Mapping[str, object]) -> dict[str, object]:
        words = ["bash", "-c", str(action["command"])]
        done = subprocess.run(words, cwd=self._directory, check=False, capture_output=True, text=True)
        return {"output": done.stdout, "returncode": done.returncode}


def test_the_environments_own_directory_comes_first_also_in_a_container(repository: Path) -> None:
    (repository / "sum.py").write_text(FIXED)
    assert "+    return a + b" in work_in(Elsewhere(repository), said("cd / && ls"))


def test_else_the_directory_that_the_commands_went_to_last(repository: Path) -> None:
    (repository / "sum.py").write_text(FIXED)
    environment = LocalEnvironment(cwd=str(repository.parent))
    assert "+    return a + b" in work_in(environment, said("cd /nowhere; ls", "cd 'repository' && make", "ls"))
    assert work_in(environment, said("ls", "echo cd repository")) == ""


def test_no_repository_and_no_change_are_no_work(repository: Path, tmp_path: Path) -> None:
    assert work_in(LocalEnvironment(cwd=str(repository)), []) == ""
    assert work_in(LocalEnvironment(cwd=str(tmp_path)), []) == ""


def test_directories_are_told_the_last_first_and_once() -> None:
    commands = ["cd a && ls", 'cd "b c"; ls', "ls && cd no", "cd a\nls", "cd $(pwd) || ls", "cd d"]
    assert directories([{"role": "user"}, *said(*commands)]) == ["a", '"b c"']


class Broke:
    """A model that a limit ended at once."""

    unanswered = Tally()

    def __init__(self, submission: str) -> None:
        self._submission = submission

    def query(self, _: object) -> object:
        raise LimitsExceeded({"role": "exit", "content": "", "extra": {"exit_status": "LimitsExceeded", "submission": self._submission}})


@pytest.mark.parametrize(("submission", "found"), [("", "+    return a + b"), ("kept", "kept")])
def test_a_limit_leaves_the_work_as_the_submission_where_there_is_none(repository: Path, submission: str, found: str) -> None:
    (repository / "sum.py").write_text(FIXED)
    agent = DefaultAgent(Broke(submission), LocalEnvironment(cwd=str(repository)), system_template="", instance_template="")
    keep_work(agent)
    with pytest.raises(LimitsExceeded) as end:
        agent.step()
    assert found in end.value.messages[0]["extra"]["submission"]
