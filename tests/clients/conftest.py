"""Finds the installed clients, skips those that are missing, and prints a table of clients and scenarios at the end."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from clients.client import all_clients
from clients.running import endpoint
from clients.scenarios import DIALECTS, SCENARIOS, cases_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from clients.running import Endpoint

CLIENTS = os.environ.get("CLIENTS", "")
"""The folder that `make test-clients` installs into; without it these tests are skipped."""
HERE = Path(__file__).resolve().parent
MARKS = {"failed": "FAIL", "passed": "ok", "skipped": "-"}
"""By outcome, the worst first."""
LEGEND = (
    "ok: the client ended as it should, and the ledger equals the bill.",
    "-: it can't, or is not installed. Empty: not run in this format.",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path == HERE / "test_clients.py":
            item.add_marker(pytest.mark.timeout(300))  # some clients take a minute to start on a busy machine
            if not CLIENTS:
                item.add_marker(pytest.mark.skip(reason="needs installed clients: make test-clients"))


@pytest.fixture(scope="session")
def installed() -> Callable[[str], Path]:
    """The folder of a client; skips the test if it isn't there."""
    rows = {client.name: client for client in all_clients()}

    def find(name: str) -> Path:
        folder = rows[name].place(Path(CLIENTS))
        if not (folder / rows[name].program).exists():
            pytest.skip(f"{name} is not installed in {CLIENTS}: make test-clients")
        return folder

    return find


@pytest.fixture(scope="session")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """The endpoint behind every gateway."""
    with endpoint(tmp_path_factory.mktemp("bills")) as running:
        yield running


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print a table of clients and scenarios."""
    cases = {case.id: case for client in all_clients() for case in cases_of(client)}
    marks: dict[tuple[str, str], dict[str, str]] = {}
    for outcome, mark in MARKS.items():
        for report in terminalreporter.getreports(outcome):
            module, _, name = report.nodeid.partition("::")
            case = cases.get(name.partition("[")[2].removesuffix("]"))
            if case is not None and module.endswith("test_clients.py") and CLIENTS:
                marks.setdefault((case.client.name, case.dialect), {}).setdefault(case.scenario.name, mark)
    if marks:
        terminalreporter.section("clients")
        for line in table_of(marks):
            terminalreporter.write_line(line)


def table_of(marks: Mapping[tuple[str, str], Mapping[str, str]]) -> list[str]:
    """Lines of at most 80 letters: each client, and below it a line for each of its dialects."""
    names, widest = [scenario.name for scenario in SCENARIOS], max(map(len, DIALECTS))
    lines = [" " * (widest + 2) + "".join(f" {name:>4}" for name in names)]
    for client in sorted({client for client, _ in marks}):
        lines.append(client)
        for dialect in (dialect for dialect in DIALECTS if (client, dialect) in marks):
            found = marks[client, dialect]
            lines.append(f"  {dialect:<{widest}}" + "".join(f" {found.get(name, ''):>{max(len(name), 4)}}" for name in names))
    return [*lines, *LEGEND]
