"""`paymaster prices show`: every price of one model over time, with its source."""

from typing import TYPE_CHECKING, Annotated

import typer

from paymaster.cli.flags import AsJson, Flags, with_flags

if TYPE_CHECKING:
    from paymaster.accounting.prices.catalogue import Catalogue

SHOW_HELP = """Show every price of a model, with its source.

The model is named as in a registry, `provider/model`; without a provider it is its maker's. The rates are dollars per million tokens, per
thousand searches, requests and search units, and per hour of audio.

\b
Example:
  paymaster prices show openai/gpt-4o
  paymaster prices show gemini/gemini-2.5-pro --at 2026-01-31
  paymaster prices show bedrock/anthropic.claude-opus-5 --region eu
"""


@with_flags("state_dir")
def show(
    flags: Flags,
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The model, such as openai/gpt-4o.", show_default=False)],
    at: Annotated[str | None, typer.Option("--at", metavar="DATE", help="Only the prices at this moment.", show_default=False)] = None,
    region: Annotated[
        str | None, typer.Option("--region", metavar="NAME", help="Where the call is served: eu, us …", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """See `SHOW_HELP`."""
    from paymaster.cli import price_tables
    from paymaster.cli.terminal import write, write_json, write_tables
    from paymaster.options import state_directory
    from paymaster.price_store.opening import open_catalogue

    catalogue, _ = open_catalogue(state_directory(flags.overrides().state_dir))
    provider, name = _named(model)
    periods = catalogue.history(provider, name, region).periods
    periods = price_tables.changes(periods)
    moment_ms = None if at is None else _moment_ms(at)
    if moment_ms is not None:
        periods = price_tables.in_force(periods, moment_ms)
    if not periods:
        raise _unknown(model, catalogue)
    window = None if provider is None else catalogue.context_window(provider, name)
    if as_json:
        write_json(price_tables.show_json(model, periods, window))
        return
    write(price_tables.show_headline(model, window))
    write_tables([price_tables.period_table(periods)])


def _named(model: str) -> tuple[str | None, str]:
    """The provider, if the name states one that Paymaster knows, and the provider's name for the model."""
    from paymaster.registry.providers import find_provider

    prefix, slash, name = model.partition("/")
    return (prefix, name) if slash and find_provider(prefix) is not None else (None, model)


def _moment_ms(at: str) -> int:
    import time

    from paymaster.cli.inputs import read_time

    return read_time(at, time.time_ns() // 1_000_000, "--at")


def _unknown(model: str, catalogue: "Catalogue") -> Exception:
    from paymaster.errors import UsageMistake

    text = model.rpartition("/")[2].lower()
    alike = [f"{provider}/{name}" for provider, name in catalogue.names() if text in name.lower()]
    found = f" Models with that in their name: {', '.join(alike[:8])}." if alike else ""
    advice = f"Name it as in a registry, such as openai/gpt-4o.{found}"
    return UsageMistake(f"{model}: no price is known", advice=advice)
