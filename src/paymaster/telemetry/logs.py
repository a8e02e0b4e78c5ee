"""Logs events, and shows the log on a terminal or in a file for programs; knows logging and rich, and no event's wording."""

import logging
from collections.abc import Sequence
from typing import TextIO

from paymaster.flow.events import BudgetPassed, Event, Unpriced
from paymaster.printable import printable, printable_line
from paymaster.redaction import Redactor
from paymaster.telemetry.last_resort import SOFT_BUDGET, add_last_resort
from paymaster.telemetry.sentences import logger_and_level, sentence

ROOT = "paymaster"

_LEVELS = {-1: logging.ERROR, 0: logging.WARNING, 1: logging.INFO, 2: logging.DEBUG}
_PLAIN: tuple[tuple[str, str], ...] = (
    ("\N{HORIZONTAL ELLIPSIS}", "..."),
    ("\N{EM DASH}", "-"),
    ("\N{EN DASH}", "-"),
    ("\N{RIGHTWARDS ARROW}", "->"),
    ("\N{RIGHT SINGLE QUOTATION MARK}", "'"),
)


class EventLog:
    """Logs each event as one sentence without secrets, to `paymaster.calls`, `paymaster.routing` or `paymaster.budgets`.

    Without a logging setup, only a soft budget that is passed is shown, once. A model without a price is logged once.
    """

    def __init__(self, redactor: Redactor | None = None) -> None:
        self._redactor = redactor or Redactor()
        self._unpriced: set[str] = set()
        add_last_resort(logging.getLogger(ROOT))

    def __call__(self, event: Event) -> None:
        """Log the event. Raises only errors of the program's own log handlers."""
        if isinstance(event, Unpriced):
            if event.model in self._unpriced:
                return
            self._unpriced.add(event.model)
        room, level = logger_and_level(event)
        logger = logging.getLogger(f"{ROOT}.{room}")
        if logger.isEnabledFor(level):
            passed = {SOFT_BUDGET: event.account} if isinstance(event, BudgetPassed) and not event.hard else None
            logger.log(level, "%s", self._redactor(sentence(event)), extra=passed)

    def budgets(self, run: str, texts: Sequence[str]) -> None:
        """Log the budgets of a client, hard or soft: its first line."""
        text = f"run {run}: {'budgets: ' + '; '.join(texts) if texts else 'no budget'}"
        logging.getLogger(f"{ROOT}.budgets").info("%s", self._redactor(printable_line(text)))


class RedactingFilter(logging.Filter):
    """Masks secrets in a record's message, traceback and stack before a handler writes them."""

    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self._redactor = redactor
        self._formatter = logging.Formatter()

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the record in place and accept it."""
        record.msg, record.args = self._redactor(record.getMessage()), ()
        if record.exc_info:
            record.exc_text = self._formatter.formatException(record.exc_info)
            # Later formatters must use the masked text: the exception still contains the secret.
            record.exc_info = None
        if record.exc_text:
            record.exc_text = self._redactor(record.exc_text)
        if record.stack_info:
            record.stack_info = self._redactor(record.stack_info)
        return True


class _PrintableFormatter(logging.Formatter):
    """Formats records without control characters, in characters of the stream's encoding."""

    def __init__(self, layout: str, encoding: str, *, clock: str | None = None) -> None:
        super().__init__(layout, clock)
        self._encoding = encoding

    def format(self, record: logging.LogRecord) -> str:
        return encodable(printable(super().format(record)), self._encoding)


def encodable(text: str, encoding: str) -> str:
    """The text for a stream in `encoding`: unchanged, or with ASCII for typographic characters and escapes for others."""
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        for typographic, plain in _PLAIN:
            text = text.replace(typographic, plain)
        return text.encode(encoding, "backslashreplace").decode(encoding)
    return text


def configure_logging(verbosity: int, stream: TextIO, redactor: Redactor | None = None) -> None:
    """Show Paymaster's log on `stream`. For programs only: a library leaves this to its user. A second call replaces the first.

    `verbosity` -1 shows errors, 0 warnings, 1 information, 2 everything. A terminal gets colours and no date, a pipe or file plain lines.
    """
    handler = _terminal(stream) if stream.isatty() else _plain(stream)
    handler.set_name(ROOT)
    handler.addFilter(RedactingFilter(redactor or Redactor()))
    root = logging.getLogger(ROOT)
    for former in root.handlers[:]:
        if former.get_name() == ROOT:
            root.removeHandler(former)
    root.addHandler(handler)
    root.setLevel(_LEVELS[max(-1, min(verbosity, 2))])
    root.propagate = False


def _plain(stream: TextIO) -> logging.Handler:
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_PrintableFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s", _encoding(stream)))
    return handler


def _terminal(stream: TextIO) -> logging.Handler:
    from rich.console import Console
    from rich.highlighter import NullHighlighter
    from rich.logging import RichHandler

    handler = RichHandler(
        console=Console(file=stream),
        show_path=False,
        omit_repeated_times=False,
        log_time_format="%H:%M:%S",
        highlighter=NullHighlighter(),  # coloured figures make a sentence harder to read and to search for
    )
    handler.setFormatter(_PrintableFormatter("%(message)s", _encoding(stream)))
    return handler


def _encoding(stream: TextIO) -> str:
    return stream.encoding or "utf-8"
