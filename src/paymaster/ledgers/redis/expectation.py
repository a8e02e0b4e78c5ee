"""Which ledger a process expects at its address, and how new; knows what its state directory knows, no connection and no script."""

from collections.abc import Mapping

from paymaster.errors import LedgerReplaced
from paymaster.ledgers.identity import KnownLedger, another, missing, older

# A replica that takes over from its master may lack this much of the journal, and is still the same ledger.
REPLICA_MAY_LACK_MS = 250
CAUSES = {
    "MISSING": "FLUSHALL, FLUSHDB, SWAPDB, DEL and RENAME do that, and a restart of a server that keeps nothing on its disk.",
    "ANOTHER": "SWAPDB, an import and a restart with other data do that; or this ledger was removed, and another one made in its place.",
    "OLDER": "A restart with an older dump does that, and a failover to a replica that was far behind.",
}


class Expectation:
    """What `known` has, and the newest record that this process has seen. `location` names the ledger in messages.

    `may_lack_ms` is how much older than that record the newest one on the server may be.
    """

    def __init__(self, known: KnownLedger, location: str, may_lack_ms: int = 0) -> None:
        self._known = known
        self.location = location
        self._may_lack_ms = may_lack_ms
        self._seen_ms: int | None = None
        # Whether the state directory keeps what was seen. If it had it and no longer does, a person has accepted an older ledger.
        self._is_kept = False

    def fields(self) -> dict[str, object]:
        """What every request has: which ledger it means, and how new it is at least. Nothing while no ledger is expected.

        Raises LedgerUnusable, see `KnownLedger`.
        """
        ledger_id = self._known.id()
        if ledger_id is None:
            return {}
        # Other processes of the state directory go on while this one is idle: an older dump may still have all that this one has seen.
        kept_ms = self._known.newest_seen_ms()
        self._seen_ms = max(self._seen_ms or 0, kept_ms)
        self._is_kept = self._is_kept or kept_ms > 0
        return {"ledger": ledger_id, "seen_ms": self._seen_ms - self._may_lack_ms} if self._seen_ms else {"ledger": ledger_id}

    def meet(self, ledger_id: str, newest_ms: int) -> None:
        """This ledger was found while none was expected; from now on it is, unless another process was faster."""
        if self._known.refresh() is None:
            self._known.check(ledger_id, newest_ms, label=self.location)
            self.note_record(newest_ms)

    def replace(self, ledger_id: str) -> None:
        """A person put this ledger here."""
        self._known.remember(ledger_id)
        self._forget()

    def note_record(self, at_ms: int) -> None:
        """The ledger has a record of that time."""
        if at_ms > (self._seen_ms or 0):
            self._note(at_ms)

    def has_changed(self, refusal: str, asked: Mapping[str, object]) -> bool:
        """After a refusal of a request with these `fields`: whether another ledger is expected now, or this one as it is.

        A person may have accepted it, and another thread may have seen that first.
        """
        if self._known.refresh() != asked.get("ledger"):
            self._forget()
            return True
        asked_ms = asked.get("seen_ms")
        if refusal != "OLDER" or not isinstance(asked_ms, int):
            return False
        if self._seen_ms is not None and self._seen_ms >= asked_ms:
            if not self._is_kept or self._known.newest_seen_ms() >= asked_ms:
                return False
            self._forget()
        return True

    def refusal(self, word: str, behind_ms: int) -> LedgerReplaced:
        """The message for an answer MISSING, ANOTHER or OLDER (by so much)."""
        match word:
            case "MISSING":
                error = missing(self.location)
            case "ANOTHER":
                error = another(self.location)
            case _:
                error = older(self.location, behind_ms)
        return LedgerReplaced(error.message, advice=f"{CAUSES[word]} {error.advice}")

    def _note(self, at_ms: int) -> None:
        self._seen_ms = at_ms
        self._known.note_record(at_ms)
        if not self._is_kept:
            self._is_kept = self._known.newest_seen_ms() > 0

    def _forget(self) -> None:
        self._seen_ms, self._is_kept = None, False
