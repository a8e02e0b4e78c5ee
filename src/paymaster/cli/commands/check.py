"""`paymaster check`: whether a registry is right, what it comes to, and with `--live` whether its endpoints answer."""

from typing import TYPE_CHECKING, Annotated

import typer

from paymaster.cli.flags import ALL, AsJson, Flags, RegistryWord, registry_of, set_up_log, with_flags

if TYPE_CHECKING:
    from paymaster.cli.live import Answered
    from paymaster.errors import LedgerUnusable
    from paymaster.registry.describe import RegistryDescription
    from paymaster.resources import Options

HELP = """Check a registry.

Names every mistake at once, with file, line and the nearest correct spelling (exit status 2). A right registry is shown with everything
filled in: models, endpoints, prices, limits, budgets, and which keys are set (never their values).

With a ledger on Redis or Valkey (--ledger, PAYMASTER_LEDGER), the server is asked for the settings that decide what it can lose: where
they don't keep the promise of a hard budget, it is said.

--live also asks each model for a few tokens. These calls are paid for like any other, under the registry's own budgets, and their cost is
printed. A model that doesn't answer is exit status 1.

\b
Example:
  paymaster check registry.yaml
  paymaster check registry.yaml --live --budget-usd 0.01
"""


@with_flags(*ALL)
def check(
    flags: Flags,
    registry: RegistryWord = None,
    live: Annotated[bool, typer.Option("--live", help="Ask each model for a few tokens; costs a little.")] = False,
    origins: Annotated[bool, typer.Option("--origins", help="Show where each value came from.")] = False,
    as_json: AsJson = False,
) -> None:
    """See `HELP`."""
    from paymaster.cli.live import ask_all
    from paymaster.cli.terminal import write_json
    from paymaster.options import configure
    from paymaster.registry.describe import describe

    options = configure(registry_of(registry, flags), flags.settings())
    described = describe(options.registry, options.environ)
    described, unusable = _with_ledger(described, options)
    if live and flags.verbosity == 0:
        set_up_log(-1)  # the table tells each failure
    answered = ask_all(options, flags.settings()) if live else None
    if as_json:
        from paymaster.cli.registry_tables import as_json as to_json

        write_json(to_json(described, answered))
    else:
        _print(described, options, answered, origins=origins)
    if unusable is not None:
        raise unusable
    if answered is not None and not all(answer.is_good for answer in answered):
        raise typer.Exit(1)


def _with_ledger(described: "RegistryDescription", options: "Options") -> "tuple[RegistryDescription, LedgerUnusable | None]":
    """With the warnings about the ledger's server; or with why it can't be used, which is told when the registry has been shown."""
    from dataclasses import replace

    from paymaster.cli.ledger_access import server_warnings
    from paymaster.errors import LedgerUnusable

    try:
        told = server_warnings(options.ledger)
    except LedgerUnusable as error:
        return described, error
    return replace(described, warnings=(*described.warnings, *told)), None


def _print(described: "RegistryDescription", options: "Options", answered: "list[Answered] | None", *, origins: bool) -> None:
    from paymaster.cli import registry_tables
    from paymaster.cli.terminal import write, write_tables, write_warnings

    write(registry_tables.headline(described))
    write()
    write_tables([registry_tables.origin_table(described)] if origins else registry_tables.tables(described))
    write_warnings(registry_tables.warnings(described))
    if answered is not None:
        write()
        write_tables([registry_tables.live_table(answered)])
        write(registry_tables.live_cost(answered, options.scope.run))
