"""`paymaster ledger adjust` and `reset`: corrections by hand. Each leaves a record with its reason."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from paymaster.cli.flags import LEDGER, Flags, with_flags

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from paymaster.accounting.accounts import Balance, Change, Post
    from paymaster.accounting.budget_units import BudgetUnit
    from paymaster.cli.ledger_access import LedgerReader
    from paymaster.registry.models import Registry

ADJUST_HELP = """Correct what was spent on a budget.

This adds an entry with a reason. It is a record like a call's: `report` shows it, `verify` counts it, and an entry with the opposite
sign undoes it.

\b
Example:
  paymaster ledger adjust usd/run/exp-42 --usd -1.50 \\
      --reason "refund by the provider"
  paymaster ledger adjust usd/month/2026-11 --usd +20 \\
      --reason "spent outside of Paymaster" --new
  paymaster ledger adjust budget-tokens/run/exp-42 --tokens -5000 \\
      --reason "a broken answer"
"""
RESET_HELP = """Set one account to nothing spent, after asking.

A budget starts from zero; a limit's window, a pause, an open circuit (`breaker/MODEL`) or a count of failures is cleared. With an
open circuit, its model's failures are cleared too. Open calls continue and are settled as usual. The reset is recorded.

Limits and circuits belong to what a model calls, so a model's name needs its registry; without one, write the account's own name.

\b
Example:
  paymaster ledger reset usd/run/exp-42
  paymaster ledger reset breaker/gpt-4o --model-registry registry.yaml \\
      --yes --reason "it works again"
"""
Account = Annotated[
    str, typer.Argument(metavar="ACCOUNT", show_default=False, help="Its name, as `paymaster ledger export -` prints it: usd/run/….")
]
Usd = Annotated[str, typer.Option("--usd", metavar="±USD", show_default=False, help="Dollars to add to what was spent; - subtracts.")]
Tokens = Annotated[str, typer.Option("--tokens", metavar="±N", show_default=False, help="The same for a budget in tokens.")]
Requests = Annotated[str, typer.Option("--requests", metavar="±N", show_default=False, help="The same for a budget in requests.")]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", show_default=False, help="Why; kept in the record.")]
New = Annotated[bool, typer.Option("--new", help="Allow an account that has no entry yet.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")]


@with_flags("user", *LEDGER)
def adjust(
    flags: Flags, account: Account, usd: Usd = "", tokens: Tokens = "", requests: Requests = "", reason: Reason = "", new: New = False
) -> None:
    """See `ADJUST_HELP`."""
    from paymaster.accounting.account_names import is_budget
    from paymaster.accounting.accounts import Post
    from paymaster.accounting.budget_units import BudgetUnit, format_balance
    from paymaster.cli.ledger_access import check_exists, open_reader
    from paymaster.cli.terminal import write, write_warnings
    from paymaster.errors import UsageMistake

    amount = _read_amount(account, {BudgetUnit.USD: usd, BudgetUnit.TOKENS: tokens, BudgetUnit.REQUESTS: requests})
    if not reason.strip():
        raise UsageMistake("an adjustment needs a reason", advice='Add --reason "…"; the report shows it.')
    with open_reader(flags) as reader:
        check_exists(reader)
        balances = reader.all_balances()
        if not is_budget(account) and account in balances:
            raise UsageMistake(f"{account} is no budget", advice=f"`paymaster ledger reset {account}` empties it.")
        if not new or not is_budget(account):
            _check_known(account, [name for name in balances if is_budget(name)], may_be_new=is_budget(account))
        (change,) = _correct(reader, flags, "adjust", account, amount, reason, (Post(account, amount, None),))
    write(f"{account}: {format_balance(change.before, account)} → {format_balance(change.after, account)}")
    if change.after < 0:
        write_warnings([f"{account} is below zero: calls can spend its cap and that much more."])


@with_flags("user", "model_registry", *LEDGER)
def reset(flags: Flags, account: Account, yes: Yes = False, reason: Reason = "") -> None:
    """See `RESET_HELP`."""
    from paymaster.accounting.accounts import Post
    from paymaster.cli.commands.status import registry_named
    from paymaster.cli.ledger_access import check_exists, open_reader
    from paymaster.cli.terminal import write

    with open_reader(flags) as reader:
        check_exists(reader)
        balances = reader.all_balances()
        account = _with_identity(account, balances, reader.identified(registry_named(flags)))
        _check_known(account, balances, may_be_new=False)
        balance = balances[account]
        clears = [name for name in _emptied_with(account) if name in balances and balances[name].live]
        if not balance.settled and not clears:
            write(f"{account} has nothing to reset.{_held(account, balances)}")
            return
        others = "".join(f" and {name}" for name in clears if name != account)
        if not yes and not _confirmed(f"Reset {account} from {_amount(account, balance.settled + balance.live)}{others} to zero?"):
            write("Nothing was changed.")
            raise typer.Exit(1)
        posts = (Post(account, -balance.settled, None),) if balance.settled else ()
        changes = _correct(reader, flags, "reset", account, -balance.settled, reason.strip() or "reset", posts, clears)
    for name in dict.fromkeys(change.account for change in changes):
        before = balances[name].settled + balances[name].live
        after = min((change.after for change in changes if change.account == name), key=abs)
        write(f"{name}: {_amount(name, before)} → {_amount(name, after)}.{_held(name, balances)}")


def _with_identity(account: str, balances: "Mapping[str, Balance]", registry: "Registry | None") -> str:
    """The account of what a model of the registry calls, if the ledger has none of the model's name: `breaker/sonnet`."""
    from paymaster.accounting.account_names import account_of, parse

    kind, name, endpoint = parse(account)
    if account in balances or registry is None:
        return account
    places = [place for model in registry.models.values() for place in model.places]
    return next((account_of(kind, place.subject, endpoint) for place in places if place.place == name), account)


