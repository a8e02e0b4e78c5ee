"""Work for the processes of a pool, which import it by name: each function raises an error there."""

from pathlib import Path

from paymaster import Client


def throw(error: BaseException) -> None:
    """Raise it, as work that fails does."""
    raise error


def call_over_budget(registry: Path, state: Path) -> None:
    """A real call that a hard budget refuses."""
    with Client(registry, run="pool", budget_usd="0.000001", ledger="memory:", state_dir=state, environ={}) as client:
        client.complete([{"role": "user", "content": "Hello"}])
