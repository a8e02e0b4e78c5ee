"""Uncommitted changes as a patch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paymaster.agents.git_diff import git_diff

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_staged_and_unstaged_changes_are_in_the_patch(repository: Path) -> None:
    (repository / "sum.py").write_text("def add(a, b):\n    return a + b\n")
    assert "-    return a - b\n+    return a + b\n" in git_diff(str(repository))


def test_a_directory_outside_a_repository_has_no_patch(tmp_path: Path) -> None:
    assert git_diff(str(tmp_path)) == ""
    assert git_diff(str(tmp_path / "nowhere")) == ""


def test_a_machine_without_git_has_no_patch(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert git_diff(str(repository)) == ""
