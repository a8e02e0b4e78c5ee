"""How many connections a process may hold open, asked of the system and raised as far as it lets us; knows no connection.

A stream takes two open files: the client's connection and the provider's. Systems start programs with 1,024 at most (256 on macOS),
which they themselves call a soft limit: any program may raise its own up to the hard one.
"""

import sys
from contextlib import suppress

WANTED = 65_536
SPARE = 128
"""Left for everything else: libraries, the ledger, the event file, and connections that ask nothing at the moment."""


def raise_limit(wanted: int = WANTED) -> int | None:
    """Let this process open up to `wanted` files if it may, and tell how many it may open now; None where there is no telling.

    Only for a process of the gateway's own: whatever it starts inherits the limit, and some old programs trip over a large one.
    """
    if sys.platform == "win32":
        return None
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        raised = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with suppress(OSError, ValueError):  # some systems have a lower limit of their own, which they do not tell
            resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
    now = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return None if now == resource.RLIM_INFINITY else now


def most_calls(files: int | None) -> int | None:
    """As many calls as can be open at once with that many files; None where there is no limit."""
    return None if files is None else max(1, (files - SPARE) // 2)
