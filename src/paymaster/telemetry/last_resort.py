"""Reports a soft budget that is passed where nobody has set up logging: on standard error, once per budget and process; knows no event."""

import logging
import sys
from contextlib import suppress

from paymaster.printable import printable

SOFT_BUDGET = "soft_budget"
"""The attribute of a log record that names the account of the budget."""

_ADVICE = "It is reported once. `hard_stop_on_budget: true` refuses calls over budget; with logging set up, the log has each."


class LastResort(logging.Handler):
    """Writes such a record to standard error, unless the program shows the log itself. One of them belongs to the process."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._reported: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record if it is the first of its budget."""
        account = getattr(record, SOFT_BUDGET, None)
        if account is None or account in self._reported or _is_shown(record.name):
            return
        self._reported.add(account)
        if sys.stderr is not None:
            with suppress(OSError, ValueError):  # a closed stream is no reason to fail a call
                sys.stderr.write(f"Paymaster: {printable(record.getMessage())}. {_ADVICE}\n")


def add_last_resort(logger: logging.Logger) -> None:
    """Add it to the logger, once. It also keeps logging from writing other warnings of a program without a logging setup."""
    if not any(isinstance(each, LastResort) for each in logger.handlers):
        logger.addHandler(LastResort())


def _is_shown(name: str) -> bool:
    """Whether the program has set up logging for this logger: any destination but ours, one that drops everything included."""
    logger: logging.Logger | None = logging.getLogger(name)
    while logger is not None:
        if any(not isinstance(each, LastResort) for each in logger.handlers):
            return True
        logger = logger.parent if logger.propagate else None
    return False
