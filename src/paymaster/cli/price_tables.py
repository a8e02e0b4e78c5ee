"""How prices look as tables and as JSON; knows price folders and periods, and reads no file."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from paymaster.accounting.decimals import plain
from paymaster.accounting.prices.catalogue import shipped_edition, shipped_summary
from paymaster.accounting.prices.places import load_places
from paymaster.accounting.prices.price import ALWAYS, PER_MILLION, Period, Price
from paymaster.accounting.prices.rates import METERS, PeakHours, RateTable
from paymaster.accounting.prices.supplement import load_supplement
from paymaster.cli.terminal import Cell, Column, Table
from paymaster.price_store.folder import Edition, HeldBackRow, Index
from paymaster.price_store.updating import Updated
from paymaster.views.words import age

OLD_MS = 30 * 86_400_000
"""Prices that were fetched this long ago are worth a remark."""
_PER_THOUSAND = frozenset({"web_search", "request", "search_unit"})
_PER_ONE = frozenset({"audio_hour"})
_ALWAYS_SHOWN = frozenset({"input", "output"})
_CACHE = frozenset({"cache_read", "cache_write_5m", "cache_write_1h"})


def headline(index: Index, now_ms: int) -> str:
    """Which prices are in use."""
    if index.current is None:
        return f"The prices installed with Paymaster are in use (genai-prices {shipped_edition()})."
    return f"The prices {index.current.name} are in use, fetched {age(now_ms - index.current.fetched_at_ms)} ago."


def sources_table(index: Index, now_ms: int) -> Table:
    """Every source of prices, the one that wins first."""
    own = ((load_places().version, "places, moved names, routers' suffixes"), (load_supplement().version, "corrections"))
    rows: list[list[str | Cell]] = [
        ["paymaster", day, _age(day, now_ms), "with Paymaster", f"{what}, each with its source"] for day, what in own
    ]
    for edition, use in ((index.current, "in use"), (index.waiting, "held back in part"), (index.previous, "the last good one before")):
        if edition is not None:
            rows.append(_edition(edition, use, now_ms))
    models, newest = shipped_summary(datetime.fromtimestamp(now_ms / 1000, UTC))
    use = "in use" if index.current is None else "where an update is damaged"
    summary = f"{use}, {_models(models)}, newest price of {newest}"
    rows.append(["genai-prices", shipped_edition(), _age(newest, now_ms), "with Paymaster", summary])
    columns = [Column("source"), Column("edition"), Column("age", figures=True), Column("from"), Column("use")]
    return Table(title="Sources", columns=columns, rows=rows)


def _age(day: str, now_ms: int) -> str:
    """The time since a day (UTC)."""
    return age(max(0, now_ms - int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp() * 1000)))


def _edition(edition: Edition, use: str, now_ms: int) -> list[str | Cell]:
    return ["update", edition.name, age(now_ms - edition.fetched_at_ms), edition.source, f"{use}, {_models(edition.models)}"]


def _models(count: int) -> str:
    return "1 model" if count == 1 else f"{count:,} models"


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
        yield f"the last update is {age(now_ms - index.checked_at_ms)} old. Run: paymaster prices update"


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
    """The periods without those that look like the one before."""
    rows = [[replace(row, start="") for row in _rows(period)] for period in periods]
    return tuple(period for before, own, period in zip([None, *rows], rows, periods, strict=False) if own != before)


def show_headline(model: str, window: tuple[int, str] | None) -> str:
    """The model, and its window where the catalogue has one."""
    known = "" if window is None else f" Context window: {window[0]:,} tokens ({window[1]})."
    return f"{model}: dollars per million tokens, per thousand searches, requests or search units, per hour of audio.{known}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """The rates of one tier for prompts from a length on: those that are stated, and all of them with the defaults.

    `own` are the kinds that do not merely cost what others cost. `hours` are those of a peak.
    """

    start: str
    tier: str
    tokens: int
    own: frozenset[str] = frozenset()
    stated: Mapping[str, Decimal]
    rates: Mapping[str, Decimal]
    source: str
    hours: str = ""


def period_table(periods: Sequence[Period]) -> Table:
    """One row for each start, tier of service and length of prompt."""
    rows = [row for period in periods for row in _rows(period)]
    shown = [meter for meter in METERS if meter in _ALWAYS_SHOWN or _is_shown(meter, rows)]
    return Table(
        title="Prices",
        columns=[
            Column("from"),
            Column("tier"),
            Column("prompt"),
            *(Column(meter.replace("_", " "), figures=True) for meter in shown),
            Column("source"),
        ],
        rows=[
            [
                row.start,
                f"{row.tier} {row.hours}".strip(),
                "any" if not row.tokens else f"{row.tokens:,} or more",
                *(plain(row.rates[meter]) if row.rates.get(meter) or meter in row.stated else Cell("-", "weak") for meter in shown),
                row.source,
            ]
            for row in rows
        ],
    )


def _is_shown(meter: str, rows: Sequence[_Row]) -> bool:
    """Whether a list price has a rate of its own, or a tier has another one: what merely repeats a default is not worth a column."""
    listed = {(row.start, row.tokens): row.rates for row in rows if not row.tier}
    return any(
        meter in row.own and (not row.tier or row.rates[meter] != listed.get((row.start, row.tokens), {}).get(meter)) for row in rows
    )


def show_json(model: str, periods: Sequence[Period], window: tuple[int, str] | None) -> dict[str, object]:
    """The same, for a program; rates are text, so that no digit is lost."""
    return {
        "model": model,
        "context_window": None if window is None else {"tokens": window[0], "source": window[1]},
        "prices": [
            {
                "from": row.start or None,
                "tier": row.tier or None,
                "hours": row.hours or None,
                "from_prompt_tokens": row.tokens,
                "usd_per_1m": {meter: plain(rate) for meter, rate in row.stated.items() if meter not in _PER_THOUSAND | _PER_ONE},
                "usd_per_1k": {meter: plain(rate) for meter, rate in row.stated.items() if meter in _PER_THOUSAND},
                "usd_per_1": {meter: plain(rate) for meter, rate in row.stated.items() if meter in _PER_ONE},
                "source": row.source,
            }
            for period in periods
            for row in _rows(period)
        ],
    }


def _rows(period: Period) -> Iterator[_Row]:
    start = "" if period.start == ALWAYS else f"{period.start:%Y-%m-%d %H:%M}".removesuffix(" 00:00")
    if period.price is None:
        yield _Row(start=start, tier="no price", tokens=0, stated={}, rates={}, source="")
        return
    for tier, hours, table in _tables(period.price):
        for row in table.tiers:
            rates = _per_unit(row.rates.resolved())
            stated = {meter: rate for meter, rate in rates.items() if getattr(row.rates, meter) is not None}
            yield _Row(
                start=start,
                tier=tier,
                hours=hours,
                tokens=row.from_prompt_tokens,
                own=frozenset(meter for meter in stated if meter in _ALWAYS_SHOWN | _CACHE or not row.rates.is_default(meter)),
                stated=stated,
                rates=rates,
                source=period.price.source,
            )


def _tables(price: Price) -> Iterator[tuple[str, str, RateTable]]:
    """Every table of a price with the name of its tier, the list price first, the others by name."""
    yield "", "", price.table
    if price.thinking_table is not None:
        yield "thinking", "", price.thinking_table
    if price.peak is not None and price.peak_table is not None:
        yield "peak", _hours(price.peak), price.peak_table
    yield from ((name, "", table) for name, table in sorted(price.modes))


def _hours(peak: PeakHours) -> str:
    windows = ", ".join("-".join(f"{minute // 60:02}:{minute % 60:02}" for minute in window) for window in peak.windows)
    return f"{windows} UTC{', Monday to Friday' if peak.weekdays_only else ''}{f', {len(peak.days_off)} days off' if peak.days_off else ''}"


def _per_unit(rates: Mapping[str, Decimal]) -> dict[str, Decimal]:
    """Rates as they are shown: fees per thousand, audio per hour; fees of 0 are left out."""
    per_unit = {meter: rate / _million_over(meter) for meter, rate in rates.items()}
    return {meter: rate for meter, rate in per_unit.items() if meter not in _PER_THOUSAND or rate}


def _million_over(meter: str) -> int:
    """How many of the units that a rate is shown for are in the million that it is kept for."""
    return PER_MILLION if meter in _PER_ONE else PER_MILLION // 1_000 if meter in _PER_THOUSAND else 1
