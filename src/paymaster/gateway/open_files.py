"""How many files a process may hold open, and so how many calls; raises the limit as far as the system allows; knows no connection.

A stream takes two open files: the client's connection and the provider's. Systems start programs with a soft limit of 1,024 (256 on
macOS), which any program may raise up to the hard limit.
"""

import sys
from contextlib import suppress

TARGET_FILES = 65_536
RESERVED_FILES = 128
"""For everything else: libraries, the ledger, the event file, and idle connections."""


def raise_limit(target: int = TARGET_FILES) -> int | None:
    """Let this process open up to `target` files, if allowed; how many it may open now, or None if there is no known limit.

    Only for a process of the gateway's own: its child processes inherit the limit, and some old programs fail with a large one.
    """
    if sys.platform == "win32":
        return None
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < target:
        raised = target if hard == resource.RLIM_INFINITY else min(target, hard)
        with suppress(OSError, ValueError):  # some systems have a lower limit that they don't report
            resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
    now = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return None if now == resource.RLIM_INFINITY else now


def max_calls(files: int | None) -> int | None:
    """How many calls can be open at once with that many files; None if there is no limit."""
    return None if files is None else max(1, (files - RESERVED_FILES) // 2)
