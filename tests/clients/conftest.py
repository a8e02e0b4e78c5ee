"""Finds the installed clients, skips those that are missing, and prints a table of clients and scenarios at the end."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from clients.client import all_clients
from clients.running import endpoint
from clients.scenarios import SCENARIOS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from clients.running import Endpoint

CLIENTS = os.environ.get("CLIENTS", "")
"""The folder that `make test-clients` installs into; without it these tests are skipped."""
HERE = Path(__file__).resolve().parent
MARKS = {"passed": "ok", "failed": "FAILED", "skipped": "-"}


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
    cells: dict[tuple[str, str], list[str]] = {}
    for outcome, mark in MARKS.items():
        for report in terminalreporter.getreports(outcome):
            case = report.nodeid.partition("test_clients.py::test_a_client_does_its_job_and_the_bill_matches[")[2]
            for scenario in (scenario.name for scenario in SCENARIOS):
                before, found, _ = case.partition(f"-{scenario}-")
                if found and CLIENTS:
                    cells.setdefault((before, scenario), []).append(mark)
    rows = sorted({client for client, _ in cells})
    if not rows:
        return
    names = [scenario.name for scenario in SCENARIOS]
    width = max(len(row) for row in rows) + 2
    terminalreporter.section("clients")
    terminalreporter.write_line(" " * width + "".join(f"{name:>12}" for name in names))
    for row in rows:
        marks = ["/".join(sorted(set(cells.get((row, name), [])))) for name in names]
        terminalreporter.write_line(f"{row:<{width}}" + "".join(f"{mark:>12}" for mark in marks))
