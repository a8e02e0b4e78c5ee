"""What a call finds out about its instance and its session before it is planned; knows a ledger, and keeps a little of what it read.

Most calls need nothing of this. An instance or a session that this process read or wrote a moment ago is not read again: what other
processes did with it since is found after `TRUSTED_MS` at the latest. Under `never_mix` the instance is always read.
"""

from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Generic, TypeVar

from paymaster.accounting.account_names import affinity_account
from paymaster.accounting.accounts import Balance, Post
from paymaster.errors import LedgerUnavailable
from paymaster.registry.models import Affinity, Model, Policy
from paymaster.routing.affinity import WarmSession, home_in
from paymaster.routing.recollection import NOTHING_RECALLED, Recollection
from paymaster.routing.requests import Request, check_request
from paymaster.routing.sessions import Session, session_of
from paymaster.routing.settling import PlannedAttempt
from paymaster.routing.staying import Staying, found, keeps_instances, staying
from paymaster.scope import Scope

if TYPE_CHECKING:
    from paymaster.flow.ports import Books

TRUSTED_MS = 2_000
"""How long what was read is taken for true. An agent's calls come seconds apart, and may come to another worker of a gateway each time: a
worker that went by what it knew would go back to an endpoint, or a model, that another one has left."""

MOST_REMEMBERED = 10_000
"""So many instances or sessions a process remembers, those that were used last: a few megabytes."""

V = TypeVar("V")


class Remembered(Generic[V]):
    """The newest values by name, at most `most` of them, each with the time at which it was read or written.

    For all threads: each step is one operation of the dictionary, and a value that another thread drops in between is only read again.
    """

    def __init__(self, most: int = MOST_REMEMBERED) -> None:
        self._most = most
        self._values: OrderedDict[str, tuple[V, int]] = OrderedDict()

    def newest(self, name: str) -> tuple[V, int] | None:
        """The value and its time; None if it is not known."""
        known = self._values.get(name)
        with suppress(KeyError):
            self._values.move_to_end(name)
        return known

    def put(self, name: str, value: V, now_ms: int) -> None:
        """Remember it, and forget the one that was used longest ago if there are too many."""
        self._values[name] = value, now_ms
        with suppress(KeyError):
            self._values.move_to_end(name)
            if len(self._values) > self._most:
                self._values.popitem(last=False)

    def forget(self, name: str) -> None:
        """Read it anew next time."""
        self._values.pop(name, None)


class Memories:
    """What the calls of one client remember: the balances of instances by their digests, and sessions by theirs."""

    def __init__(self) -> None:
        self._instances: Remembered[dict[str, Balance]] = Remembered()
        self._sessions: Remembered[WarmSession] = Remembered()

    async def recall(
        self, request: Request, models: Sequence[Model], policy: Policy, scope: Scope, books: "Books", now_ms: int, *, salt: str = ""
    ) -> Recollection:
        """What is known of the calls before this one; for most calls nothing is looked for. Raises RequestInvalid.

        `models` are those that may be tried, in order. `salt` is of the ledger, the same for all its processes: digests of the same words
        differ from ledger to ledger.
        """
        keeps = keeps_instances(policy, scope)
        several = [model for model in models if model.endpoints and model.affinity is not Affinity.NONE]
        if not keeps and not several:
            return NOTHING_RECALLED
        check_request(request)
        asked = staying(request, scope, policy, [model.name for model in models], salt=salt) if keeps else None
        sessions: dict[str, WarmSession] = {}
        for model in several:
            session = session_of(request, scope, model.affinity, model=model.name, salt=salt)
            if session is not None:
                sessions[model.name] = await self._session(session, books, now_ms)
        return Recollection(None if asked is None else await self._staying(asked, books, now_ms), sessions)

    async def _staying(self, asked: Staying, books: "Books", now_ms: int) -> Staying:
        known = self._instances.newest(asked.instance)
        if known is not None and not asked.never_mix and now_ms - known[1] < TRUSTED_MS:
            return found(asked, known[0], now_ms)
        balances = {} if known is None else known[0]
        with suppress(LedgerUnavailable):  # then what this process knows counts; the admission decides whether calls go on without a ledger
            balances = await books.balances_of(asked.accounts, now_ms)
            self._instances.put(asked.instance, balances, now_ms)
        return found(asked, balances, now_ms)

    async def _session(self, session: Session, books: "Books", now_ms: int) -> WarmSession:
        """The session with its home, if it has a warm cache as far as is known."""
        known = self._sessions.newest(session.id)
        if known is not None and now_ms - known[1] < TRUSTED_MS:
            return known[0]
        if known is None and not session.has_history:
            return WarmSession(session.id)
        before = WarmSession(session.id) if known is None else known[0]
        with suppress(LedgerUnavailable):
            account = affinity_account(session.id)
            home = home_in((await books.balances_of((account,), now_ms)).get(account))
            before = before if home == before.home else WarmSession(session.id, home)
            self._sessions.put(session.id, before, now_ms)
        return before

    def answered(self, attempt: PlannedAttempt, posts: Sequence[Post], now_ms: int) -> None:
        """An attempt was answered, and these entries were posted with its settlement."""
        stays, session = attempt.recalled.staying, attempt.recalled.session_at(attempt.candidate.model)
        if stays is not None and (stays.answered or any(post.account in stays.accounts for post in posts)):
            self._instances.forget(stays.instance)
        if session is not None:
            account = affinity_account(session.id)
            for post in posts:
                if post.account == account:
                    self._sessions.put(session.id, WarmSession(session.id, home_in(Balance(live=post.amount)), now_ms), now_ms)
