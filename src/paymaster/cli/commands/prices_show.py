"""`paymaster prices show`: every price of one model over time, with its source."""

from typing import TYPE_CHECKING, Annotated

import typer

from paymaster.cli.flags import AsJson, Flags, with_flags

if TYPE_CHECKING:
    from paymaster.accounting.prices.catalogue import Catalogue

SHOW_HELP = """Show every price of a model, with its source.

The model is named as in a registry, `provider/model`; without a provider it is its maker's. The rates are dollars per million tokens, per
thousand searches, requests or search units, per hour of audio. `-` has no price of its own: the usual rate counts, as docs/pricing.md says.

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
    from paymaster.cli.terminal import write, write_json, write_note, write_tables
    from paymaster.options import state_directory
    from paymaster.price_store.opening import open_catalogue

    catalogue, _ = open_catalogue(state_directory(flags.overrides().state_dir))
    provider, name = _named(model)
    history = catalogue.history(provider, name, region)
    periods = price_tables.changes(history.periods)
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
    if history.elsewhere:
        write_note("The price depends on where the call is served; this is the list price. For another place: --region eu, us, global …")


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
    from difflib import get_close_matches

    from paymaster.errors import UsageMistake

    text = model.rpartition("/")[2].lower()
    names = [f"{provider}/{name}" for provider, name in catalogue.names()]
    alike = [name for name in names if text in name.lower()] or get_close_matches(model.lower(), names, cutoff=0.8)
    found = f" Models with a name like that: {', '.join(alike[:8])}." if alike else ""
    advice = f"Name it as in a registry, such as openai/gpt-4o.{found}"
    return UsageMistake(f"{model}: no price is known", advice=advice)
