"""`paymaster mini`: hands its words to the launcher of mini-swe-agent."""

from typing import Any

import typer
from typer.core import TyperCommand

HELP = """Run mini-swe-agent on the models of a registry.

mini-swe-agent's own flags go through; the shared flags (--model-registry, --budget-usd, --rpm-limit, --tpm-limit, --run-id, --batch-id,
--ledger, --events, --state-dir) are Paymaster's.

\b
Example:
  paymaster mini -t "Make the failing test pass." --model-registry registry.yaml --budget-usd 1
"""


class PassThrough(TyperCommand):
    """A command whose words are another program's: none of them is read here, `--help` and `--` among them."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401  its type has another home in each version of typer
        """Leave every word as it stands."""
        ctx.args = words = list(args)
        return words


def mini(context: typer.Context) -> None:
    """See `HELP`."""
    if context.args in (["--help"], ["-h"]):
        from paymaster.cli.terminal import write

        write(f"{context.get_help()}\n\nmini-swe-agent's own flags: mini --help")
        return
    from paymaster.agents.mini.launcher import main

    raise typer.Exit(main(list(context.args)))
