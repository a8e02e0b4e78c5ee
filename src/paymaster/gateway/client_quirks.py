"""What named clients do with answers, where a user would not see an error or would lose an answer; knows their names, and no dialect."""

from collections.abc import Mapping

from paymaster.gateway.keep_alive import COMMENT, EVENT

HIDES_404 = ("claude-cli/",)
"""Claude Code shows a sentence of its own for a 404, and the message of any other status (2.1)."""


def shown_status(status: int, headers: Mapping[str, str]) -> int:
    """The status of an error whose message shall reach the user: 400 in place of a 404 whose message the client hides."""
    return 400 if status == 404 and headers.get("user-agent", "").startswith(HIDES_404) else status


WAITS_FOR_EVENTS = ("codex",)
"""Codex gives up on a stream that has no event for `stream_idle_timeout_ms`, 300 s by default; a comment is none for it (0.171).

It ignores events that it doesn't know. The official SDKs want the beginning of a response first, so no other client gets one.
"""


def sign_of_life(headers: Mapping[str, str]) -> bytes:
    """What shows a client that its answer is still being worked on, and says nothing."""
    return EVENT if headers.get("user-agent", "").startswith(WAITS_FOR_EVENTS) else COMMENT
