"""What of a text reaches a terminal, and where text may leave the program at all."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

from paymaster.printable import json_line_printable, json_printable, printable, printable_line

SOURCE = Path(__file__).parent.parent / "src" / "paymaster"
WRITES_TO_STREAMS = {"cli/terminal.py", "agents/stderr.py", "telemetry/last_resort.py"}
"""The modules through which text leaves the program; all others call them."""
ONLY_LINE_ENDS = {"agents/mini/command.py"}

JOINED = ("\U0001f468\u200d\U0001f469", "\u0645\u06cc\u200c\u062e", "\u05d0\u200f\u200e")
"""Families of emoji, Persian and Hebrew need joiners and marks."""


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, \u00e9\u4e2d\U0001f600 \u00a0", "plain, \u00e9\u4e2d\U0001f600 \u00a0"),
        ("a\tb\nc\r\nd", "a\tb\nc\r\nd"),
        ("over\rwritten", r"over\x0dwritten"),
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x07", "\\x1b]8;;http://x\\x1b\\link\\x1b]8;;\\x07"),
        ("\x1bP q\x1b\\", "\\x1bP q\\x1b\\"),
        ("\x00\x07\x08\x0b\x0c\x0e\x1f\x7f", r"\x00\x07\x08\x0b\x0c\x0e\x1f\x7f"),
        ("\x80\x85\x9b31m\x9d0;title\x9c", r"\x80\x85\x9b31m\x9d0;title\x9c"),
        ("\u202a\u202b\u202c\u202d\u202e", r"\u202a\u202b\u202c\u202d\u202e"),
        ("\u2066\u2067\u2068\u2069\u061c", r"\u2066\u2067\u2068\u2069\u061c"),
        ("a\u2028b\u2029c", r"a\u2028b\u2029c"),
        ("\ufeff\u2060\ufff9", r"\ufeff\u2060\ufff9"),
        ("tag\U000e0041", r"tag\U000e0041"),
        *[(text, text) for text in JOINED],
    ],
)
def test_control_characters_become_visible_and_text_stays(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable(shown) == shown


@pytest.mark.parametrize(("text", "shown"), [("  a\n\tb  c ", "a b c"), ("a\x1b\u2028b", r"a\x1b b"), ("", "")])
def test_a_line_has_no_line_breaks(text: str, shown: str) -> None:
    assert printable_line(text) == shown


@pytest.mark.parametrize("text", ["\x1b[0m\x7f\x9b", "\u202e\u2066\u2028", "\U000e0041\ufeff", "a\nb\tc", "\u4e2d\U0001f600"])
def test_json_keeps_its_meaning(text: str) -> None:
    shown = json_printable(json.dumps(text, ensure_ascii=False))
    assert json.loads(shown) == text
    assert printable(shown) == shown
    assert json_line_printable(json.dumps(text, ensure_ascii=False).encode()).decode() == shown


def test_only_known_modules_write_to_the_standard_streams() -> None:
    found = {
        path.relative_to(SOURCE).as_posix()
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and _writes(node)
    }
    assert found == WRITES_TO_STREAMS | ONLY_LINE_ENDS


def _writes(call: ast.Call) -> bool:
    name = ast.unparse(call.func)
    return name in {"print", "click.echo", "typer.echo", "typer.secho"} or (
        name.startswith(("sys.stdout.", "sys.stderr.")) and name.endswith((".write", ".writelines"))
    )
