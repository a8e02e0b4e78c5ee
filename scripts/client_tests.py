"""Installs the clients of tests/clients and runs them against simulated endpoints; knows how to install, and no client.

`python scripts/client_tests.py FOLDER [NAME …]`: each client gets a folder of its own in FOLDER. One that can't be installed is reported,
and the others are tested; the exit status is then 1. Where the system allows it, the tests run in a network of their own that has nothing
but loopback.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from clients.client import Client, all_clients  # noqa: E402 - its folder is put on the path above

LOOPBACK_ONLY = ("unshare", "--map-root-user", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")
LONGEST_S = 900


def main(folder: Path, names: Sequence[str]) -> int:
    """Install the named clients, or all, and test them: pytest's exit status, or 1 if a client is missing."""
    clients = [client for client in all_clients() if not names or {client.name, client.folder} & {*names}]
    if unknown := set(names) - {client.name for client in clients}:
        print(f"No such client: {', '.join(sorted(unknown))}. Known: {', '.join(client.name for client in all_clients())}", file=sys.stderr)
        return 2
    missing: list[str] = []
    for place, client in {client.place(folder): client for client in clients}.items():
        if problem := install(client, place):
            missing.append(f"{place.name} could not be installed and is not tested: {problem}")
            print(missing[-1], file=sys.stderr, flush=True)
    modules = dict.fromkeys(f"tests/clients/{name}" for client in clients for name in ("test_clients.py", *client.more_tests))
    words = [sys.executable, "-m", "pytest", "-rfE", "-n", os.environ.get("JOBS", "auto"), *modules]
    if names:
        words += ["-k", " or ".join(chosen(client) for client in clients)]
    alone = LOOPBACK_ONLY if runs([*LOOPBACK_ONLY, "true"]) else ()
    if not alone:
        print("No network of their own could be made: the clients can reach what this machine reaches.", file=sys.stderr)
    status = wait_for([*alone, *words], {**os.environ, "CLIENTS": str(folder)})
    if missing:
        print(*missing, sep="\n", file=sys.stderr)
    return status or int(bool(missing))


def wait_for(words: Sequence[str], env: Mapping[str, str]) -> int:
    """Run the tests to their end. Ctrl-C reaches pytest too, which stops the clients and prints its table: it must not be killed before."""
    with subprocess.Popen(words, cwd=ROOT, env=env) as process:  # noqa: S603 - this project's own tests
        while True:
            with suppress(KeyboardInterrupt):
                return process.wait()


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
            return f"it needs Python {wanted}, and this machine has none"
        commands = [[python, "-m", "venv", str(folder)], [str(folder / "bin" / "pip"), "install", "--quiet", *client.packages]]
    for command in commands:
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST_S, check=False)  # noqa: S603 - the rows' own packages
        except FileNotFoundError:
            return f"{command[0]} is not on the PATH"
        except subprocess.TimeoutExpired:
            return f"{command[0]} took longer than {LONGEST_S} s"
        if done.returncode:
            return reason_of(client, done.stderr) or f"{command[0]} ended with status {done.returncode}"
    stamp.write_text(pins)
    return ""


def reason_of(client: Client, stderr: str) -> str:
    """The line of an installer that says what went wrong: npm's first after a code, pip's last."""
    lines = re.findall(r"^(?:npm error (?!code |A complete log)|ERROR: )(.+)", stderr, flags=re.MULTILINE)
    return str(lines[0 if client.installer == "npm" else -1]) if lines else ""


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
    try:
        sys.exit(main(Path(sys.argv[1]).expanduser().resolve(), sys.argv[2:]))
    except KeyboardInterrupt:
        sys.exit("Interrupted. The same command goes on with what is not installed yet.")
