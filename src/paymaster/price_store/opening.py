"""Opens the catalogue that a process starts with: a run's own, else the newest good one, else the shipped one; knows no network."""

import logging
from pathlib import Path

from paymaster.accounting.prices.catalogue import Catalogue, PriceData, shipped_data
from paymaster.errors import PricesNotUpdated
from paymaster.price_store.folder import SHIPPED, Edition, PriceFolder

_LOGGER = logging.getLogger("paymaster.prices")


def open_catalogue(state_dir: Path, run: str | None = None) -> tuple[Catalogue, str]:
    """The catalogue, read on the first look-up, and its digest or `SHIPPED`. `run` is a named run, which keeps what it began with."""
    folder = PriceFolder(state_dir)
    digest = None if run is None else folder.pinned(run)
    if digest == SHIPPED:
        return Catalogue(), SHIPPED
    if digest is not None:
        edition = folder.edition(digest)
        if edition is not None:
            return _catalogue(folder, edition, None), digest
        _LOGGER.warning("run %s began with the prices %s, which are gone; it goes on with the newest", run, digest)
    index = folder.index()
    if index.current is None:
        return Catalogue(), SHIPPED
    return _catalogue(folder, index.current, index.previous), index.current.digest


def _catalogue(folder: PriceFolder, edition: Edition, previous: Edition | None) -> Catalogue:
    return Catalogue(lambda: read_edition(folder, edition, previous))


def read_edition(folder: PriceFolder, edition: Edition, previous: Edition | None) -> PriceData:
    """The data of an edition; if it is damaged, of the one before it, or the shipped data, with a warning."""
    for candidate in (edition, previous):
        if candidate is None:
            continue
        try:
            return PriceData(folder.read(candidate), candidate.name)
        except PricesNotUpdated as error:
            _LOGGER.warning("%s; older prices are used. Run: paymaster prices update", error)
    return shipped_data()
