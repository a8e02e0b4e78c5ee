"""Unmodified clients do a small job through the gateway, and the ledger equals the endpoint's bill."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from clients.client import all_clients
from clients.judging import judge
from clients.running import run_case
from clients.scenarios import cases_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from clients.running import Endpoint
    from clients.scenarios import Case

CASES = [case for client in all_clients() for case in cases_of(client)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_client_does_its_job_and_the_bill_matches(
    case: Case, installed: Callable[[str], Path], simulated: Endpoint, tmp_path: Path
) -> None:
    if case.lacks:
        pytest.skip(f"{case.client.name} {case.lacks}")
    judge(case, run_case(case, installed(case.client.name), simulated, tmp_path))
