"""What the documentation quotes of the program's messages is in the program."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted((ROOT / "docs").glob("*.md"))
BLOCK = re.compile(r"^```text\n(.*?)^```", re.DOTALL | re.MULTILINE)
TABLE = re.compile(r"^\| (?:message|what you see|promise) \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", re.MULTILINE)
PHRASE = re.compile(r"[A-Za-z][A-Za-z']*(?: [A-Za-z][A-Za-z']*){2,}")
PUT_TOGETHER = {
    "first the same command with a larger budget and": "`first`, then the command that continues",
    "did you mean primary": "the name is the registry's",
    "tokens within limits": "one line for `requests`, one for `tokens`",
}
"""Phrases that no literal has as a whole, each with the reason."""


@cache
def literals() -> str:
    """Every string of the program; the values of an f-string are gaps between its parts."""
    trees = (ast.parse(path.read_text(encoding="utf-8")) for path in sorted((ROOT / "src").rglob("*.py")))
    texts = (node.value for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str))
    return "\n".join(" ".join(text.split()) for text in texts)


def phrases() -> set[str]:
    """Runs of three words or more in blocks of output, and in the first column of tables of messages."""
    found: set[str] = set()
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        quoted = [line for block in BLOCK.finditer(text) for line in block[1].splitlines()]
        for table in TABLE.finditer(text):
            first = [row.split("|")[1] for row in table[1].splitlines()]
            quoted += first if table[0].startswith("| promise") else re.findall(r"`([^`]+)`", "\n".join(first))
        found.update(phrase for line in quoted for phrase in PHRASE.findall(line))
    return found


def test_quoted_messages_are_those_of_the_program():
    found = phrases()
    assert len(found) > 20
    assert sorted(phrase for phrase in found if phrase not in literals() and phrase not in PUT_TOGETHER) == []
    assert set(PUT_TOGETHER) <= found
