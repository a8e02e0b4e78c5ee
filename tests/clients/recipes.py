"""The recipes of docs/clients.md as templates for rows, so that what the page shows is what the tests run; knows no client."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "clients.md"
_SHOWN = (("http://127.0.0.1:4000", "$address"), ("NAME", "$model"), ("KEY", "$key"))
"""What the page writes for the variables of a row."""


def sections(page: str) -> dict[str, str]:
    """The text of each section, by its heading."""
    return dict(re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", page, flags=re.DOTALL | re.MULTILINE))


def recipe(section: str, language: str, number: int = 0) -> str:
    """A code block of a section, with the variables of a row where the page has an address, a key or a model's name."""
    text = sections(PAGE.read_text(encoding="utf-8"))[section]
    blocks = re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    template = str(blocks[number]).replace("$", "$$")
    for shown, variable in _SHOWN:
        template = re.sub(rf"(?<!\w){re.escape(shown)}(?!\w)", variable, template)
    return template
