"""Standard error as it is when something is written; knows that progress displays take its place for a time."""

import sys


class StandardError:
    """A text stream for logs that outlives every display: what is written while one is up appears above it."""

    encoding = "utf-8"

    def write(self, text: str) -> int:
        """Write to whatever standard error is now."""
        return sys.stderr.write(text)

    def flush(self) -> None:
        """Flush it."""
        sys.stderr.flush()

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return sys.stderr.isatty()
