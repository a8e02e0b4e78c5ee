"""`paymaster sweagent`: passes its arguments to the launcher of SWE-agent."""

import typer

HELP = """Run SWE-agent on the models of a registry.

SWE-agent's own commands and flags are passed on; the shared flags (--model-registry, --budget-usd, --budget-tokens,
--budget-requests, --rpm-limit, --tpm-limit, --run-id, --batch-id, --ledger, --events, --state-dir) are Paymaster's. A config file may
have model_registry: itself.

\b
Example:
  paymaster sweagent run-batch --config my.yaml --num_workers 8 \\
      --model-registry registry.yaml --budget-usd 20
"""


def sweagent(context: typer.Context) -> None:
    """See `HELP`."""
    if context.args in (["--help"], ["-h"]):
        from paymaster.cli.terminal import write

        write(f"{context.get_help()}\n\nSWE-agent's own flags: sweagent --help")
        return
    from paymaster.agents.sweagent.launcher import main

    raise typer.Exit(main(list(context.args)))
