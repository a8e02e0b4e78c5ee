"""`paymaster keys`: creates, lists and revokes the gateway's keys."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from paymaster.accounting.bounds import LARGEST_LIMIT
from paymaster.cli.command_class import Command
from paymaster.cli.extras import require_gateway
from paymaster.cli.flags import AsJson, Flags, with_flags

if TYPE_CHECKING:
    from paymaster.gateway.key_file import KeyEntry, Period

T = TypeVar("T")

HELP = """Create, list and revoke keys of the gateway.

Each key belongs to one user, with its own budget, limits and models. Only its digest is kept, in a file of the state directory. A running
server notices new and revoked keys within a second.

\b
Example:
  paymaster keys create --user ana --budget-usd 20 --per month \\
      --models gpt-4o
  paymaster keys revoke ana
"""
CREATE_HELP = """Create a key, and print it once.

\b
Example:
  paymaster keys create --user ana --budget-usd 20 --per month \\
      --models gpt-4o,gpt-4o-mini --rpm 60
"""
LIST_HELP = "List the keys, with their users, budgets, limits and models."
REVOKE_HELP = "Revoke a key by its id, or all keys of a user."


def keys_app() -> typer.Typer:
    """The command with its subcommands."""
    app = typer.Typer(help=HELP, add_completion=False, rich_markup_mode=None, no_args_is_help=True)
    app.command("create", help=CREATE_HELP)(create)
    app.command("list", help=LIST_HELP)(list_keys)
    app.command("revoke", help=REVOKE_HELP, cls=Command)(revoke)
    return app


_Usd = Annotated[str | None, typer.Option("--budget-usd", metavar="USD", help="How much it may spend.", show_default=False)]
_Tokens = Annotated[str | None, typer.Option("--budget-tokens", metavar="N", help="How many tokens it may use.", show_default=False)]
_Requests = Annotated[str | None, typer.Option("--budget-requests", metavar="N", help="How many requests it may send.", show_default=False)]
_PER_HELP = "The budget's period: run, day, month (UTC) or total. Default: total."
_Per = Annotated[str | None, typer.Option("--per", metavar="PERIOD", help=_PER_HELP, show_default=False)]
_MODELS_HELP = "The models it may use, joined by commas. Default: all."
_Models = Annotated[str | None, typer.Option("--models", metavar="NAMES", help=_MODELS_HELP, show_default=False)]


@with_flags("state_dir")
def create(  # noqa: PLR0913  each parameter is a flag
    flags: Flags,
    *,
    user: Annotated[str, typer.Option("--user", metavar="NAME", help="Who the key belongs to; its calls carry this name.")],
    budget_usd: _Usd = None,
    budget_tokens: _Tokens = None,
    budget_requests: _Requests = None,
    per: _Per = None,
    models: _Models = None,
    rpm: Annotated[
        int | None, typer.Option("--rpm", min=1, max=LARGEST_LIMIT, metavar="N", help="Requests per minute.", show_default=False)
    ] = None,
    tpm: Annotated[
        int | None, typer.Option("--tpm", min=1, max=LARGEST_LIMIT, metavar="N", help="Tokens per minute.", show_default=False)
    ] = None,
    max_parallel: Annotated[
        int | None,
        typer.Option("--max-parallel", min=1, max=LARGEST_LIMIT, metavar="N", help="Calls at the same time.", show_default=False),
    ] = None,
    operator: Annotated[bool, typer.Option("--operator", help="Its dashboard shows the calls and budgets of all users.")] = False,
    as_json: AsJson = False,
) -> None:
    """See `CREATE_HELP`."""
    require_gateway()
    from paymaster.cli.inputs import check_text
    from paymaster.cli.terminal import write, write_json, write_note
    from paymaster.gateway.key_file import NewKey, create_key
    from paymaster.registry.values import read_total, read_usd

    new = NewKey(
        user=check_text(user, "--user").strip(),
        usd=_read(budget_usd, read_usd, "--budget-usd", "20"),
        tokens=_read(budget_tokens, read_total, "--budget-tokens", "1_000_000"),
        requests=_read(budget_requests, read_total, "--budget-requests", "500"),
        per=_period(per, has_budget=(budget_usd, budget_tokens, budget_requests) != (None, None, None)),
        rpm=rpm,
        tpm=tpm,
        max_parallel=max_parallel,
        models=tuple(name.strip() for name in (models or "").split(",") if name.strip()),
        operator=operator,
    )
    entry, secret = create_key(key_path(flags), new, time.time_ns() // 1_000_000)
    if as_json:
        write_json({**_as_json(entry), "key": secret})
        return
    write_note(f"Key {entry.id} of {entry.user}: {_rights(entry)}. It is shown only once:")
    write(secret)


@with_flags("state_dir")
def list_keys(flags: Flags, as_json: AsJson = False) -> None:
    """See `LIST_HELP`."""
    require_gateway()
    from paymaster.cli.terminal import Cell, Column, Table, write, write_json, write_tables
    from paymaster.gateway.key_file import read_keys

    path = key_path(flags)
    entries = read_keys(path).keys
    if as_json:
        write_json([_as_json(entry) for entry in entries])
        return
    if not entries:
        write(f"No keys in {path}. `paymaster keys create` creates one.")
        return
    rows: list[list[str | Cell]] = [
        [
            entry.id,
            entry.user,
            _day(entry.created_at_ms),
            _rights(entry),
            Cell("active", "good") if entry.revoked_at_ms is None else Cell("revoked", "weak"),
        ]
        for entry in entries
    ]
    columns = [Column(title) for title in ("id", "user", "created", "rights", "state")]
    write_tables([Table(title="Keys", columns=columns, rows=rows)])


@with_flags("state_dir")
def revoke(flags: Flags, id_or_user: Annotated[str, typer.Argument(metavar="ID_OR_USER", help="The key's id, or a user.")]) -> None:
    """See `REVOKE_HELP`."""
    require_gateway()
    from paymaster.cli.terminal import write_note
    from paymaster.gateway.key_file import revoke_key

    revoked = revoke_key(key_path(flags), id_or_user, time.time_ns() // 1_000_000)
    write_note(f"Revoked: {', '.join(f'{entry.id} ({entry.user})' for entry in revoked)}. A running server notices within a second.")


def key_path(flags: Flags) -> Path:
    """The path of the keys file."""
    from paymaster.gateway.key_file import FILE_NAME
    from paymaster.options import state_directory

    return state_directory(flags.overrides().state_dir) / FILE_NAME


def _period(per: str | None, *, has_budget: bool) -> "Period":
    """The period of a key's budgets. Raises UsageMistake."""
    from paymaster.errors import UsageMistake
    from paymaster.gateway.key_file import PERIODS

    period = next((known for known in PERIODS if known == (per or "total")), None)
    if period is None:
        raise UsageMistake(f"--per {per}: unknown period", advice=f"Known: {', '.join(PERIODS)}.")
    if per is not None and not has_budget:
        raise UsageMistake(f"--per {per}: needs a budget", advice="Add --budget-usd, --budget-tokens or --budget-requests.")
    return period


