"""How text reaches the user: tables and colour on a terminal, plain lines through a pipe, ASCII if the encoding has no other characters.

Every command writes through this module, and no control character of anybody's text passes it. Knows streams and rich, and no command.
"""

import codecs
import io
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TextIO

from paymaster.printable import json_line_printable, json_printable, printable, printable_line

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

_ASCII: Mapping[str, str] = {
    "\N{HORIZONTAL ELLIPSIS}": "...",
    "\N{EM DASH}": "-",
    "\N{EN DASH}": "-",
    "\N{RIGHTWARDS ARROW}": "->",
    "\N{LEFT SINGLE QUOTATION MARK}": "'",
    "\N{RIGHT SINGLE QUOTATION MARK}": "'",
    "\N{LEFT DOUBLE QUOTATION MARK}": '"',
    "\N{RIGHT DOUBLE QUOTATION MARK}": '"',
    "\N{MULTIPLICATION SIGN}": "x",
    "\N{NO-BREAK SPACE}": " ",
}
_ERRORS = "paymaster.plain"
_GAP = "  "
# What is drawn around each column where there is room, and the narrowest that a column of names is folded to.
_AROUND, _SHORT_NAME = 3, 8


@dataclass(frozen=True, slots=True)
class Column:
    """The head of a column; figures are aligned to the right."""

    title: str
    figures: bool = False


@dataclass(frozen=True, slots=True)
class Cell:
    """A text and what it means: `good`, `warn`, `bad`, `weak`, or '' for none of these."""

    text: str
    meaning: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows below column heads; `total` is one more row, set apart."""

    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[str | Cell]]
    total: Sequence[str | Cell] = field(default_factory=tuple)


_STYLES: Mapping[str, str] = {"good": "green", "warn": "yellow", "bad": "bold red", "weak": "dim", "": ""}


def accept_any_text(stream: TextIO) -> None:
    """Let the stream write any text: a character that its encoding lacks becomes ASCII, or an escape."""
    codecs.register_error(_ERRORS, _in_ascii)
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors=_ERRORS)


def is_pretty(stream: TextIO) -> bool:
    """Whether it is a terminal that can show more than plain text."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def write(text: str = "") -> None:
    """One line, or several, to standard output."""
    sys.stdout.write(f"{printable(text)}\n")


def write_piece(text: str) -> None:
    """A piece of a model's text: without control characters on a terminal, unchanged through a pipe."""
    sys.stdout.write(printable(text) if sys.stdout.isatty() else text)


def write_bytes(lines: Iterable[bytes]) -> None:
    """Lines of JSON in UTF-8: printable on a terminal, unchanged through a pipe."""
    sys.stdout.flush()
    terminal = sys.stdout.isatty()
    for line in lines:
        sys.stdout.buffer.write(json_line_printable(line) if terminal else line)
    sys.stdout.buffer.flush()


def ask_yes(question: str) -> bool:
    """Ask on standard output, and read the answer; only `y` and `yes` mean yes."""
    sys.stdout.write(f"{printable(question)} [y/N] ")
    sys.stdout.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def write_note(text: str) -> None:
    """A remark, to standard error, so that a pipe carries only the answer."""
    text = printable(text)
    sys.stdout.flush()
    if is_pretty(sys.stderr):
        from rich.text import Text

        _console(sys.stderr).print(Text(text, style="dim"), soft_wrap=True)
    else:
        sys.stderr.write(f"{text}\n")


def write_warnings(warnings: Iterable[str]) -> None:
    """Warnings, to standard error."""
    for warning in warnings:
        write_note(f"Warning: {warning}")


def write_warning(text: str) -> None:
    """One warning that nobody may miss, to standard error."""
    _write_headed("Warning: ", "bold yellow", text)


def write_error(text: str) -> None:
    """An error, to standard error."""
    _write_headed("Error: ", "bold red", text)


def _write_headed(head: str, style: str, text: str) -> None:
    text = printable(text)
    with suppress(OSError):  # a closed pipe must not hide the error
        sys.stdout.flush()
    if is_pretty(sys.stderr):
        from rich.text import Text

        _console(sys.stderr).print(Text.assemble((head, style), text), soft_wrap=True)
    else:
        sys.stderr.write(f"{head}{text}\n")


def write_stderr(text: str) -> None:
    """A message that has its own beginning, to standard error."""
    sys.stderr.write(f"{printable(text)}\n")


def write_json(value: object) -> None:
    """A JSON document that a program can read, whatever the stream's encoding."""
    write_json_text(json.dumps(value, indent=2, ensure_ascii=False))


