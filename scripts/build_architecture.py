"""Generates the list of rooms in ARCHITECTURE.md from the import contract and docstrings; knows no room by name, and no import.

Run it after a change of the contract in pyproject.toml or of a room's first sentence: `python scripts/build_architecture.py`. With
`--check` it writes nothing, and ends with status 1 if the file is old. A room is a package or a module directly below the root package.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROOT = Path(__file__).resolve().parent.parent
MAP = ROOT / "ARCHITECTURE.md"
BEGIN, END = "<!-- begin: made by scripts/build_architecture.py -->", "<!-- end -->"
LARGEST_CHARS = 8_000
"""A map is short; longer texts are pages of docs/design/."""

SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z`])")


def main(arguments: list[str]) -> int:
    """Write the list, or compare it with `--check`; the status is 1 if it is old."""
    current = MAP.read_text(encoding="utf-8")
    made = map_text(current, ROOT)
    if made == current:
        return 0
    print(f"{MAP.relative_to(ROOT)} {'is old' if '--check' in arguments else 'written'}")
    if "--check" in arguments:
        return 1
    MAP.write_text(made, encoding="utf-8")
    return 0


def map_text(current: str, root: Path) -> str:
    """The page with a new part between the marks; the text around it is written by hand."""
    before, _, marked = current.partition(BEGIN)
    _, _, after = marked.partition(END)
    return f"{before}{BEGIN}\n\n{rooms_text(root)}\n\n{END}{after}"


def rooms_text(root: Path) -> str:
    """The table of rooms: one row for each, with the number of its layer, the highest layer first."""
    linter = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    package = linter["root_package"]
    rows = ["| layer | room | what it knows |", "|---|---|---|"]
    for number, layer in enumerate(layers(linter["contracts"], package), start=1):
        for sibling, room in enumerate(rooms_of(layer, root / "src" / package)):
            rows.append(f"| {'' if sibling else number} | {room_name(room)} | {first_sentence(room)} |")
    return "\n".join(rows)


def layers(contracts: Iterable[dict[str, Any]], package: str) -> Iterator[str]:
    """The layers of the root package, as import-linter writes them: `(optional)`, `independent | siblings`."""
    for contract in contracts:
        if contract["type"] == "layers" and contract["containers"] == [package]:
            yield from contract["layers"]


def rooms_of(layer: str, folder: Path) -> Iterator[Path]:
    """The file with the docstring of each room of a layer. An optional one may be missing; any other raises SystemExit."""
    if ":" in layer:
        raise SystemExit(f"pyproject.toml: {layer!r}: rooms of one layer don't import one another; write | instead of :")
    for sibling in layer.split("|"):
        name = sibling.strip()
        file = room_file(name.strip("()"), folder)
        if file is not None:
            yield file
        elif not name.startswith("("):
            raise SystemExit(f"pyproject.toml: {name!r}: {folder} has neither a package nor a module of this name")


def room_file(name: str, folder: Path) -> Path | None:
    """The `__init__` of a package, else the module itself, else None."""
    return next((path for path in (folder / name / "__init__.py", folder / f"{name}.py") if path.is_file()), None)


def room_name(file: Path) -> str:
    """A room as a path below the root package, and the folders in it."""
    if file.name != "__init__.py":
        return f"`{file.name}`"
    folders = sorted(path.parent.name for path in file.parent.glob("*/__init__.py"))
    return f"`{file.parent.name}/`" + (" with " + ", ".join(f"`{name}/`" for name in folders) if folders else "")


def first_sentence(file: Path) -> str:
    """The first sentence of a room's docstring, on one line. Raises SystemExit if there is none."""
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
    if not text:
        raise SystemExit(f"{file}: a room must open with one sentence")
    paragraph = " ".join(text.split("\n\n")[0].split())
    return SENTENCE_END.split(paragraph)[0].replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
