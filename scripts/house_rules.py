"""Knows the house rules that no linter has a rule for, and reports each line that breaks one; knows nothing of what the code does.

Run from anywhere: `python scripts/house_rules.py`. It prints `file:line: rule` for each finding and ends with status 1 if there is any.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).resolve().parent.parent
PROGRAM_FOLDERS = ("src", "benchmarks", "scripts")
FOLDERS = (*PROGRAM_FOLDERS, "tests")
WRITTEN_EARLIER = ROOT / "tests" / "fixtures" / "bca1a69"
"""What an earlier version wrote, and the program that made it do so, keep its words."""
PROSE = ("*.md", "docs/**/*.md", "examples/**/*.md", "src/**/*.lua", "src/**/*.sql", "src/**/*.yaml", "src/**/*.html", "src/**/*.js")
FUNCTION_LINES = 60
FILE_LINES = 400
VAGUE_NAMES = re.compile(r"(^|_)(utils?|managers?|helpers?|handlers?)($|_)")
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
TEXTS = frozenset({tokenize.STRING, tokenize.COMMENT, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)})
SUPPRESSION = re.compile(
    r"#\s*(?:noqa|type:\s*ignore|pragma:\s*no (?:cover|branch))\b(?P<rules>\[[^\]]*\]|:\s*[A-Z]+\d+(?:,\s*[A-Z]+\d+)*)?(?P<reason>.*)$"
)
TWO_WORDS = re.compile(r"[^\W\d_]{2,}.*\s[^\W\d_]{2,}")

PRIVATE_NAMES: Mapping[str, str] = {
    "away": "unavailable",
    "bell": "signal",
    "births": "worker_main",
    "crowd": "waiters",
    "desk": "registry",
    "door": "access",
    "heir": "successor",
    "keeper": "admin",
    "lane": "queue",
    "lately": "recent",
    "loud": "needs_operator",
    "mend": "fix",
    "mended": "fixed",
    "narration": "events",
    "narrator": "events",
    "resting": "paused",
    "seeing": "observability",
    "slip": "cost",
    "standing": "status",
    "takings": "summary",
    "tell": "emit",
    "telling": "emit",
    "tells": "emits",
    "till": "session",
    "told": "reported",
    "turnstile": "wait_queue",
    "visit": "state",
    "witness": "observer",
}
"""Parts of an identifier that a stranger would not guess, and the field's word for each (CONTRIBUTING.md, "Words")."""

PRIVATE_WORDS: Mapping[str, str] = {
    "came by|comes? by": "got",
    "crowds?": "waiters",
    "heirs?": "successor",
    "(?:stands?|stood|waits?|places?|waiting) in line": "waits in the queue",
    "is (?:away|back)|was (?:away|back)": "is unavailable, is available again",
    "lanes?": "queue",
    "lately": "recently",
    "left for": "fell back to",
    "mend(?:s|ed|ing)?": "fix",
    "passe[sd] over|pass over": "skipped",
    "rests|resting": "is paused",
    "tells?|telling|told": "reports, emits, shows",
    "turnstiles?": "queue",
    "unforeseen": "internal",
    "whoever": "the caller, the operator",
    "witness": "observer",
}
"""The same for the words of messages, comments and docstrings."""
PRIVATE_WORD = re.compile("|".join(rf"(?P<w{number}>\b(?:{words})\b)" for number, words in enumerate(PRIVATE_WORDS)), re.IGNORECASE)

ALLOWED: Mapping[str, frozenset[str]] = {
    "CONTRIBUTING.md": frozenset(PRIVATE_WORDS),  # its table names them
    "scripts/house_rules.py": frozenset(PRIVATE_NAMES) | frozenset(PRIVATE_WORDS),
    "tests/test_project_files.py": frozenset(PRIVATE_NAMES) | frozenset(PRIVATE_WORDS),
}
"""Where a private word is meant: by file, the words (as they are spelled above) that it may use."""


def main() -> int:
    """Check every Python file of the project; the exit status is 1 when a rule is broken."""
    programs = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py")) if WRITTEN_EARLIER not in path.parents]
    findings = [finding for path in programs for finding in check(path)]
    for pattern in PROSE:
        for path in sorted(ROOT.glob(pattern)):
            location = path.relative_to(ROOT).as_posix()
            allowed = ALLOWED.get(location, frozenset())
            findings += [f"{location}:{line + 1}: {rule}" for line, rule in check_text(path.read_text(encoding="utf-8"), allowed)]
    print("\n".join(findings) or "house rules: all kept")
    return 1 if findings else 0


def check(path: Path) -> Iterator[str]:
    """Every finding in one file, as `file:line: rule`."""
    text = path.read_text(encoding="utf-8")
    location = path.relative_to(ROOT)
    program = location.parts[0] in PROGRAM_FOLDERS
    shape = check_shape(path.stem, text) if program else ()
    for line, rule in (*check_lines(text), *shape, *check_words(text, ALLOWED.get(location.as_posix(), frozenset()))):
        yield f"{location}:{line}: {rule}"


def check_lines(text: str) -> Iterator[tuple[int, str]]:
    """Suppressions that give no reason: (line, rule)."""
    for number, line in enumerate(text.splitlines(), start=1):
        if (found := SUPPRESSION.search(line)) and not TWO_WORDS.search(found["reason"]):
            yield number, "a suppression needs its reason on the line, in words"


def check_shape(stem: str, text: str) -> Iterator[tuple[int, str]]:
    """Names and sizes: (line, rule)."""
    if VAGUE_NAMES.search(stem):
        yield 1, f"“{stem}” does not say what the module knows"
    length = text.count("\n")
    if length > FILE_LINES:
        yield FILE_LINES + 1, f"{length} lines; a file is read in a sitting ({FILE_LINES})"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, FUNCTIONS) and (lines := code_lines(node)) > FUNCTION_LINES:
            yield node.lineno, f"“{node.name}” has {lines} lines; a function fits on a screen ({FUNCTION_LINES})"
        if isinstance(node, (*FUNCTIONS, ast.ClassDef)) and VAGUE_NAMES.search(snake_case(node.name)):
            yield node.lineno, f"“{node.name}” does not say what it does"


def check_words(text: str, allowed: frozenset[str]) -> Iterator[tuple[int, str]]:
    """Private words in names, strings and comments: (line, rule). A line of a longer text is counted from its first."""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.NAME:
            for part in snake_case(token.string).split("_"):
                if part in PRIVATE_NAMES and part not in allowed:
                    yield token.start[0], f"“{token.string}”: “{part}” is a private word; say “{PRIVATE_NAMES[part]}”"
        elif token.type in TEXTS:
            yield from ((token.start[0] + line, rule) for line, rule in check_text(token.string, allowed))


def check_text(text: str, allowed: frozenset[str] = frozenset()) -> Iterator[tuple[int, str]]:
    """Private words in prose: (lines before it, rule)."""
    for found in PRIVATE_WORD.finditer(text):
        words = list(PRIVATE_WORDS)[int((found.lastgroup or "w0")[1:])]
        if words not in allowed:
            yield text.count("\n", 0, found.start()), f"“{found[0]}” is a private word; say “{PRIVATE_WORDS[words]}”"


def code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """The lines of a function without its docstring."""
    total = (function.end_lineno or function.lineno) - function.lineno + 1
    if ast.get_docstring(function) is None:
        return total
    docstring = function.body[0]
    return total - ((docstring.end_lineno or docstring.lineno) - docstring.lineno + 1)


def snake_case(name: str) -> str:
    """`CallHelper` as `call_helper`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


if __name__ == "__main__":
    sys.exit(main())
