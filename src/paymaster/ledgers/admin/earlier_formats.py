"""Brings an export of any earlier format up to date, one format after the other; knows what none of them means."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain

from paymaster.ledgers.admin.export_format import FORMAT, ExportHead, Item
from paymaster.ledgers.admin.format_1 import with_breakers
from paymaster.ledgers.admin.format_2 import with_owners


def as_it_is(items: Iterable[Item]) -> Iterator[Item]:
    """The items of an export of format 3, in which no account has left the ledger yet."""
    return (item._replace(format=4) if isinstance(item, ExportHead) else item for item in items)


_NEXT: Mapping[int, Callable[[Iterable[Item]], Iterator[Item]]] = {1: with_breakers, 2: with_owners, 3: as_it_is}
"""What makes the next format of each earlier one."""


def up_to_date(items: Iterable[Item]) -> Iterator[Item]:
    """The items of an export of any format as today's has them, to load in this order."""
    stream = iter(items)
    for head in stream:
        renewed: Iterator[Item] = chain([head], stream)
        for earlier in range(head.format if isinstance(head, ExportHead) else FORMAT, FORMAT):
            renewed = _NEXT[earlier](renewed)
        yield from renewed
