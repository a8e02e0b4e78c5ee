"""`paymaster mini-batch`: passes its arguments to the launcher of mini-swe-agent's batches."""

import typer

HELP = """Run a batch of mini-swe-agent on the models of a registry.

The flags of `mini-extra swebench` are passed on; the shared flags (--model-registry, --budget-usd, --budget-tokens, --budget-requests,
--rpm-limit, --tpm-limit, --run-id, --batch-id, --ledger, --events, --state-dir) are Paymaster's. A budget is for this run; with --batch-id
it is for the whole batch, which several processes may share. When it is reached, the work in progress is kept, no further instance begins,
and the exit status is 3.

\b
Example:
  paymaster mini-batch --subset lite --split test -w 8 -o results \\
      --model-registry registry.yaml --budget-usd 20
"""


def mini_batch(context: typer.Context) -> None:
    """See `HELP`."""
    if context.args in (["--help"], ["-h"]):
        from paymaster.cli.terminal import write

        write(f"{context.get_help()}\n\nmini-swe-agent's own flags: mini-extra swebench --help")
        return
    from paymaster.agents.mini.batch import main

    raise typer.Exit(main(list(context.args)))
