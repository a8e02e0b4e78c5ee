"""Keeps the price folder of a gateway up to date, once a day, for all its worker processes; knows no registry and no request."""

import asyncio
import logging
import os
import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from paymaster.errors import PaymasterError
from paymaster.price_store.download import fetch_url, is_address, published_address, read_file
from paymaster.price_store.folder import SHIPPED, PriceFolder
from paymaster.price_store.updating import NewData, Updated, update

_LOGGER = logging.getLogger("paymaster.prices")
DAY_MS = 86_400_000
LOOK_S = 60.0
"""How often a worker looks whether prices are due, or another worker has new ones."""
CLAIM_S = 3_600.0
"""A worker that began an update and did not finish it is given up after this time; a failed update is tried again after it."""
_CLAIM = "updating"


@dataclass(frozen=True, slots=True, kw_only=True)
class Updates:
    """What is to be kept up to date. `source` is a file or URL, None for where genai-prices publishes its data.

    `loaded` is the digest of the catalogue that this process uses, or `SHIPPED`.
    """

    state_dir: Path
    source: str | None
    loaded: str


async def keep_updated(wanted: Callable[[], Updates | None], reload: Callable[[], None], look_s: float = LOOK_S) -> None:
    """Update the folder when it is due, and reload when it has other prices than this process uses, until it is cancelled."""
    asked_for = ""
    while True:
        updates = wanted()
        if updates is not None:
            folder = PriceFolder(updates.state_dir)
            if is_due(folder, _now_ms()) and claim(folder, time.time()):
                await _update(folder, updates.source)
            current = folder.index().current
            digest = SHIPPED if current is None else current.digest
            if digest not in {updates.loaded, asked_for}:
                asked_for = digest  # once: a registry that can't be reloaded is reported once
                reload()
        # Many gateways that were started together do not ask the same server at the same second.
        await asyncio.sleep(look_s * random.uniform(0.5, 1))  # noqa: S311  no secret


def is_due(folder: PriceFolder, now_ms: int) -> bool:
    """Whether the last update is a day old; also if the clock was set back since."""
    return not 0 <= now_ms - folder.index().checked_at_ms < DAY_MS


def claim(folder: PriceFolder, now_s: float) -> bool:
    """Whether this process is the one to update the folder now, and no other for the next hour."""
    path = folder.path / _CLAIM
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            if 0 <= now_s - path.stat().st_mtime < CLAIM_S:
                return False
            path.unlink(missing_ok=True)
        path.touch(exist_ok=False)
        os.utime(path, (now_s, now_s))
    except OSError:
        return False
    return True


async def _update(folder: PriceFolder, source: str | None) -> None:
    """One update; a failure is logged, and the prices stay."""
    named = source or published_address()
    try:
        new = await fetch_url(named) if is_address(named) else await asyncio.to_thread(read_file, named)
        updated = await asyncio.to_thread(_take, folder, new)
    except PaymasterError as error:
        _LOGGER.error("prices are not updated: %s", error)  # noqa: TRY400  a message, no fault
        return
    _LOGGER.info("prices updated from %s: %s, %d changed, %d new", named, updated.edition.name, updated.changed, updated.added)
    if updated.held_back:
        shown = "; ".join(f"{row.provider} {row.model}: {row.detail}" for row in updated.held_back[:3])
        count = len(updated.held_back)
        _LOGGER.warning("prices held back: %d (%s). See: paymaster prices; then: paymaster prices update --accept", count, shown)


def _take(folder: PriceFolder, new: NewData) -> Updated:
    return update(folder, new, _now_ms())


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
