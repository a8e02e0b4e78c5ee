"""The uncommitted changes of a directory as a patch; knows git, and no agent. Never raises."""

import subprocess

_TIME_LIMIT_S = 30


def git_diff(directory: str) -> str:
    """The output of `git diff HEAD` in `directory`; empty if there is no git, no repository or no commit."""
    command = ["git", "--no-optional-locks", "-C", directory, "diff", "--no-color", "--no-ext-diff", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_TIME_LIMIT_S, check=False)  # noqa: S603 - fixed arguments, no shell
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else ""
