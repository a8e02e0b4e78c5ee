"""The rule of accounts in its most naive form: a list of all that happened, summed up for every answer; knows no storage."""

from dataclasses import dataclass, field

from paymaster.accounting.accounts import Balance, Change, Charge, Hold, Post, Settlement


@dataclass
class Part:
    """What one hold or post has on one account. `until_ms` is None for good; `paid` is the actual amount (None: the window was emptied)."""

    charge: Charge
    until_ms: int | None
    paid: int | None = 0


@dataclass
class HoldHistory:
    """One hold from its admission on."""

    hold: Hold
    at_ms: int
    parts: list[Part]
    state: str = "open"


@dataclass
class Ticket:
    """A hold that waits in the queue."""

    hold_id: str
    until_ms: int
    asks: dict[str, int]


@dataclass
class NaiveLedger:
    """Answers what the ledgers must answer, as plain tuples and dictionaries."""

    now_ms: int = 0
    holds: dict[str, HoldHistory] = field(default_factory=dict)
    posts: list[Part] = field(default_factory=list)
    queue: list[Ticket] = field(default_factory=list)
    journal: list[tuple[str, int, bool, dict[str, int]]] = field(default_factory=list)

    def tick(self, now_ms: int) -> None:
        self.now_ms = max(self.now_ms, now_ms)

    def sweep(self, but: str = "") -> list[str]:
        lost = [
            history
            for history in self.holds.values()
            if history.state == "open" and history.at_ms + history.hold.lease_ms <= self.now_ms and history.hold.id != but
        ]
        lost.sort(key=lambda history: (history.at_ms + history.hold.lease_ms, history.hold.id))
        for history in lost:
            history.state = "lost"
            for part in history.parts:
                part.paid = part.charge.amount
            self.write(history, lost=True)
        return [history.hold.id for history in lost]

    def write(self, history: HoldHistory, *, lost: bool) -> None:
        self.journal = [entry for entry in self.journal if entry[0] != history.hold.id]
        amounts = {part.charge.account: part.paid for part in history.parts if part.paid and part.charge.window_ms != 0}
        self.journal.append((history.hold.id, self.now_ms, lost, amounts))

    def sums(self, account: str, at_ms: int) -> tuple[int, int, int]:
        """Settled, live and held."""
        settled = live = held = 0
        for history in self.holds.values():
            for part in history.parts:
                if part.charge.account != account or (part.until_ms is not None and part.until_ms <= at_ms):
                    continue
                if history.state == "open":
                    held += part.charge.amount
                elif part.charge.window_ms is None:
                    settled += part.paid or 0
                elif part.charge.window_ms:
                    live += part.paid or 0
        for part in self.posts:
            if part.charge.account == account and part.until_ms is None:
                settled += part.charge.amount
            elif part.charge.account == account and part.until_ms is not None and part.until_ms > at_ms:
                live += part.charge.amount
        return settled, live, held

    def free_times(self, account: str) -> list[int]:
        parts = [part for history in self.holds.values() for part in history.parts if part.charge.window_ms] + self.posts
        return sorted(
            {
                part.until_ms
                for part in parts
                if part.charge.account == account and part.until_ms is not None and part.until_ms > self.now_ms
            }
        )

    def ahead(self, account: str, hold_id: str) -> int:
        total = 0
        for ticket in self.queue:
            if ticket.hold_id == hold_id:
                break
            total += ticket.asks.get(account, 0)
        return total

    def reserve(self, hold: Hold, queue_for_ms: int) -> tuple[str, object]:
        """("held", at_ms), ("refused", {account: retry_at_ms}) or ("ended", None); call `tick` first."""
        history = self.holds.get(hold.id)
        if history is not None and (history.state != "open" or history.at_ms + history.hold.lease_ms <= self.now_ms):
            return "ended", None
        self.lost = self.sweep()
        if history is not None:
            return "held", history.at_ms
        self.queue = [ticket for ticket in self.queue if ticket.until_ms > self.now_ms]
        refused = {
            charge.account: self.retry_at_ms(charge, hold.id) for charge in hold.charges if not self.fits(charge, hold.id, self.now_ms)
        }
        mine = next((ticket for ticket in self.queue if ticket.hold_id == hold.id), None)
        if not refused:
            self.leave(hold.id)
            parts = [Part(charge, self.now_ms + charge.window_ms if charge.window_ms else None) for charge in hold.charges]
            self.holds[hold.id] = HoldHistory(hold, self.now_ms, parts)
            return "held", self.now_ms
        if not all(self.helps(charge, hold.id, refused[charge.account]) for charge in hold.charges if charge.account in refused):
            self.leave(hold.id)
        elif queue_for_ms:
            if mine is None:
                mine = Ticket(hold.id, 0, {})
                self.queue.append(mine)
            mine.until_ms = self.now_ms + queue_for_ms
            mine.asks |= {charge.account: charge.amount for charge in hold.charges if charge.account in refused}
        return "refused", refused

    def fits(self, charge: Charge, hold_id: str, at_ms: int) -> bool:
        if charge.cap is None:
            return True
        return sum(self.sums(charge.account, at_ms)) + self.ahead(charge.account, hold_id) + charge.amount <= charge.cap

    def retry_at_ms(self, charge: Charge, hold_id: str) -> int | None:
        return next((time for time in self.free_times(charge.account) if self.fits(charge, hold_id, time)), None)

    def helps(self, charge: Charge, hold_id: str, retry_at_ms: int | None) -> bool:
        settled, _, held = self.sums(charge.account, self.now_ms)
        room = charge.cap is not None and settled + charge.amount <= charge.cap
        return room and (retry_at_ms is not None or held + self.ahead(charge.account, hold_id) > 0)

    def leave(self, hold_id: str) -> None:
        self.queue = [ticket for ticket in self.queue if ticket.hold_id != hold_id]

    def withdraw(self, hold_id: str) -> None:
        self.leave(hold_id)
        if hold_id in self.holds and self.holds[hold_id].state == "open":
            del self.holds[hold_id]

    def settle(self, settlement: Settlement) -> tuple[bool, list[Change]]:
        """Whether it was settled already, and the changes; call `tick` first."""
        hold, amounts = settlement.hold, settlement.amounts
        history = self.holds.get(hold.id)
        self.lost = self.sweep(but=hold.id)
        if history is not None and history.state == "settled":
            return True, []
        known = history is not None
        if history is None:
            at_ms = min(settlement.held_at_ms, self.now_ms)
            history = HoldHistory(
                hold, at_ms, [Part(charge, at_ms + charge.window_ms if charge.window_ms else None) for charge in hold.charges]
            )
        was_lost = history.state == "lost"
        paid = [None if was_lost and part.paid is None else amount for part, amount in zip(history.parts, amounts, strict=True)]
        changes = []
        before = {charge.account: sum(self.sums(charge.account, self.now_ms)[:2]) for charge in hold.charges}
        for part, amount in zip(history.parts, paid, strict=True):
            part.paid = amount
        history.state = "settled"
        self.holds[hold.id] = history
        changes = [
            Change(charge.account, before[charge.account], sum(self.sums(charge.account, self.now_ms)[:2])) for charge in hold.charges
        ]
        amounts_written = {
            charge.account: amount for charge, amount in zip(hold.charges, amounts, strict=True) if amount and charge.window_ms != 0
        }
        self.journal = [entry for entry in self.journal if entry[0] != hold.id]
        self.journal.append((hold.id, self.now_ms, False, amounts_written))
        assert known or not was_lost
        return False, changes

    def post(self, post: Post) -> Change:
        before = sum(self.sums(post.account, self.now_ms)[:2])
        until_ms = None if post.for_ms is None else self.now_ms + post.for_ms
        self.posts.append(Part(Charge(post.account, post.amount, None, post.for_ms), until_ms))
        return Change(post.account, before, before + post.amount)

    def clear(self, account: str) -> Change:
        settled, live, _ = self.sums(account, self.now_ms)
        self.posts = [part for part in self.posts if part.charge.account != account or part.until_ms is None]
        for history in self.holds.values():
            for part in history.parts:
                if part.charge.account == account and part.charge.window_ms and history.state != "open":
                    part.paid = None
        return Change(account, settled + live, settled)

    def balance(self, account: str) -> Balance:
        """The account after a sweep; `ahead` is what the whole queue asks for."""
        settled, live, held = self.sums(account, self.now_ms)
        free_at = []
        for time in self.free_times(account):
            leaving = sum(self.sums(account, time - 1)) - sum(self.sums(account, time))
            if leaving:
                free_at.append((time, leaving))
        ahead = sum(ticket.asks.get(account, 0) for ticket in self.queue if ticket.until_ms > self.now_ms)
        return Balance(settled, live, held, ahead, tuple(free_at))