def write_json_text(text: str) -> None:
    """JSON as it is; characters that the stream's encoding lacks are written as JSON escapes."""
    text = json_printable(text)
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        text = "".join(char if char.isascii() else json.dumps(char)[1:-1] for char in text)
    sys.stdout.write(f"{text}\n")


def write_tables(tables: Iterable[Table]) -> None:
    """The tables that have rows, one below the other."""
    shown = [_printable(table) for table in tables if table.rows]
    if is_pretty(sys.stdout):
        console = _console(sys.stdout)
        for table in shown:
            console.print(_drawn(table, console.width))
    elif shown:
        write("\n\n".join(_plain_table(table) for table in shown))


def write_live(tables: Callable[[], Sequence[Table]], every_s: float, title: Callable[[], str]) -> None:
    """The tables over the whole terminal, read again every so many seconds, until Ctrl-C."""
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    console = _console(sys.stdout)

    def drawn() -> Group:
        shown = [_printable(table) for table in tables() if table.rows]
        nothing = [] if shown else [Text("Nothing is spent or held yet.", style="dim")]
        return Group(Text(printable_line(title()), style="bold"), *nothing, *(_drawn(table, console.width) for table in shown))

    with suppress(KeyboardInterrupt), Live(drawn(), console=console, screen=True, auto_refresh=False) as live:
        while True:
            time.sleep(every_s)
            live.update(drawn(), refresh=True)


def _console(stream: TextIO) -> "Console":
    from rich.console import Console

    return Console(file=stream, highlight=False, markup=False, emoji=False)


def _drawn(table: Table, width: int) -> "RenderableType":
    """The table in a terminal of that width. Names are folded to fit, figures never; if that is not enough, plain lines that wrap."""
    from rich import box
    from rich.cells import cell_len
    from rich.padding import Padding
    from rich.table import Table as RichTable
    from rich.text import Text

    body = [*table.rows, *([table.total] if table.total else [])]
    longest = [max(cell_len(_cell(row[index]).text) for row in body) for index in range(len(table.columns))]
    fits = sum(max(size, cell_len(column.title)) + _AROUND for size, column in zip(longest, table.columns, strict=True)) <= width
    narrow = [max(size, *map(cell_len, column.title.split() or [""])) for size, column in zip(longest, table.columns, strict=True)]
    least = sum(size if column.figures else min(size, _SHORT_NAME) for size, column in zip(narrow, table.columns, strict=True))
    gap = (width - least) // len(narrow)
    if not fits and gap < 1:
        return Text(f"{_plain_table(table)}\n")
    drawn = RichTable(title=Text(table.title), title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    if not fits:
        drawn.box, drawn.padding = None, (0, min(gap, len(_GAP)), 0, 0)
    for column, size in zip(table.columns, narrow, strict=True):
        fixed = size if column.figures and not fits else None
        drawn.add_column(Text(column.title), justify="right" if column.figures else "left", overflow="fold", width=fixed)
    for row in table.rows:
        drawn.add_row(*(Text(cell.text, style=_STYLES[cell.meaning]) for cell in map(_cell, row)))
    if table.total:
        drawn.add_section()
        drawn.add_row(*(Text(_cell(item).text) for item in table.total), style="bold")
    return drawn if fits else Padding(drawn, (0, 0, 1, 0))


def _printable(table: Table) -> Table:
    """The table without line breaks and control characters: names may come from any file."""

    def clean(row: Sequence[str | Cell]) -> list[Cell]:
        return [replace(cell, text=printable_line(cell.text)) for cell in map(_cell, row)]

    columns = [replace(column, title=printable_line(column.title)) for column in table.columns]
    return replace(
        table, title=printable_line(table.title), columns=columns, rows=[clean(row) for row in table.rows], total=clean(table.total)
    )


def _plain_table(table: Table) -> str:
    """Columns as wide as their longest text: nothing is cut off, since a program may read it."""
    heads = [column.title for column in table.columns]
    body = [[_cell(item).text for item in row] for row in (*table.rows, *([table.total] if table.total else []))]
    widths = [max(len(line[index]) for line in (heads, *body)) for index in range(len(heads))]
    lines = [
        _GAP.join(
            text.rjust(width) if column.figures else text.ljust(width)
            for text, width, column in zip(line, widths, table.columns, strict=True)
        )
        for line in (heads, *body)
    ]
    return "\n".join([table.title, *(line.rstrip() for line in lines)])


def _cell(item: str | Cell) -> Cell:
    return item if isinstance(item, Cell) else Cell(item)


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    """An error handler for codecs: replaces characters by ASCII, which every encoding has."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    bad = error.object[error.start : error.end]
    return "".join(_ASCII.get(char) or char.encode("ascii", "backslashreplace").decode("ascii") for char in bad), error.end
