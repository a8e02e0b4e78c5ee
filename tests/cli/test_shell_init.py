"""`paymaster shell-init` in real shells: the agents' own commands run under a registry if one is named, else unchanged."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cli.programs import Ended

    Run = Callable[..., Ended]

SHELLS = [
    pytest.param(shell, marks=pytest.mark.skipif(shutil.which(shell) is None, reason=f"{shell} is not installed"))
    for shell in ("bash", "zsh", "fish")
]
START = {"bash": 'eval "$(cat functions)"', "zsh": 'eval "$(cat functions)"', "fish": "cat functions | source"}


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """Programs that print their name and arguments."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("paymaster", "sweagent", "mini", "mini-extra"):
        (folder / name).write_text('#!/bin/sh\nprintf "%s" "${0##*/}"\nprintf " <%s>" "$@"\nprintf "\\n"\nexit 7\n')
        (folder / name).chmod(0o755)
    return folder


def output_of(shell: str, programs: Path, line: str, **environment: str) -> tuple[int, str]:
    script = f"{START[shell]}\n{line}\n"
    path = {**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", **environment}
    done = subprocess.run([shell, "-c", script], check=False, capture_output=True, text=True, env=path, timeout=20)
    assert not done.stderr
    return done.returncode, done.stdout.strip()


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("line", "reached"),
    [
        ("sweagent run --model-registry r.yaml 'a  b'", "paymaster <sweagent> <run> <--model-registry> <r.yaml> <a  b>"),
        ("mini -t 'fix it' --model_registry=r.yaml", "paymaster <mini> <-t> <fix it> <--model_registry=r.yaml>"),
        ("mini-extra swebench -w 4 --model-registry=r", "paymaster <mini-batch> <-w> <4> <--model-registry=r>"),
        ("sweagent run-batch x", "sweagent <run-batch> <x>"),
        ("mini -t '--model-registrys' ''", "mini <-t> <--model-registrys> <>"),
        ("mini -- --model-registry r", "mini <--> <--model-registry> <r>"),
        ("mini-extra swebench -w 4", "mini-extra <swebench> <-w> <4>"),
        ("mini-extra inspect --model-registry r", "mini-extra <inspect> <--model-registry> <r>"),
    ],
)
def test_only_a_command_that_names_a_registry_runs_under_it(
    paymaster: Run, programs: Path, tmp_path: Path, shell: str, line: str, reached: str
) -> None:
    (tmp_path / "functions").write_text(paymaster("shell-init", shell).out)
    assert output_of(shell, programs, line) == (7, reached)


@pytest.mark.parametrize("shell", SHELLS)
def test_the_variable_runs_every_command_under_the_registry(paymaster: Run, programs: Path, tmp_path: Path, shell: str) -> None:
    (tmp_path / "functions").write_text(paymaster("shell-init", shell).out)
    for line, reached in (
        ("mini", "paymaster <mini>"),
        ("mini-extra swebench", "paymaster <mini-batch>"),
        ("sweagent", "paymaster <sweagent>"),
    ):
        assert output_of(shell, programs, line, PAYMASTER_MODEL_REGISTRY="r.yaml") == (7, reached)
    assert output_of(shell, programs, "mini-extra config", PAYMASTER_MODEL_REGISTRY="r.yaml") == (7, "mini-extra <config>")


@pytest.mark.parametrize("shell", SHELLS)
def test_the_functions_work_in_a_strict_shell(paymaster: Run, programs: Path, tmp_path: Path, shell: str) -> None:
    (tmp_path / "functions").write_text(paymaster("shell-init", shell).out)
    strict = "" if shell == "fish" else "set -eu\n"
    assert output_of(shell, programs, f"{strict}mini-extra") == (7, "mini-extra <>")


def test_the_default_shell_is_that_of_the_environment(paymaster: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELL", "/usr/bin/fish")
    assert paymaster("shell-init") == paymaster("shell-init", "fish")
    monkeypatch.setenv("SHELL", "/bin/zsh")
    assert paymaster("shell-init") == paymaster("shell-init", "bash")


@pytest.mark.parametrize(("args", "message"), [(["tcsh"], "unknown shell 'tcsh'"), ([], "no shell is named")])
def test_an_unknown_shell_is_reported_with_the_known_ones(
    paymaster: Run, monkeypatch: pytest.MonkeyPatch, args: list[str], message: str
) -> None:
    monkeypatch.delenv("SHELL", raising=False)
    ended = paymaster("shell-init", *args)
    assert ended.status == 2
    assert message in ended.err
    assert "bash, zsh, fish" in ended.err


def test_the_help_shows_the_line_to_add(paymaster: Run) -> None:
    assert 'eval "$(paymaster shell-init bash)"' in paymaster("shell-init", "--help").out