def _emptied_with(account: str) -> tuple[str, ...]:
    """The account and those that are emptied with it.

    With a circuit these are its probe and its failures, or one failure would open it again, and its reason, or callers would not ask; with
    the pause of a tier of service, the count of its pauses.
    """
    from paymaster.accounting.account_names import BREAKER, EXHAUSTED, FAILURES, PAUSE, PROBE, account_of, parse
    from paymaster.routing.breaker import circuit_accounts
    from paymaster.routing.tiers import tier_accounts

    if tier := tier_accounts(account):
        return (account, *(each for each in tier if each != account))
    kind, model, endpoint = parse(account)
    if kind == PAUSE:
        return account, account_of(EXHAUSTED, model, endpoint)
    if kind != BREAKER:
        return (account,)
    if endpoint is None:
        return circuit_accounts(model)
    return tuple(account_of(each, model, endpoint) for each in (BREAKER, PROBE, FAILURES))


def _correct(
    reader: "LedgerReader",
    flags: Flags,
    how: str,
    account: str,
    amount: int,
    reason: str,
    posts: "Sequence[Post]",
    clears: "Sequence[str]" = (),
) -> "tuple[Change, ...]":
    """Post the entry and its record in one transaction, as the settlement of an empty hold."""
    from paymaster.accounting.accounts import Hold, Settlement
    from paymaster.accounting.corrections import Correction
    from paymaster.runtime import run, time_sorted_id

    now_ms = reader.now_ms()
    correction = Correction(correction=how, at_ms=now_ms, account=account, amount=amount, reason=reason, user=flags.overrides().user)
    hold = Hold(f"correction-{time_sorted_id(now_ms * 1_000_000)}", (), 60_000)
    settled = run(reader.ledger.settle(Settlement(hold, now_ms, (), correction.to_json(), tuple(posts), tuple(clears)), now_ms))
    return settled.changes


def _read_amount(account: str, written: "Mapping[BudgetUnit, str]") -> int:
    """The one amount that is given, in the unit of the account. Raises UsageMistake."""
    from paymaster.accounting.budget_units import BudgetUnit, unit_of
    from paymaster.errors import UsageMistake

    unit = unit_of(account) or BudgetUnit.USD
    if wrong := [f"--{other}" for other, text in written.items() if text.strip() and other is not unit]:
        raise UsageMistake(f"{account} does not count in the unit of {' and '.join(wrong)}", advice=f"Give the amount with --{unit}.")
    return _read_usd(written[unit]) if unit is BudgetUnit.USD else _read_count(written[unit], f"--{unit}")


