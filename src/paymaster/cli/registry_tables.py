"""How a registry and `check --live` look as tables and as JSON; knows a registry's description, and neither files nor keys."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from typing import TYPE_CHECKING

from paymaster.accounting.money import format_usd
from paymaster.cli.terminal import Cell, Column, Table
from paymaster.registry.completing import GUESS
from paymaster.registry.describe import DEFAULT, DescribedValue, ModelDescription, RegistryDescription
from paymaster.views.words import duration

if TYPE_CHECKING:
    from paymaster.cli.live_check import LiveCheck


_OF_ENDPOINTS = ("account", "weight", "balance", "affinity")


def headline(described: RegistryDescription) -> str:
    """That the registry has no mistakes, and how many models can be called."""
    places = _places(described)
    ready = sum(row.key_missing is None for row in places)
    shown = _count(len(described.models), "model")
    if len(places) > len(described.models):
        shown += f" with {_count(len(places), 'endpoint')}"
    return f"{described.source}: no mistakes. {shown}, {ready} with all keys set; default {described.default.value}."


def registry_tables(described: RegistryDescription) -> list[Table]:
    """Models, endpoints, policy."""
    rows = _places(described)
    models = Table(
        title="Models",
        columns=[
            Column("model"),
            Column("chain", figures=True),
            Column("provider"),
            Column("model id"),
            Column("context", figures=True),
            Column("output", figures=True),
            Column("limits"),
            Column("price"),
        ],
        rows=[_model(row) for row in rows],
    )
    endpoints = Table(
        title="Endpoints and keys",
        columns=[Column("model"), Column("endpoint"), Column("by"), Column("dialect"), Column("keys"), Column("capabilities")],
        rows=[[row.place, row.endpoint.value, row.adapter.value, row.dialect.value, _keys(row), row.capabilities.value] for row in rows],
    )
    policy = Table(title="Policy", columns=[Column("rule"), Column("value"), Column("from")], rows=list(_policy(described)))
    return [models, endpoints, policy]


def origin_table(described: RegistryDescription) -> Table:
    """Every value with its origin."""
    rows: list[list[str | Cell]] = [["", "default", described.default.value, described.default.origin]]
    for row in _places(described):
        rows.extend([row.place, key, shown.value, shown.origin] for key, shown in _values(row))
    rows.extend(["", key, shown.value, shown.origin] for key, shown in _rules(described))
    return Table(title="Where each value came from", columns=[Column("model"), Column("key"), Column("value"), Column("from")], rows=rows)


def warnings(described: RegistryDescription) -> list[str]:
    """The registry's own warnings, and missing keys."""
    return [*described.warnings, *(_missing(row) for row in _places(described) if row.key_missing)]


def guesses(described: RegistryDescription) -> Iterator[str]:
    """The limits that no source states for a model, in a sentence for each."""
    for row in _places(described):
        for key, shown in (("context_window", row.context_window), ("max_output_tokens", row.max_output_tokens)):
            if shown.origin.startswith(GUESS):
                source = shown.origin.removeprefix(GUESS)
                yield f"{row.place}: {key} {shown.value} is a guess, from {source}. If it is wrong, write {key} in the registry."


def registry_json(described: RegistryDescription, checks: "Sequence[LiveCheck] | None") -> dict[str, object]:
    """Everything, with origins, for a program."""
    live = None if checks is None else [asdict(check) for check in checks]
    return {**asdict(described), "warnings": warnings(described), "live": live}


def live_table(checks: "Sequence[LiveCheck]") -> Table:
    """Whether each endpoint answered."""
    return Table(
        title="Live check",
        columns=[Column("model"), Column("answers"), Column("took", figures=True), Column("cost", figures=True), Column("problem")],
        rows=[
            [
                check.model,
                Cell("yes", "good") if check.is_good else Cell("no", "bad"),
                duration(check.duration_ms),
                format_usd(check.cost_nanousd),
                check.problem,
            ]
            for check in checks
        ],
    )


def live_cost(checks: "Sequence[LiveCheck]", run: str) -> str:
    """What the check cost."""
    return f"The answers cost {format_usd(sum(check.cost_nanousd for check in checks))}; they are in the ledger as run {run}."


def _model(row: ModelDescription) -> list[str | Cell]:
    return [
        f"{row.place} (default)" if row.is_default else row.place,
        Cell("-", "weak") if row.chain_place is None else str(row.chain_place),
        row.provider.value,
        row.model_id.value,
        _limit(row.context_window),
        _limit(row.max_output_tokens),
        ", ".join(f"{name} {shown.value}" for name, shown in _limits(row)) or Cell("none", "weak"),
        Cell(row.price.value, "bad") if row.price.value == "unknown" else row.price.value,
    ]


def _limits(row: ModelDescription) -> Iterator[tuple[str, DescribedValue]]:
    yield from row.limits.items()
    if row.weight.origin != DEFAULT:
        yield "weight", row.weight


def _limit(shown: DescribedValue) -> str | Cell:
    return Cell(f"~{shown.value}", "warn") if shown.origin.startswith(GUESS) else shown.value


def _keys(row: ModelDescription) -> Cell:
    if row.key_missing is not None:
        return Cell(_unset(row.key_missing), "bad")
    found = [key.variable for key in row.keys if key.found]
    return Cell(f"{', '.join(found)} set", "good") if found else Cell("none needed", "weak")


def _places(described: RegistryDescription) -> list[ModelDescription]:
    """The endpoints of all models; a model without several is one itself."""
    return [place for row in described.models for place in row.places]


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def _missing(row: ModelDescription) -> str:
    """Which variable keeps an endpoint from being called, and where it is named if it isn't that of a key."""
    named = [f"{key.variable} in {row.named_in[key.variable]}" for key in row.keys if key.variable in row.named_in and not key.found]
    where = f" ({'; '.join(named)})" if named else ""
    return f"{row.place} can't be called: {_unset(row.key_missing or '')}{where}"


def _unset(names: str) -> str:
    return f"{names} {'are' if ' and ' in names else 'is'} not set"


def _policy(described: RegistryDescription) -> Iterator[list[str | Cell]]:
    for budget in described.budgets:
        yield ["budget", budget.value, budget.origin]
    for row in described.models:
        for budget in row.budgets:
            yield [f"budget of {row.name}", budget.value, budget.origin]
    for row in described.models:
        if row.endpoints:
            yield [f"balance of {row.name}", row.balance.value, row.balance.origin]
            yield [f"affinity of {row.name}", row.affinity.value, row.affinity.origin]
    for key, shown in described.policy.items():
        if shown.origin != "default" or key in ("hard_stop_on_budget", "fallback_chain"):
            yield [key, shown.value, shown.origin]


def _rules(described: RegistryDescription) -> Iterator[tuple[str, DescribedValue]]:
    yield from (("budget", budget) for budget in described.budgets)
    yield from described.policy.items()


def _values(row: ModelDescription) -> Iterator[tuple[str, DescribedValue]]:
    for spec in fields(row):
        value = getattr(row, spec.name)
        if isinstance(value, DescribedValue):
            if spec.name not in _OF_ENDPOINTS or value.origin != DEFAULT:
                yield spec.name, value
        elif isinstance(value, Mapping):
            yield from value.items()
    yield from (("budget", budget) for budget in row.budgets)
