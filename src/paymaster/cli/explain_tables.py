"""How the verdicts of `explain` look as tables and as JSON; knows no registry and no ledger."""

from collections.abc import Sequence
from dataclasses import asdict

from paymaster.accounting.money import format_usd
from paymaster.cli.terminal import Cell, Column, Table
from paymaster.flow.explaining import AccountState, Explanation
from paymaster.routing.charges import BUDGET_KINDS, ChargeKind

_NOTHING = Cell("-", "weak")
_SHOWN_KINDS = frozenset({*BUDGET_KINDS, ChargeKind.REQUESTS, ChargeKind.TOKENS, ChargeKind.INPUT_TOKENS, ChargeKind.OUTPUT_TOKENS})


def headline(verdicts: Sequence[Explanation]) -> str:
    """The answer in one line."""
    for verdict in verdicts:
        if verdict.serves:
            held = "nothing, as its price is unknown" if verdict.price_source is None else format_usd(verdict.held_nanousd or 0)
            return f"{verdict.place} would serve this, and hold {held} until it is answered."
    return "No model would serve this."


def budget_line(budgets: Sequence[str]) -> str:
    """Every budget of the registry, hard or soft."""
    return f"Budgets: {'; '.join(budgets) or 'none'}."


def verdict_json(verdict: Explanation) -> dict[str, object]:
    """One verdict for a program."""
    return asdict(verdict)


def verdict_tables(verdicts: Sequence[Explanation]) -> list[Table]:
    """The models in the order they would be tried, and the accounts that the serving model would charge."""
    figures = [Column(title, figures=True) for title in ("prompt", "answer up to", "would hold")]
    models = Table(
        title="Models",
        columns=[Column("model"), Column("serves"), *figures, Column("price from"), Column("why")],
        rows=[_row(verdict) for verdict in verdicts],
    )
    serving = next((verdict for verdict in verdicts if verdict.serves), None)
    return [models, *([_accounts(serving)] if serving else [])]


def _row(verdict: Explanation) -> list[str | Cell]:
    dropped = f"; without {', '.join(verdict.dropped_params)}" if verdict.dropped_params else ""
    lowered = f"; answer {verdict.output_lowered}" if verdict.output_lowered else ""
    serves = Cell("yes", "good") if verdict.serves else Cell("no", "weak")
    if verdict.held_nanousd is None:
        return [verdict.place, serves, _NOTHING, _NOTHING, _NOTHING, _NOTHING, f"{verdict.why}{dropped}"]
    chosen = f"; {verdict.chosen}" if verdict.chosen else ""
    at_most = "" if verdict.prompt_exact else "at most "
    return [
        verdict.place,
        serves,
        f"{at_most}{verdict.prompt_tokens:,}",
        f"{verdict.output_tokens:,}",
        "unknown" if verdict.price_source is None else format_usd(verdict.held_nanousd),
        verdict.price_source or "unknown",
        f"{verdict.why}{chosen}{lowered}{dropped}",
    ]


def _accounts(verdict: Explanation) -> Table:
    figures = [Column(title, figures=True) for title in ("used", "held", "needed", "cap")]
    return Table(
        title=f"Accounts that {verdict.place} would charge",
        columns=[Column("account"), *figures, Column("fits"), Column("budget")],
        rows=[_account(state) for state in verdict.accounts if state.kind in _SHOWN_KINDS],
    )


def _account(state: AccountState) -> list[str | Cell]:
    amounts = (state.used, state.held, state.needed, state.cap)
    texts = [_NOTHING if amount is None else format_usd(amount) if state.kind is ChargeKind.MONEY else f"{amount:,}" for amount in amounts]
    budget = _NOTHING if state.hard is None else "hard" if state.hard else "soft"
    return [state.account, *texts, Cell("yes", "good") if state.fits else Cell("no", "bad"), budget]
