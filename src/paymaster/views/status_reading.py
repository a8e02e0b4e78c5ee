"""Reads the status of a ledger page by page; knows the port to a ledger and read models, and not how a status is shown."""

from collections.abc import Awaitable, Callable, Sequence

from paymaster.accounting.account_names import prefixes_of_run
from paymaster.flow.ports import Books
from paymaster.views.ledger_status import LIMIT_KINDS, MODEL_KINDS, LedgerStatus, StatusBuilder


async def read_status(
    books: Books,
    now_ms: int,
    builders: Sequence[StatusBuilder],
    *,
    run: str | None = None,
    give_way: Callable[[], Awaitable[None]] | None = None,
) -> list[LedgerStatus]:
    """The status that each builder makes of one reading. With `run` only what may be that run's is read, and all limits and models.

    `give_way` is awaited after every millisecond or two of work. Raises LedgerUnavailable.
    """
    prefixes = [""] if run is None else [*prefixes_of_run(run), *(f"{kind}/" for kind in (*LIMIT_KINDS, *MODEL_KINDS))]
    async for page in books.balance_pages(prefixes, now_ms):
        for builder in builders:
            builder.add(page)
            if give_way is not None:
                await give_way()
    queue, ended = await books.waiting(now_ms), await books.ended_holders(now_ms)
    return [builder.status(queue, ended) for builder in builders]
