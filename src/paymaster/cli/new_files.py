"""Writes new files for a user, and replaces existing ones only if that was asked for; knows no command and no content."""

import os
from pathlib import Path

from paymaster.errors import UsageMistake


def refuse_existing(path: Path, *, replace: bool, advice: str) -> None:
    """Checked before anything is written, so that all files are written or none. Raises UsageMistake."""
    if path.exists() and not (replace and path.is_file()):
        raise UsageMistake(f"{path} already exists", advice=advice)


def create(path: Path, text: str, *, replace: bool, advice: str = "") -> None:
    """Write a new file. Raises UsageMistake if it exists already or can not be written."""
    try:
        if replace and path.is_file():
            _replace(path, text)
        else:
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
    except FileExistsError as error:
        usual = "Name another one with --output, or replace it with --force." if path.is_file() else "Name a file with --output."
        raise UsageMistake(f"{path} already exists", advice=advice or usual) from error
    except OSError as error:
        raise UsageMistake(f"cannot write {path}: {error.strerror or error}", advice="Name another file with --output.") from error


def _replace(path: Path, text: str) -> None:
    """Write a temporary file first, so that a full disk or Ctrl-C leaves the old one unchanged."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
