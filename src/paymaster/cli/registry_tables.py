"""How a registry looks as tables and as JSON; knows its description, and neither files nor keys."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from typing import TYPE_CHECKING

from paymaster.accounting.money import format_usd
from paymaster.cli.terminal import Cell, Column, Table
from paymaster.registry.describe import DescribedValue, ModelDescription, RegistryDescription
from paymaster.views.words import duration

if TYPE_CHECKING:
    from paymaster.cli.live import Answered


def headline(described: RegistryDescription) -> str:
    """That the registry is right, and what it comes to."""
    count = len(described.models)
    ready = sum(row.key_missing is None for row in described.models)
    models = "1 model" if count == 1 else f"{count} models"
    return f"{described.source}: no mistakes. {models}, {ready} with all keys set; default {described.default.value}."


def tables(described: RegistryDescription) -> list[Table]:
    """Models, endpoints, policy."""
    rows = described.models
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
        columns=[Column("model"), Column("endpoint"), Column("by"), Column("keys"), Column("capabilities")],
        rows=[[row.name, row.endpoint.value, row.adapter.value, _keys(row), row.capabilities.value] for row in rows],
    )
    policy = Table(title="Policy", columns=[Column("rule"), Column("value"), Column("from")], rows=list(_policy(described)))
    return [models, endpoints, policy]


def origin_table(described: RegistryDescription) -> Table:
    """Every value with where it came from."""
    rows: list[list[str | Cell]] = [["", "default", described.default.value, described.default.origin]]
    for row in described.models:
        rows.extend([row.name, key, shown.value, shown.origin] for key, shown in _values(row))
    rows.extend(["", key, shown.value, shown.origin] for key, shown in _rules(described))
    return Table(title="Where each value came from", columns=[Column("model"), Column("key"), Column("value"), Column("from")], rows=rows)


def warnings(described: RegistryDescription) -> list[str]:
    """What is allowed and yet worth a word: the registry's own warnings, and keys that are missing."""
    missing = [
        f"{row.name} can't be called: its key is missing, {row.key_missing} is not set" for row in described.models if row.key_missing
    ]
    return [*described.warnings, *missing]


def as_json(described: RegistryDescription, answered: "Sequence[Answered] | None") -> dict[str, object]:
    """Everything, with origins, for a program."""
    live = None if answered is None else [asdict(answer) for answer in answered]
    return {**asdict(described), "warnings": warnings(described), "live": live}


def live_table(answered: "Sequence[Answered]") -> Table:
    """How each endpoint answered."""
    return Table(
        title="Asked just now",
        columns=[Column("model"), Column("answers"), Column("took", figures=True), Column("cost", figures=True), Column("problem")],
        rows=[
            [
                answer.model,
                Cell("yes", "good") if answer.is_good else Cell("no", "bad"),
                duration(answer.duration_ms),
                format_usd(answer.cost_nanousd),
                answer.problem,
            ]
            for answer in answered
        ],
    )


def live_cost(answered: "Sequence[Answered]", run: str) -> str:
    """What asking cost."""
    return f"The answers cost {format_usd(sum(answer.cost_nanousd for answer in answered))}; they are in the ledger as run {run}."


def _model(row: ModelDescription) -> list[str | Cell]:
    return [
        f"{row.name} (default)" if row.is_default else row.name,
        Cell("-", "weak") if row.chain_place is None else str(row.chain_place),
        row.provider.value,
        row.model_id.value,
        row.context_window.value,
        row.max_output_tokens.value,
        ", ".join(f"{name} {shown.value}" for name, shown in row.limits.items()) or Cell("none", "weak"),
        Cell(row.price.value, "bad") if row.price.value == "unknown" else row.price.value,
    ]


def _keys(row: ModelDescription) -> Cell:
    if row.key_missing is not None:
        return Cell(f"{row.key_missing} is not set", "bad")
    found = [key.variable for key in row.keys if key.found]
    return Cell(f"{', '.join(found)} set", "good") if found else Cell("none needed", "weak")


def _policy(described: RegistryDescription) -> Iterator[list[str | Cell]]:
    for budget in described.budgets:
        yield ["budget", budget.value, budget.origin]
    for row in described.models:
        for budget in row.budgets:
            yield [f"budget of {row.name}", budget.value, budget.origin]
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
            yield spec.name, value
        elif isinstance(value, Mapping):
            yield from value.items()
    yield from (("budget", budget) for budget in row.budgets)
