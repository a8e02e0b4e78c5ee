"""`paymaster mini`: passes its arguments to the launcher of mini-swe-agent."""

from typing import Any

import typer
from typer.core import TyperCommand

HELP = """Run mini-swe-agent on the models of a registry.

mini-swe-agent's own flags are passed on; the shared flags (--model-registry, --budget-usd, --budget-tokens, --budget-requests,
--rpm-limit, --tpm-limit, --run-id, --batch-id, --ledger, --events, --state-dir) are Paymaster's.

\b
Example:
  paymaster mini -t "Make the failing test pass." \\
      --model-registry registry.yaml --budget-usd 1
"""


class PassThrough(TyperCommand):
    """A command whose arguments belong to another program: none is parsed here, not even `--help` and `--`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401  its type is in another module in each version of typer
        """Keep every argument unchanged."""
        ctx.args = kept = list(args)
        return kept


def mini(context: typer.Context) -> None:
    """See `HELP`."""
    if context.args in (["--help"], ["-h"]):
        from paymaster.cli.terminal import write

        write(f"{context.get_help()}\n\nmini-swe-agent's own flags: mini --help")
        return
    from paymaster.agents.mini.launcher import main

    raise typer.Exit(main(list(context.args)))
