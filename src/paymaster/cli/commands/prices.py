"""`paymaster prices`: which prices are in use, from where, how old, and how to update them."""

from typing import TYPE_CHECKING, Annotated

import typer

from paymaster.cli.command_class import Command
from paymaster.cli.commands import prices_show
from paymaster.cli.flags import AsJson, Flags, with_flags

if TYPE_CHECKING:
    from paymaster.price_store.folder import PriceFolder
    from paymaster.price_store.updating import Updated

HELP = """Show which prices are in use, and update them.

Without an update these are the prices that were installed with Paymaster. `update` fetches newer ones into the state directory, for every
process that uses it. A run keeps the prices it began with.

\b
Example:
  paymaster prices
  paymaster prices show openai/gpt-4o
  paymaster prices update
"""
UPDATE_HELP = """Fetch new prices into the state directory.

The data is checked as a whole: one mistake, or an old copy, and nothing changes. A price that moves more than tenfold, or vanishes, is held
back: the one in use stays, until `--accept` takes the new data exactly as it is. Without --from, `--accept` takes the data that is held
back, without fetching it again.

--from takes a file or a URL with data in the shape of genai-prices; `--from shipped` returns to the installed prices. The default is where
genai-prices publishes its data.

\b
Example:
  paymaster prices update
  paymaster prices update --from prices.json
  paymaster prices update --accept
"""
SHIPPED = "shipped"


def group() -> typer.Typer:
    """The command with its subcommands."""
    app = typer.Typer(help=HELP, rich_markup_mode=None, add_completion=False, invoke_without_command=True)
    app.callback()(prices)
    app.command("show", help=prices_show.SHOW_HELP, cls=Command)(prices_show.show)
    app.command("update", help=UPDATE_HELP)(update)
    return app


@with_flags("state_dir")
def prices(flags: Flags, context: typer.Context, as_json: AsJson = False) -> None:
    """See `HELP`."""
    if context.invoked_subcommand is not None:
        return
    from paymaster.cli import price_tables
    from paymaster.cli.terminal import write, write_json, write_tables, write_warnings

    folder, now_ms = _folder(flags), _now_ms()
    index = folder.index()
    if as_json:
        write_json(price_tables.overview_json(index, folder.path))
        return
    write(price_tables.headline(index, now_ms))
    write_tables([price_tables.sources_table(index, now_ms), price_tables.held_back_table(index.held_back)])
    write_warnings(price_tables.warnings(index, now_ms))


@with_flags("state_dir")
def update(
    flags: Flags,
    source: Annotated[str | None, typer.Option("--from", metavar="FILE|URL", help="Where the new prices are.", show_default=False)] = None,
    accept: Annotated[bool, typer.Option("--accept", help="Take also what is held back, exactly as it is.")] = False,
    as_json: AsJson = False,
) -> None:
    """See `UPDATE_HELP`."""
    from paymaster.cli import price_tables
    from paymaster.cli.terminal import write, write_json, write_tables

    folder = _folder(flags)
    if source == SHIPPED:
        from paymaster.price_store.updating import use_shipped

        use_shipped(folder, _now_ms())
        if as_json:
            write_json(price_tables.overview_json(folder.index(), folder.path))
        else:
            write("The installed prices are in use.")
        return
    updated = _updated(folder, source, accept=accept)
    if as_json:
        write_json(price_tables.update_json(updated))
        return
    write(price_tables.update_sentence(updated))
    write_tables([price_tables.held_back_table(updated.held_back)])
    if updated.held_back:
        write("The prices in use stay for these models. To take the new data as it is: paymaster prices update --accept")


def _updated(folder: "PriceFolder", source: str | None, *, accept: bool) -> "Updated":
    from paymaster.price_store.download import fetch, published_address
    from paymaster.price_store.updating import accept_waiting, update

    if accept and source is None and folder.index().waiting is not None:
        return accept_waiting(folder, _now_ms())
    return update(folder, fetch(source or published_address()), _now_ms(), accept=accept)


def _folder(flags: Flags) -> "PriceFolder":
    from paymaster.options import state_directory
    from paymaster.price_store.folder import PriceFolder

    return PriceFolder(state_directory(flags.overrides().state_dir))


def _now_ms() -> int:
    import time

    return time.time_ns() // 1_000_000
