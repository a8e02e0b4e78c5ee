"""What a row says of one client: its package, how to start it, what it can't do; starts nothing."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

HERE = Path(__file__).resolve().parent
JOBS = HERE / "jobs"
JOB_ENV: Mapping[str, str] = {"MODEL": "$model", "DIALECT": "$dialect", "TASK": "$task", "PROMPT": "$prompt"}
"""What our job programs read."""
SCHEMA = json.dumps({"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"], "additionalProperties": False})
"""Of the task `structured`, for programs that read it from a file."""


@dataclass(frozen=True, slots=True)
class Client:
    """One client. A row is a module of `rows/` with `CLIENTS`, a tuple of these.

    Texts are templates. They may use `$address` (the gateway's, without `/v1`), `$key`, `$model`, `$dialect`, `$task`,
    `$prompt`, `$folder` (the working folder), `$home`, `$client` (where it is installed), `$jobs` (our job programs), and what `by_dialect`
    has for the dialect. A dollar is `$$`.
    """

    name: str
    installer: str
    """`npm` or `pip`."""
    packages: tuple[str, ...]
    """Pinned: `name@1.2.3` for npm, `name==1.2.3` for pip."""
    program: str
    """What exists in the client's folder once it is installed: `node_modules/.bin/x`, `bin/x`."""
    words: tuple[str, ...]
    """The command line."""
    dialects: tuple[str, ...] = ("chat",)
    """What it speaks: `chat`, `responses`, `messages`."""
    env: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    """Files to write before it starts, by path; both are templates."""
    by_dialect: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    model: str = "worker"
    """The name that it asks for: the registry has a model of this name."""
    tasks: tuple[str, ...] = ("job",)
    """What it does: `job`, as a stream where it has streams; `whole`, the same without; `structured`, with `{"word": …}` as the answer."""
    job: str = ""
    """A program of `jobs/` that is copied to `$home`, beside a link to the `node_modules` of the client."""
    budget_usd: float = 0.03
    """The budget of the scenario `budget`. The first call is to fit, with its prompt, and its longest answer is to exhaust the rest: the
    endpoint bills all the output that the request allows."""
    lacks: Mapping[str, str] = field(default_factory=dict)
    """What it can't do, with the reason, by scenario or `scenario/dialect`."""
    oldest_python: str = ""
    """For pip: the oldest Python that it runs on; empty for any."""
    python: str = ""
    """For pip: the newest Python that it runs on, such as `3.12`; empty for any."""
    section: str = ""
    """The heading of its recipe in docs/clients.md. Several rows may have parts of it."""
    folder: str = ""
    """The row whose installed packages it uses; empty for its own."""
    more_tests: tuple[str, ...] = ()
    """Modules beside `test_clients.py` whose tests run this client alone."""

    def place(self, clients: Path) -> Path:
        """Where it is installed, in the folder of all clients."""
        return clients / (self.folder or self.name)

    def filled(self, template: str, variables: Mapping[str, str]) -> str:
        """A template with its variables."""
        return Template(template).substitute(variables)


def all_clients() -> tuple[Client, ...]:
    """The rows of every module of `rows/`, by name."""
    found: list[Client] = []
    for path in sorted((HERE / "rows").glob("*.py")):
        spec = importlib.util.spec_from_file_location(f"clients.rows.{path.stem}", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        found += module.CLIENTS
    return tuple(sorted(found, key=lambda client: client.name))
