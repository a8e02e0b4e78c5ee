"""Tables and streams: what is wrapped, escaped and coloured, and what is not."""

from __future__ import annotations

import io
import json
import re
import sys

import pytest

from paymaster.cli.terminal import (
    Cell,
    Column,
    Table,
    accept_any_text,
    is_pretty,
    write_error,
    write_json,
    write_note,
    write_piece,
    write_tables,
)


class Narrow(io.TextIOWrapper):
    """A stream in an encoding of its own, terminal or not."""

    def __init__(self, encoding: str, *, terminal: bool = False) -> None:
        super().__init__(io.BytesIO(), encoding=encoding)
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal

    def text(self) -> str:
        self.flush()
        return self.buffer.getvalue().decode(self.encoding)


@pytest.fixture
def screen(monkeypatch):
    def make(encoding: str = "utf-8", *, terminal: bool = False, name: str = "stdout") -> Narrow:
        stream = Narrow(encoding, terminal=terminal)
        accept_any_text(stream)
        monkeypatch.setattr(sys, name, stream)
        return stream

    return make


TABLE = Table(
    title="Models",
    columns=[Column("model"), Column("cost", figures=True)],
    rows=[["a", "$1.00"], [Cell("bb", "bad"), "$10.00"]],
    total=["total", "$11.00"],
)


def test_a_pipe_gets_aligned_columns(screen):
    stream = screen()
    write_tables([TABLE])
    assert stream.text() == "Models\nmodel    cost\na       $1.00\nbb     $10.00\ntotal  $11.00\n"


def test_tables_without_rows_are_omitted(screen):
    stream = screen()
    write_tables([Table(title="Nothing", columns=[Column("x")], rows=[]), TABLE])
    assert "Nothing" not in stream.text()


def test_no_tables_print_nothing(screen):
    stream = screen()
    write_tables([Table(title="Nothing", columns=[Column("x")], rows=[])])
    assert stream.text() == ""


def test_control_characters_in_names_are_escaped(screen):
    stream = screen()
    write_tables([Table(title="T", columns=[Column("run")], rows=[["a\nb\x1b[2Jc"]])])
    assert stream.text().splitlines()[2] == "a b\\x1b[2Jc"


def test_markup_in_a_name_is_text_on_a_terminal(screen):
    stream = screen(terminal=True)
    write_tables([Table(title="T", columns=[Column("run")], rows=[["[red]x[/red] :smile:"]])])
    assert "[red]x[/red] :smile:" in stream.text()


def test_a_wide_value_is_wrapped_on_a_terminal(screen, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    stream = screen(terminal=True)
    write_tables([Table(title="T", columns=[Column("run")], rows=[["x" * 100]])])
    assert stream.text().count("x") == 100


WIDE = Table(
    title="Where the money went",
    columns=[Column("instance"), *(Column(f"tokens {title}", figures=True) for title in "abcdef"), Column("cost", figures=True)],
    rows=[["django__django-12340", *("1,234",) * 6, "$0.001234567"]],
    total=["total", *("12,345",) * 6, "$12.001234567"],
)


@pytest.mark.parametrize("columns", [200, 100, 80, 66, 60, 40])
def test_no_figure_is_cut_and_no_name_is_lost_on_a_terminal(screen, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    stream = screen(terminal=True)
    write_tables([WIDE])
    text = re.sub(r"\x1b\[[0-9;]*m", "", stream.text())
    assert [text.count(figure) for figure in ("1,234", "12,345", "$0.001234567", "$12.001234567")] == [6, 6, 1, 1]
    assert "django" in text
    assert max(map(len, text.splitlines())) <= columns


@pytest.mark.parametrize(("terminal", "term", "pretty"), [(True, "xterm", True), (True, "dumb", False), (False, "xterm", False)])
def test_only_a_real_terminal_is_pretty(screen, monkeypatch, terminal, term, pretty):
    monkeypatch.setenv("TERM", term)
    assert is_pretty(screen(terminal=terminal)) is pretty


def test_characters_that_an_encoding_lacks_become_ascii(screen):
    stream = screen("ascii")
    stream.write("a\u2026 b\u2014c \u2192 \u201cd\u201d \u4e2d")
    assert stream.text() == 'a... b-c -> "d" \\u4e2d'


def test_lone_surrogates_are_escaped(screen):
    stream = screen()
    write_piece("a\ud800b")
    assert stream.text() == "a\\ud800b"


def test_json_stays_valid_in_a_narrow_encoding(screen):
    stream = screen("latin-1")
    value = {"text": "caf\u00e9 \u4e2d \U0001f600 \u2026"}
    write_json(value)
    assert json.loads(stream.text()) == value


def test_notes_and_errors_go_to_standard_error(screen):
    out, err = screen(), screen(name="stderr")
    write_note("so it is")
    write_error("it is not so")
    assert (out.text(), err.text()) == ("", "so it is\nError: it is not so\n")


def test_notes_and_errors_are_coloured_on_a_terminal(screen, monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    err = screen(terminal=True, name="stderr")
    write_note("so it is")
    write_error("it is [not] so")
    assert "\x1b[1;31mError: \x1b[0mit is [not] so" in err.text()


def test_a_piece_through_a_pipe_is_unchanged(screen):
    stream = screen()
    write_piece("a\x1b[2Jb")
    assert stream.text() == "a\x1b[2Jb"


def test_a_piece_on_a_terminal_keeps_letters_lines_and_joiners(screen):
    stream = screen(terminal=True)
    write_piece("a\n\tb \u00a0\u200d\u4e2d \x07\x9b31m")
    assert stream.text() == "a\n\tb \u00a0\u200d\u4e2d \\x07\\x9b31m"
