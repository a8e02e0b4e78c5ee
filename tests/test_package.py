"""The package's public names, and the libraries that importing it must not load."""

import subprocess
import sys

import pytest

import paymaster
from paymaster import errors


def test_every_public_name_can_be_imported() -> None:
    assert {name for name in paymaster.__all__ if getattr(paymaster, name) is None} == set()
    assert set(dir(paymaster)) == set(paymaster.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Cleint'"):
        _ = paymaster.Cleint


def test_every_error_is_a_public_name() -> None:
    found = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, errors.PaymasterError)}
    assert found <= set(paymaster.__all__)


@pytest.mark.parametrize("statement", ["import paymaster", "from paymaster import AsyncClient, Client"])
def test_importing_loads_neither_litellm_nor_a_web_framework(statement: str) -> None:
    code = f"{statement}; import sys; print(sorted({{'litellm', 'starlette', 'fastapi', 'typer', 'rich'}} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
