"""Installs the clients of tests/clients and runs them against simulated endpoints; knows how to install, and no client.

`python scripts/client_tests.py FOLDER [NAME …]`: each client gets a folder of its own in FOLDER. One that can't be installed is reported
and left out. Where the system allows it, the tests run in a network of their own that has nothing but loopback.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from clients.client import Client, all_clients  # noqa: E402 - its folder is put on the path above

LOOPBACK_ONLY = ("unshare", "--map-root-user", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")
LONGEST_S = 900


def main(folder: Path, names: Sequence[str]) -> int:
    """Install the named clients, or all, and test them: pytest's exit status."""
    clients = [client for client in all_clients() if not names or client.name in names]
    if unknown := set(names) - {client.name for client in clients}:
        print(f"No such client: {', '.join(sorted(unknown))}. Known: {', '.join(client.name for client in all_clients())}", file=sys.stderr)
        return 2
    for place, client in {client.place(folder): client for client in clients}.items():
        if problem := install(client, place):
            print(f"{place.name} could not be installed and is left out: {problem}", file=sys.stderr)
    modules = dict.fromkeys(f"tests/clients/{name}" for client in clients for name in ("test_clients.py", *client.more_tests))
    words = [sys.executable, "-m", "pytest", "-rfE", "-n", os.environ.get("JOBS", "auto"), *modules]
    if names:
        words += ["-k", " or ".join(chosen(client) for client in clients)]
    alone = LOOPBACK_ONLY if runs([*LOOPBACK_ONLY, "true"]) else ()
    if not alone:
        print("No network of their own could be made: the clients can reach what this machine reaches.", file=sys.stderr)
    return subprocess.run(  # noqa: S603 - this project's own tests
        [*alone, *words], cwd=ROOT, env={**os.environ, "CLIENTS": str(folder)}, check=False
    ).returncode


def chosen(client: Client) -> str:
    """An expression of pytest for the tests of one client, and not of another whose name has this one in it."""
    cases = [f"[{client.name}-{dialect}-" for dialect in client.dialects]
    return " or ".join([*cases, *(name.removesuffix(".py") for name in client.more_tests)])


def install(client: Client, folder: Path) -> str:
    """Install a client, if its pinned packages aren't there yet: what went wrong, or nothing."""
    stamp, pins = folder / ".installed", "\n".join(client.packages)
    if stamp.exists() and stamp.read_text() == pins and (folder / client.program).exists():
        return ""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    print(f"Installing {client.name} into {folder} …", flush=True)
    if client.installer == "npm":
        commands = [["npm", "install", "--prefix", str(folder), "--no-audit", "--no-fund", "--loglevel=error", *client.packages]]
    else:
        python = python_for(client.oldest_python, client.python)
        if python is None:
            wanted = " to ".join(filter(None, (client.oldest_python, client.python)))
            return f"it needs Python {wanted}, which this machine does not have"
        commands = [[python, "-m", "venv", str(folder)], [str(folder / "bin" / "pip"), "install", "--quiet", *client.packages]]
    for command in commands:
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST_S, check=False)  # noqa: S603 - the rows' own packages
        except FileNotFoundError:
            return f"{command[0]} is not installed"
        except subprocess.TimeoutExpired:
            return f"{command[0]} took longer than {LONGEST_S} s"
        if done.returncode:
            return (done.stderr.strip().splitlines() or [f"{command[0]} ended with status {done.returncode}"])[-1]
    stamp.write_text(pins)
    return ""


def python_for(oldest: str, newest: str) -> str | None:
    """The Python that runs this if it is in the range, else the newest of this machine that is; None if there is none."""
    least, most = numbers(oldest or "3"), numbers(newest or "4")
    if least <= sys.version_info[:2] <= most:
        return sys.executable
    folders = [*os.environ.get("PATH", "").split(os.pathsep), *map(str, Path.home().glob(".pyenv/versions/*/bin"))]
    found = [path for folder in folders for path in Path(folder).glob("python3.[0-9]*") if re.fullmatch(r"python3\.\d+", path.name)]
    fitting = [path for path in found if least <= numbers(path.name.removeprefix("python")) <= most]
    newest_first = sorted(fitting, key=lambda path: numbers(path.name.removeprefix("python")), reverse=True)
    # pyenv has a program for every version on the PATH, and it runs only for some.
    return next((str(path) for path in newest_first if runs([str(path), "--version"])), None)


def numbers(version: str) -> tuple[int, ...]:
    """`3.12` as (3, 12)."""
    return tuple(int(part) for part in version.split("."))


def runs(command: Sequence[str]) -> bool:
    """Whether a command runs and ends well."""
    if shutil.which(command[0]) is None:
        return False
    return subprocess.run(command, capture_output=True, check=False).returncode == 0  # noqa: S603 - a command of this file


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).expanduser().resolve(), sys.argv[2:]))
