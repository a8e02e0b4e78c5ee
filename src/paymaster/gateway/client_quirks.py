"""What named clients do with answers, where a user would otherwise not see an error; knows their names in `user-agent` and no dialect."""

from collections.abc import Mapping

HIDES_404 = ("claude-cli/",)
"""Claude Code shows a sentence of its own for a 404, and the message of any other status (2.1)."""


def shown_status(status: int, headers: Mapping[str, str]) -> int:
    """The status of an error whose message shall reach the user: 400 in place of a 404 whose message the client hides."""
    return 400 if status == 404 and headers.get("user-agent", "").startswith(HIDES_404) else status