def _read_count(text: str, flag: str) -> int:
    """A signed whole number. Raises UsageMistake."""
    from paymaster.accounting.bounds import LARGEST_TOTAL
    from paymaster.errors import UsageMistake

    if not text.strip():
        raise UsageMistake("an adjustment needs an amount", advice=f"Add {flag} -500 to subtract, {flag} +500 to add to what was spent.")
    try:
        amount = int(text.strip().replace(",", ""))
    except ValueError as error:
        raise UsageMistake(f"{flag} {text}: not a whole number", advice=f"Example: {flag} -500") from error
    if not amount or abs(amount) > LARGEST_TOTAL:
        raise UsageMistake(f"{flag} {text}: {f'too large, at most {LARGEST_TOTAL:,}' if amount else 'nothing would change'}")
    return amount


def _read_usd(text: str) -> int:
    """Signed dollars as nano-dollars, exactly. Raises UsageMistake."""
    from decimal import Decimal, InvalidOperation

    from paymaster.accounting.accounts import LARGEST_AMOUNT
    from paymaster.accounting.decimals import scaled
    from paymaster.accounting.money import USD_DECIMALS, format_usd
    from paymaster.errors import UsageMistake

    if not text.strip():
        raise UsageMistake("an adjustment needs an amount", advice="Add --usd -1.50 to subtract, --usd +1.50 to add to what was spent.")
    try:
        amount = scaled(Decimal(text.strip().replace("$", "", 1)), USD_DECIMALS)
    except (InvalidOperation, ValueError, OverflowError) as error:
        advice = "Write dollars with at most 9 decimals: -1.50, +0.000000001."
        raise UsageMistake(f"--usd {text}: not an amount that can be posted exactly", advice=advice) from error
    if not amount or abs(amount) > LARGEST_AMOUNT:
        raise UsageMistake(f"--usd {text}: {f'too large, at most {format_usd(LARGEST_AMOUNT)}' if amount else 'nothing would change'}")
    return amount


def _check_known(account: str, known: "Iterable[str]", *, may_be_new: bool) -> None:
    """Raise UsageMistake for an account that the ledger does not have, and name the nearest."""
    from paymaster.errors import UsageMistake

    names = sorted(known)
    if account in names:
        return
    nearest = _nearest(account, names)
    hint = f" (did you mean {nearest}?)" if nearest else ""
    advice = "`paymaster ledger export -` lists every account." + (" --new creates one." if may_be_new else "")
    raise UsageMistake(f"the ledger has no account {account}{hint}", advice=advice)


def _nearest(account: str, names: "Sequence[str]") -> str | None:
    """The account that may have been meant: the circuit of the same model, or one of the same kind; a bare name means a budget."""
    from difflib import get_close_matches

    from paymaster.accounting.account_names import BREAKER, MONEY, account_of, parse

    kind, model, endpoint = parse(account)
    breaker = account_of(BREAKER, model or kind, endpoint)
    if breaker in names:
        return breaker
    if "/" not in account.strip("/") or get_close_matches(kind, [MONEY]):
        kind = MONEY
    same = [name for name in names if parse(name).kind == kind]
    ending = [name for name in same if name.endswith(f"/{account.strip('/')}")]
    return next(iter(ending or get_close_matches(account, same, n=1)), None)


def _confirmed(question: str) -> bool:
    """Ask the user. Raises UsageMistake if standard input is no terminal."""
    from paymaster.cli.terminal import ask_yes
    from paymaster.errors import UsageMistake

    if not sys.stdin.isatty():
        raise UsageMistake("a reset asks first, and standard input is no terminal", advice="Confirm it with --yes.")
    return ask_yes(question)


def _held(account: str, balances: "Mapping[str, Balance]") -> str:
    held = balances[account].held
    return f" Open calls also hold {_amount(account, held)} of it." if held else ""


def _amount(account: str, amount: int) -> str:
    from paymaster.accounting.budget_units import format_balance

    return format_balance(amount, account)
