"""Makes the virtual environment for the SWE-agent tests, with SWE-agent from a checkout and this project; knows no test.

    python scripts/sweagent_venv.py PATH_TO_CHECKOUT VENV

It installs a copy of the checkout, because pip writes files where it builds. A second run does nothing until the checkout or this
project's dependencies change. An environment that was not made here is never changed. A wrong checkout ends with status 2 and a message.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OLDEST = (1, 1)
GET_IT = "git clone https://github.com/SWE-agent/SWE-agent, then: make test-sweagent SWE_AGENT_SRC=path/to/SWE-agent"
VERSION = re.compile(r"^__version__\s*=\s*[\"'](\d+)\.(\d+)[^\"']*[\"']", re.MULTILINE)
LEFT_OUT = shutil.ignore_patterns(".git", "__pycache__", "build", "*.egg-info", "trajectories", ".venv*", "venv")


def main() -> int:
    """Check the checkout, then make or update the environment."""
    checkout, target = (sys.argv[1] if len(sys.argv) > 1 else ""), Path(sys.argv[2] if len(sys.argv) > 2 else ".venv-sweagent").absolute()
    if problem := problem_of(checkout):
        sys.stderr.write(f"{problem}\nSWE-agent {'.'.join(map(str, OLDEST))} or later is tested from a checkout: {GET_IT}\n")
        return 2
    source = Path(checkout).resolve()
    stamp, current = target / ".installed", digest(source)
    if target.exists() and not stamp.is_file():  # the user's own environment: use it unchanged
        return 0
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == current:
        return 0
    sys.stdout.write(f"Installing SWE-agent and Paymaster into {target.name} (once; a few minutes) …\n")
    sys.stdout.flush()
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    stamp.touch()  # empty until the end: an interrupted installation is recognised and repeated
    venv.create(target, with_pip=True)
    copy = target / "sweagent"
    shutil.copytree(source, copy, ignore=LEFT_OUT)
    (copy / "trajectories").mkdir()
    constraints = str(ROOT / "constraints.txt")
    pip = [str(target / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "-c", constraints]
    for words in (["hatchling", "editables", "setuptools", "wheel"], ["--no-build-isolation", "-e", str(copy), "-e", f"{ROOT}[litellm]"]):
        if status := subprocess.run([*pip, *words], check=False).returncode:  # noqa: S603  fixed arguments
            sys.stderr.write("pip could not install SWE-agent; see its message above\n")
            return status
    stamp.write_text(current, encoding="utf-8")
    return 0


def problem_of(checkout: str) -> str:
    """Why this path can't be tested, or an empty string."""
    if not checkout:
        return "No checkout of SWE-agent was named."
    source = Path(checkout)
    if not source.is_dir():
        return f"SWE_AGENT_SRC={checkout}: directory not found."
    init = source / "sweagent" / "__init__.py"
    if not init.is_file() or not (source / "pyproject.toml").is_file():
        return f"SWE_AGENT_SRC={checkout} is not a checkout of SWE-agent: it lacks sweagent/__init__.py or pyproject.toml."
    found = VERSION.search(init.read_text(encoding="utf-8"))
    if found is None:
        return f"SWE_AGENT_SRC={checkout}: its sweagent/__init__.py has no version."
    if tuple(map(int, found.groups())) < OLDEST:
        return f"SWE_AGENT_SRC={checkout} is SWE-agent {'.'.join(found.groups())}, which is too old."
    return ""


def digest(source: Path) -> str:
    """A digest of the checkout's Python and of this project's dependencies, to see whether an environment is current."""
    found = hashlib.sha256(str(source).encode())
    files = [*sorted((source / "sweagent").rglob("*.py")), source / "pyproject.toml", ROOT / "pyproject.toml", ROOT / "constraints.txt"]
    for path in files:
        found.update(path.read_bytes())
    return found.hexdigest()


if __name__ == "__main__":
    sys.exit(main())
