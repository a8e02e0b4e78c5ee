"""The work in progress of a directory as a patch; knows git, and never raises for what git can't do."""

import subprocess

_TIME_LIMIT_S = 30


def git_diff(directory: str) -> str:
    """What `git diff HEAD` says of the repository around `directory`; empty where there is no git, no repository or no commit."""
    command = ["git", "--no-optional-locks", "-C", directory, "diff", "--no-color", "--no-ext-diff", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_TIME_LIMIT_S, check=False)  # noqa: S603 - fixed words, no shell
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else ""
