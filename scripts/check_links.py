"""Reports broken Markdown links to files and headings of this project; knows no external address and opens no connection.

Run from anywhere: `python scripts/check_links.py`. It prints `file:line: problem` for each finding and ends with status 1 if there is any.
URLs with a scheme (`https:`) are not followed.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md")
FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})")
CODE = re.compile(r"(`+)(?!`).*?(?<!`)\1(?!`)")
INLINE = re.compile(r"\]\(\s*<?([^()\s>]+(?:\([^()\s]*\)[^()\s>]*)*)>?(?:\s+\"[^\"]*\")?\s*\)")
DEFINITION = re.compile(r"^ {0,3}\[[^\]]+\]:\s*<?([^\s>]+)>?")
ATTRIBUTE = re.compile(r"<[a-z]+\s[^>]*?(?:href|src)=\"([^\"]+)\"", re.IGNORECASE)
ANCHOR = re.compile(r"<[a-z]+\s[^>]*?(?:id|name)=\"([^\"]+)\"", re.IGNORECASE)
HEADING = re.compile(r"^ {0,3}#{1,6}\s+(.*?)\s*#*\s*$")
SCHEME = re.compile(r"^[a-z][a-z0-9+.-]*:", re.IGNORECASE)


def main() -> int:
    """Check every page of the project; the exit status is 1 if a link is broken."""
    findings = list(check(pages(ROOT)))
    print("\n".join(findings) or "links: none is broken")
    return 1 if findings else 0


def pages(root: Path) -> list[Path]:
    """The pages of the project: those at its root, all below docs/, and the README of each folder of examples."""
    at_root = [root / name for name in PAGES if (root / name).is_file()]
    return [*at_root, *sorted((root / "docs").rglob("*.md")), *sorted((root / "examples").glob("*/README.md"))]


def check(files: Iterable[Path]) -> Iterator[str]:
    """Every finding, as `file:line: problem`."""
    known: dict[Path, frozenset[str]] = {}
    for page in files:
        for line, target in links(page.read_text(encoding="utf-8")):
            if (found := problem(page, target, known)) is not None:
                yield f"{page}:{line}: {found}"


def problem(page: Path, target: str, known: dict[Path, frozenset[str]]) -> str | None:
    """The problem of a link on a page, or None; `known` caches the anchors of pages."""
    if SCHEME.match(target) or target.startswith("//"):
        return None
    path, _, anchor = (unquote(part) for part in target.partition("#"))
    if path.startswith("/"):
        return f"{target}: links within the project must be relative"
    file = (page.parent / path).resolve() if path else page.resolve()
    if not file.exists():
        return f"{target}: file not found"
    if not anchor or file.suffix != ".md":
        return None
    if file not in known:
        known[file] = frozenset(anchors(file.read_text(encoding="utf-8")))
    return None if anchor in known[file] else f"{target}: no heading of that page has this anchor"


def links(text: str) -> Iterator[tuple[int, str]]:
    """Every link of a page outside code: (line, target)."""
    for number, line in prose(text):
        bare = CODE.sub("", line)
        for found in (*INLINE.finditer(bare), *DEFINITION.finditer(bare), *ATTRIBUTE.finditer(bare)):
            yield number, found[1]


def anchors(text: str) -> Iterator[str]:
    """The anchors of a page, as GitHub makes them from its headings; the second of the same name gets `-1`."""
    seen: dict[str, int] = {}
    for _, line in prose(text):
        yield from (found[1] for found in ANCHOR.finditer(CODE.sub("", line)))
        if (heading := HEADING.match(line)) is not None:
            slug = slug_of(heading[1])
            count = seen.get(slug, 0)
            seen[slug] = count + 1
            yield f"{slug}-{count}" if count else slug


def slug_of(heading: str) -> str:
    """A heading as an anchor: its text in lower case, without punctuation, with a dash for each space."""
    shown = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    return re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")


def prose(text: str) -> Iterator[tuple[int, str]]:
    """The lines outside fenced code and comments, numbered from 1."""
    fence, comment = "", False
    for number, line in enumerate(text.splitlines(), start=1):
        found = FENCE.match(line)
        if fence:
            closes = found is not None and found[1].startswith(fence) and not line.strip().strip(fence[0])
            fence = "" if closes else fence
        elif found is not None and not comment:
            fence = found[1]
        else:
            kept, comment = outside_comments(line, inside=comment)
            yield number, kept


def outside_comments(line: str, *, inside: bool) -> tuple[str, bool]:
    """A line without the text between `<!--` and `-->`, and whether a comment is open at its end."""
    kept: list[str] = []
    while line:
        part, mark, line = line.partition("-->" if inside else "<!--")
        kept += [] if inside else [part]
        inside = inside != bool(mark)
    return "".join(kept), inside


if __name__ == "__main__":
    sys.exit(main())
