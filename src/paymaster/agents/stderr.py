"""How launchers of agents write to the current `sys.stderr`, which progress displays replace; knows no display."""

import sys

from paymaster.printable import printable


def write_stderr(text: str) -> None:
    """One line, or several, without control characters."""
    sys.stderr.write(f"{printable(text)}\n")


class StandardError:
    """A text stream for logs. Text that is written while a display is shown appears above it."""

    encoding = "utf-8"

    def write(self, text: str) -> int:
        """Write to the current standard error."""
        return sys.stderr.write(text)

    def flush(self) -> None:
        """Flush it."""
        sys.stderr.flush()

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return sys.stderr.isatty()
