"""Updates a price folder from new data: reads it, compares it with what is in use, and saves what can be believed; knows no network."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from paymaster.accounting.prices.catalogue import shipped_data, shipped_edition
from paymaster.errors import PricesNotUpdated
from paymaster.price_store.folder import Edition, HeldBackRow, Index, PriceFolder, rows_of, without_waiting
from paymaster.price_store.opening import read_edition

if TYPE_CHECKING:
    from genai_prices.types import Provider

_SHOWN_ROWS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class NewData:
    """Price data as it came: the text, where it is from, and the date that the server gave it."""

    text: bytes
    source: str
    published: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Updated:
    """What an update did. `edition` is in use now; `is_new` if it was not before. The counts are of models."""

    edition: Edition
    is_new: bool
    added: int
    changed: int
    unchanged: int
    held_back: tuple[HeldBackRow, ...]


def update(folder: PriceFolder, new: NewData, now_ms: int, *, accept: bool = False) -> Updated:
    """Take new data into use, without the prices that are held back; with `accept`, exactly as it is.

    Raises PricesNotUpdated for data with a mistake and for an old copy, and changes nothing then. Of several processes, one after the
    other compares with what the one before it took.
    """
    from paymaster.accounting.prices.published import PriceDataInvalid, read_published

    try:
        providers = read_published(new.text)
    except PriceDataInvalid as error:
        advice = "The prices in use stay. Check the address: it must have the data.json of genai-prices."
        raise PricesNotUpdated(f"{new.source} has no usable price data: {error}", advice=advice) from error
    with folder.locked():
        return _take(folder, new, providers, now_ms, accept=accept)


def _take(folder: PriceFolder, new: NewData, providers: "Sequence[Provider]", now_ms: int, *, accept: bool) -> Updated:
    from paymaster.accounting.prices.comparing import compare

    index = folder.index()
    compared = compare(_in_use(folder, index), providers, datetime.fromtimestamp(now_ms / 1000, UTC))
    if compared.signs_of_age and not accept:
        raise _older(new.source, rows_of(compared.signs_of_age))
    if not accept:
        _refuse_earlier(index, new)
    used = providers if accept else compared.providers
    edition = _save_data(folder, new, used, now_ms)
    held_back = () if accept else rows_of(compared.held_back)
    waiting = _save_data(folder, new, providers, now_ms) if held_back else None
    is_new = index.current is None or index.current.digest != edition.digest
    current, previous = (edition, index.current) if is_new else (_seen_again(index, edition), index.previous)
    folder.save(Index(current=current, previous=previous, waiting=waiting, held_back=held_back, checked_at_ms=now_ms))
    return Updated(
        edition=current,
        is_new=is_new,
        added=compared.added,
        changed=compared.changed + len(compared.held_back) if accept else compared.changed,
        unchanged=compared.unchanged,
        held_back=held_back,
    )


def accept_waiting(folder: PriceFolder, now_ms: int) -> Updated:
    """Take exactly the data whose prices were held back into use, without fetching it again. Raises PricesNotUpdated."""
    with folder.locked():
        waiting = folder.index().waiting
        if waiting is None:
            raise PricesNotUpdated("no price is held back", advice="`paymaster prices update` fetches new data.")
        new = NewData(text=b"", source=waiting.source, published=waiting.published)
        return _take(folder, new, folder.read(waiting), now_ms, accept=True)


def use_shipped(folder: PriceFolder, now_ms: int) -> None:
    """Return to the prices in the installed package. Raises PricesNotUpdated."""
    with folder.locked():
        index = folder.index()
        folder.save(replace(without_waiting(index), current=None, previous=index.current or index.previous, checked_at_ms=now_ms))


def _in_use(folder: PriceFolder, index: Index) -> "Sequence[Provider]":
    data = shipped_data() if index.current is None else read_edition(folder, index.current, index.previous)
    return data.providers


def _save_data(folder: PriceFolder, new: NewData, providers: "Sequence[Provider]", now_ms: int) -> Edition:
    from paymaster.accounting.prices.published import write_published

    return Edition(
        digest=folder.save_data(write_published(providers)),
        fetched_at_ms=now_ms,
        source=new.source,
        shipped=shipped_edition(),
        models=sum(len(provider.models) for provider in providers),
        published=new.published,
    )


def _seen_again(index: Index, edition: Edition) -> Edition:
    """The edition in use, with its own date: the same prices keep their name in records."""
    return edition if index.current is None else replace(index.current, shipped=edition.shipped)


def _older(source: str, rows: Sequence[HeldBackRow]) -> PricesNotUpdated:
    shown = ", ".join(f"{row.provider} {row.model} ({row.detail})" for row in rows[:_SHOWN_ROWS])
    more = f" and {len(rows) - _SHOWN_ROWS} more" if len(rows) > _SHOWN_ROWS else ""
    advice = "The prices in use stay. If the data is right, repeat the command with --accept."
    return PricesNotUpdated(f"{source} is older than the prices in use: {shown}{more}", advice=advice)


def _refuse_earlier(index: Index, new: NewData) -> None:
    """Refuse a copy that the same server dates earlier than the last one. Raises PricesNotUpdated."""
    from email.utils import parsedate_to_datetime

    last = index.current
    if last is None or last.source != new.source or last.published is None or new.published is None:
        return
    try:
        is_earlier = parsedate_to_datetime(new.published) < parsedate_to_datetime(last.published)
    except (TypeError, ValueError):
        return
    if is_earlier:
        advice = "The prices in use stay. If the data is right, repeat the command with --accept."
        raise PricesNotUpdated(f"{new.source} is of {new.published}, and the prices in use are of {last.published}", advice=advice)
