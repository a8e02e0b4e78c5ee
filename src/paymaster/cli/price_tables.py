"""How prices look as tables and as JSON; knows price folders and periods, and reads no file."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from paymaster.accounting.decimals import plain
from paymaster.accounting.prices.catalogue import shipped_edition
from paymaster.accounting.prices.price import ALWAYS, Period, Price
from paymaster.accounting.prices.rates import METERS, TOKEN_METERS, Rates, RateTable
from paymaster.accounting.prices.supplement import load_supplement
from paymaster.cli.terminal import Cell, Column, Table
from paymaster.price_store.folder import Edition, HeldBackRow, Index
from paymaster.price_store.updating import Updated
from paymaster.views.words import duration

OLD_MS = 30 * 86_400_000
"""Prices that were fetched this long ago are worth a remark."""
_PER_THOUSAND = frozenset({"web_search", "request", "search_unit"})
_PER_HOUR = "audio_hour"


def headline(index: Index, now_ms: int) -> str:
    """Which prices are in use."""
    if index.current is None:
        return f"The prices installed with Paymaster are in use (genai-prices {shipped_edition()})."
    return f"The prices {index.current.name} are in use, fetched {duration(now_ms - index.current.fetched_at_ms)} ago."


def sources_table(index: Index, now_ms: int) -> Table:
    """Every source of prices, the one that wins first."""
    rows: list[list[str | Cell]] = [["paymaster", load_supplement().version, "", "with Paymaster", "corrections, each with its source"]]
    for edition, use in ((index.current, "in use"), (index.waiting, "held back in part"), (index.previous, "the last good one before")):
        if edition is not None:
            rows.append(_edition(edition, use, now_ms))
    rows.append(
        ["genai-prices", shipped_edition(), "", "with Paymaster", "in use" if index.current is None else "where an update is damaged"]
    )
    columns = [Column("source"), Column("edition"), Column("age", figures=True), Column("from"), Column("use")]
    return Table(title="Sources", columns=columns, rows=rows)


def _edition(edition: Edition, use: str, now_ms: int) -> list[str | Cell]:
    return ["update", edition.name, duration(now_ms - edition.fetched_at_ms), edition.source, f"{use}, {edition.models:,} models"]


def held_back_table(rows: Sequence[HeldBackRow]) -> Table:
    """The models whose new price is not used."""
    return Table(
        title="Held back",
        columns=[Column("model"), Column("why"), Column("detail")],
        rows=[[f"{row.provider}/{row.model}", row.kind, row.detail] for row in rows],
    )


def warnings(index: Index, now_ms: int) -> Iterator[str]:
    """What an operator should do."""
    if index.held_back:
        yield f"prices held back: {len(index.held_back)}. To take the new data as it is: paymaster prices update --accept"
    if index.current is not None and index.current.shipped != shipped_edition():
        yield (
            f"genai-prices {shipped_edition()} was installed after this update, and may have newer prices. "
            "Run: paymaster prices update (or: paymaster prices update --from shipped)"
        )
    elif index.current is not None and now_ms - index.checked_at_ms > OLD_MS:
        yield f"the last update is {duration(now_ms - index.checked_at_ms)} old. Run: paymaster prices update"


def overview_json(index: Index, folder: Path) -> dict[str, object]:
    """The same, for a program."""
    return {
        "folder": str(folder),
        "shipped": shipped_edition(),
        "corrections": load_supplement().version,
        **{key: None if edition is None else {"name": edition.name, **asdict(edition)} for key, edition in _editions(index)},
        "checked_at_ms": index.checked_at_ms or None,
        "held_back": [asdict(row) for row in index.held_back],
    }


def _editions(index: Index) -> tuple[tuple[str, Edition | None], ...]:
    return ("current", index.current), ("previous", index.previous), ("waiting", index.waiting)


def update_sentence(updated: Updated) -> str:
    """What an update did."""
    counts = f"models changed: {updated.changed:,}, new: {updated.added:,}, unchanged: {updated.unchanged:,}"
    if not updated.is_new:
        return f"The prices {updated.edition.name} are up to date ({counts})."
    return f"The prices {updated.edition.name} are in use, from {updated.edition.source} ({counts})."


def update_json(updated: Updated) -> dict[str, object]:
    """The same, for a program."""
    return {**asdict(updated), "name": updated.edition.name}


def in_force(periods: Sequence[Period], moment_ms: int) -> tuple[Period, ...]:
    """The period that has this moment, if the model has a price then."""
    moment = datetime.fromtimestamp(moment_ms / 1000, UTC)
    begun = [period for period in periods if period.start <= moment]
    return tuple(begun[-1:]) if begun and begun[-1].price is not None else ()


def changes(periods: Sequence[Period]) -> tuple[Period, ...]:
    """The periods without those that repeat the price before."""
    return tuple(
        period for before, period in zip((None, *periods), periods, strict=False) if before is None or period.price != before.price
    )


def show_headline(model: str, window: tuple[int, str] | None) -> str:
    """The model, and its window where the catalogue has one."""
    return f"{model}: dollars per million tokens, per thousand searches, requests and search units, and per hour of audio" + (
        "." if window is None else f"; context window {window[0]:,} tokens ({window[1]})."
    )


def period_table(periods: Sequence[Period]) -> Table:
    """One row for each start, tier of service and length of prompt."""
    rows = [row for period in periods for row in _rows(period)]
    used = [meter for meter in METERS if meter in ("input", "output") or any(meter in row[3] for row in rows)]
    return Table(
        title="Prices",
        columns=[
            Column("from"),
            Column("tier"),
            Column("prompt", figures=True),
            *(Column(meter, figures=True) for meter in used),
            Column("source"),
        ],
        rows=[
            [
                start,
                tier,
                "any" if not tokens else f"{tokens:,} or more",
                *(plain(rates[meter]) if meter in rates else Cell("-", "weak") for meter in used),
                source,
            ]
            for start, tier, tokens, rates, source in rows
        ],
    )


def show_json(model: str, periods: Sequence[Period], window: tuple[int, str] | None) -> dict[str, object]:
    """The same, for a program; rates are text, so that no digit is lost."""
    return {
        "model": model,
        "context_window": None if window is None else {"tokens": window[0], "source": window[1]},
        "prices": [
            {
                "from": start or None,
                "tier": tier or None,
                "from_prompt_tokens": tokens,
                "usd_per_1m": {meter: plain(rate) for meter, rate in rates.items() if meter in TOKEN_METERS},
                "usd_per_1k": {meter: plain(rate) for meter, rate in rates.items() if meter in _PER_THOUSAND},
                **({"usd_per_hour": {_PER_HOUR: plain(rates[_PER_HOUR])}} if _PER_HOUR in rates else {}),
                "source": source,
            }
            for period in periods
            for start, tier, tokens, rates, source in _rows(period)
        ],
    }


def _rows(period: Period) -> Iterator[tuple[str, str, int, dict[str, Decimal], str]]:
    start = "" if period.start == ALWAYS else f"{period.start:%Y-%m-%d %H:%M}".removesuffix(" 00:00")
    if period.price is None:
        yield start, "no price", 0, {}, ""
        return
    for tier, table in _tables(period.price):
        for row in table.tiers:
            yield start, tier, row.from_prompt_tokens, _written(row.rates), period.price.source


def _tables(price: Price) -> Iterator[tuple[str, RateTable]]:
    yield "", price.table
    if price.thinking_table is not None:
        yield "thinking", price.thinking_table
    if price.peak_table is not None:
        yield "peak", price.peak_table
    yield from price.modes


def _written(rates: Rates) -> dict[str, Decimal]:
    """The rates that are given, each per what its name says in the headline; a fee of 0 is none."""
    given = {meter: rate for meter in METERS if (rate := getattr(rates, meter)) is not None and (rate or meter in TOKEN_METERS)}
    places = {**dict.fromkeys(_PER_THOUSAND, 3), _PER_HOUR: 6}
    return {meter: rate.scaleb(-places.get(meter, 0)) for meter, rate in given.items()}
