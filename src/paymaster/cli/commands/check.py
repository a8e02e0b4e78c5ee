"""`paymaster check`: shows a registry's mistakes, or its complete values, and with `--live` whether its endpoints answer."""

from typing import TYPE_CHECKING, Annotated

import typer

from paymaster.cli.flags import ALL, AsJson, Flags, RegistryArgument, registry_of, set_up_log, with_flags

if TYPE_CHECKING:
    from paymaster.cli.live_check import LiveCheck
    from paymaster.errors import LedgerUnusable
    from paymaster.registry.describe import RegistryDescription
    from paymaster.resources import Options

HELP = """Check a registry.

Lists every mistake at once, with file, line and the nearest correct spelling (exit status 2). Shows a registry without mistakes with all
values filled in: models, endpoints, prices, limits, budgets, and which keys are set (never their values).

With a ledger on Redis or Valkey (--ledger, PAYMASTER_LEDGER), it warns of server settings that can lose data and so don't keep the promise
of a hard budget.

--live also asks each endpoint of each model for a few tokens. These calls are paid for like any other, under the registry's own budgets,
and their cost is printed. If one does not answer, the exit status is 1.

\b
Example:
  paymaster check registry.yaml
  paymaster check registry.yaml --live --budget-usd 0.01
"""


@with_flags(*ALL)
def check(
    flags: Flags,
    registry: RegistryArgument = None,
    live: Annotated[bool, typer.Option("--live", help="Ask each model for a few tokens; costs a little.")] = False,
    origins: Annotated[bool, typer.Option("--origins", help="Show where each value came from.")] = False,
    as_json: AsJson = False,
) -> None:
    """See `HELP`."""
    from paymaster.cli.live_check import check_models
    from paymaster.cli.terminal import write_json
    from paymaster.options import configure
    from paymaster.registry.describe import describe

    options = configure(registry_of(registry, flags), flags.settings())
    described = describe(options.registry, options.environ)
    described, unusable = _with_ledger(described, options)
    if live and flags.verbosity == 0:
        set_up_log(-1)  # the table shows each failure
    checks = check_models(options, flags.settings()) if live else None
    if as_json:
        from paymaster.cli.registry_tables import registry_json

        write_json(registry_json(described, checks))
    else:
        _print(described, options, checks, origins=origins)
    if unusable is not None:
        raise unusable
    if checks is not None and not all(check.is_good for check in checks):
        raise typer.Exit(1)


def _with_ledger(described: "RegistryDescription", options: "Options") -> "tuple[RegistryDescription, LedgerUnusable | None]":
    """The registry with warnings about the ledger's server, or the error of an unusable ledger, which is raised after the output."""
    from dataclasses import replace

    from paymaster.cli.ledger_access import server_warnings
    from paymaster.errors import LedgerUnusable

    try:
        warnings = server_warnings(options.ledger)
    except LedgerUnusable as error:
        return described, error
    return replace(described, warnings=(*described.warnings, *warnings)), None


def _print(described: "RegistryDescription", options: "Options", checks: "list[LiveCheck] | None", *, origins: bool) -> None:
    from paymaster.cli import registry_tables
    from paymaster.cli.terminal import write, write_note, write_tables, write_warnings

    write(registry_tables.headline(described))
    write()
    write_tables([registry_tables.origin_table(described)] if origins else registry_tables.registry_tables(described))
    for guess in registry_tables.guesses(described):
        write_note(guess)
    write_warnings(registry_tables.warnings(described))
    if checks is not None:
        write()
        write_tables([registry_tables.live_table(checks)])
        write(registry_tables.live_cost(checks, options.scope.run))
