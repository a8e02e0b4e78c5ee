"""Puts the commands together; knows their names and order, and imports nothing that they need."""

from typing import Annotated

import typer

from paymaster.cli.command_class import Command, Commands
from paymaster.cli.commands import (
    ask,
    check,
    cost,
    exec_,
    explain,
    init,
    keys,
    ledger,
    mini,
    mini_batch,
    prices,
    report,
    schema,
    scripted,
    serve,
    shell_init,
    status,
    sweagent,
    top,
    torture,
)

_HELP = """Every model call is paid for before it is made.

One registry of models, hard budgets, rate limits and fallbacks, for any program that calls language models.

\b
Start with:
  paymaster init                         write a starter registry
  paymaster check registry.yaml          find mistakes and missing keys
  paymaster ask "Say hello." --model-registry registry.yaml

Every shared flag has an environment variable, shown in brackets. Exit status: 0 done, 1 the call failed, 2 usage or registry mistake,
3 stopped by a budget, 130 Ctrl-C.
"""


def build_app() -> typer.Typer:
    """The whole command line, built for each run: no module keeps a part of it."""
    # Help without rich: importing its Markdown alone takes longer than everything else together.
    app = typer.Typer(
        cls=Commands,
        help=_HELP,
        add_completion=False,
        rich_markup_mode=None,
        no_args_is_help=True,
        context_settings={"help_option_names": ["--help", "-h"]},
    )
    app.callback()(_root)
    app.command("init", help=init.HELP, cls=Command)(init.init)
    app.command("check", help=check.HELP, cls=Command)(check.check)
    app.command("explain", help=explain.HELP, cls=Command)(explain.explain)
    app.command("ask", help=ask.HELP, cls=Command)(ask.ask)
    app.command("mini", help=mini.HELP, cls=mini.PassThrough)(mini.mini)
    app.command("mini-batch", help=mini_batch.HELP, cls=mini.PassThrough)(mini_batch.mini_batch)
    app.command("sweagent", help=sweagent.HELP, cls=mini.PassThrough)(sweagent.sweagent)
    app.command("serve", help=serve.HELP, cls=Command)(serve.serve)
    app.command("exec", help=exec_.HELP, cls=Command, context_settings={"allow_interspersed_args": False})(exec_.exec_)
    app.add_typer(keys.keys_app(), name="keys")
    app.command("status", help=status.HELP)(status.status)
    app.command("top", help=top.HELP)(top.top)
    app.command("report", help=report.HELP)(report.report)
    app.add_typer(ledger.group(), name="ledger")
    app.add_typer(prices.group(), name="prices")
    app.command("cost", help=cost.HELP, cls=Command)(cost.cost)
    app.command("scripted", help=scripted.HELP, cls=Command)(scripted.scripted)
    app.command("torture", help=torture.HELP)(torture.torture)
    app.command("shell-init", help=shell_init.HELP, cls=Command)(shell_init.shell_init)
    app.command("schema", help=schema.HELP)(schema.schema)
    app.command("version")(version)
    return app


def version() -> None:
    """Print the version."""
    from paymaster import __version__
    from paymaster.cli.terminal import write

    write(f"paymaster {__version__}")


def _root(
    *,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error; allowed anywhere.")] = False,
) -> None:
    pass