def _read(text: str | None, read: Callable[[object], T], flag: str, example: str) -> T | None:
    """The value of a flag. Raises UsageMistake, with an example."""
    from pydantic_core import PydanticCustomError

    from paymaster.errors import UsageMistake

    try:
        return None if text is None else read(text)
    except PydanticCustomError as error:
        raise UsageMistake(f"{flag}: {error.message()}", advice=f"Example: {flag} {example}") from None


def _rights(entry: "KeyEntry") -> str:
    """What the key may do, in a few words."""
    limits = [
        f"{value} {name}" for name, value in (("rpm", entry.rpm), ("tpm", entry.tpm), ("at once", entry.max_parallel)) if value is not None
    ]
    amounts = [
        *([] if entry.usd is None else [f"${entry.usd:f}"]),
        *(f"{value:,} {name}" for name, value in (("tokens", entry.tokens), ("requests", entry.requests)) if value is not None),
    ]
    budgets = [f"{amount} per {entry.per}" if entry.per != "total" else f"{amount} in all" for amount in amounts]
    models = f"on {', '.join(entry.models)}" if entry.models else "on all models"
    return ", ".join([*budgets, *limits, models, *(["sees all users"] if entry.operator else [])])


def _as_json(entry: "KeyEntry") -> dict[str, object]:
    """An entry for a program, without the digest."""
    return entry.model_dump(mode="json", exclude={"digest"})


def _day(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).date().isoformat()
