"""The names of processes read back as what they were built from."""

import pytest

from paymaster.accounting.process_names import name_process, process_number


def test_a_name_reads_back() -> None:
    assert process_number(name_process(4711, "1f2e3d4c")) == 4711


@pytest.mark.parametrize("name", ["", "4711", "4711-", "4711-1f2e3d4", "4711-1F2E3D4C", "x-1f2e3d4c", "4711-1f2e3d4c\n", "-1-1f2e3d4c"])
def test_nothing_else_is_a_name(name: str) -> None:
    assert process_number(name) is None
