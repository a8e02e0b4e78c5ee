"""The rule of accounts in its most naive form: a list of everything that ever happened, summed up anew for every question."""

from dataclasses import dataclass, field

from paymaster.accounting.accounts import Balance, Change, Charge, Hold, Post, Settlement


@dataclass
class Line:
    """What one hold has on one account. `until_ms` is None for good; `asked` while it is open, `paid` afterwards (None: emptied)."""

    charge: Charge
    until_ms: int | None
    paid: int | None = 0


@dataclass
class Story:
    """One hold from its admission on."""

    hold: Hold
    at_ms: int
    lines: list[Line]
    state: str = "open"


@dataclass
class Waiter:
    """A place in line."""

    hold_id: str
    until_ms: int
    asks: dict[str, int]


@dataclass
class NaiveLedger:
    """Answers what the ledgers must answer, as plain tuples and dictionaries."""

    now_ms: int = 0
    stories: dict[str, Story] = field(default_factory=dict)
    posts: list[Line] = field(default_factory=list)
    line: list[Waiter] = field(default_factory=list)
    journal: list[tuple[str, int, bool, dict[str, int]]] = field(default_factory=list)

    def tick(self, now_ms: int) -> None:
        self.now_ms = max(self.now_ms, now_ms)

    def sweep(self, but: str = "") -> list[str]:
        lost = [
            story
            for story in self.stories.values()
            if story.state == "open" and story.at_ms + story.hold.lease_ms <= self.now_ms and story.hold.id != but
        ]
        lost.sort(key=lambda story: (story.at_ms + story.hold.lease_ms, story.hold.id))
        for story in lost:
            story.state = "lost"
            for line in story.lines:
                line.paid = line.charge.amount
            self.write(story, lost=True)
        return [story.hold.id for story in lost]

    def write(self, story: Story, *, lost: bool) -> None:
        self.journal = [entry for entry in self.journal if entry[0] != story.hold.id]
        amounts = {line.charge.account: line.paid for line in story.lines if line.paid and line.charge.window_ms != 0}
        self.journal.append((story.hold.id, self.now_ms, lost, amounts))

    def sums(self, account: str, at_ms: int) -> tuple[int, int, int]:
        """Settled, live and held."""
        settled = live = held = 0
        for story in self.stories.values():
            for line in story.lines:
                if line.charge.account != account or (line.until_ms is not None and line.until_ms <= at_ms):
                    continue
                if story.state == "open":
                    held += line.charge.amount
                elif line.charge.window_ms is None:
                    settled += line.paid or 0
                elif line.charge.window_ms:
                    live += line.paid or 0
        for line in self.posts:
            if line.charge.account == account and line.until_ms is None:
                settled += line.charge.amount
            elif line.charge.account == account and line.until_ms is not None and line.until_ms > at_ms:
                live += line.charge.amount
        return settled, live, held

    def free_times(self, account: str) -> list[int]:
        lines = [line for story in self.stories.values() for line in story.lines if line.charge.window_ms] + self.posts
        return sorted(
            {
                line.until_ms
                for line in lines
                if line.charge.account == account and line.until_ms is not None and line.until_ms > self.now_ms
            }
        )

    def ahead(self, account: str, hold_id: str) -> int:
        total = 0
        for waiter in self.line:
            if waiter.hold_id == hold_id:
                break
            total += waiter.asks.get(account, 0)
        return total

    def reserve(self, hold: Hold, queue_for_ms: int) -> tuple[str, object]:
        """What happens, and to whom: ("held", at_ms), ("refused", {account: retry_at_ms}) or ("ended", None); call `sweep` first."""
        story = self.stories.get(hold.id)
        if story is not None and (story.state != "open" or story.at_ms + story.hold.lease_ms <= self.now_ms):
            return "ended", None
        self.lost = self.sweep()
        if story is not None:
            return "held", story.at_ms
        self.line = [waiter for waiter in self.line if waiter.until_ms > self.now_ms]
        refused = {
            charge.account: self.retry_at_ms(charge, hold.id) for charge in hold.charges if not self.fits(charge, hold.id, self.now_ms)
        }
        mine = next((waiter for waiter in self.line if waiter.hold_id == hold.id), None)
        if not refused:
            self.leave(hold.id)
            lines = [Line(charge, self.now_ms + charge.window_ms if charge.window_ms else None) for charge in hold.charges]
            self.stories[hold.id] = Story(hold, self.now_ms, lines)
            return "held", self.now_ms
        if not all(self.helps(charge, hold.id, refused[charge.account]) for charge in hold.charges if charge.account in refused):
            self.leave(hold.id)
        elif queue_for_ms:
            if mine is None:
                mine = Waiter(hold.id, 0, {})
                self.line.append(mine)
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
        self.line = [waiter for waiter in self.line if waiter.hold_id != hold_id]

    def withdraw(self, hold_id: str) -> None:
        self.leave(hold_id)
        if hold_id in self.stories and self.stories[hold_id].state == "open":
            del self.stories[hold_id]

    def settle(self, settlement: Settlement) -> tuple[bool, list[Change]]:
        """Whether it stood already, and the changes; call `tick` first."""
        hold, amounts = settlement.hold, settlement.amounts
        story = self.stories.get(hold.id)
        self.lost = self.sweep(but=hold.id)
        if story is not None and story.state == "settled":
            return True, []
        known = story is not None
        if story is None:
            at_ms = min(settlement.held_at_ms, self.now_ms)
            story = Story(hold, at_ms, [Line(charge, at_ms + charge.window_ms if charge.window_ms else None) for charge in hold.charges])
        was_lost = story.state == "lost"
        paid = [None if was_lost and line.paid is None else amount for line, amount in zip(story.lines, amounts, strict=True)]
        changes = []
        before = {charge.account: sum(self.sums(charge.account, self.now_ms)[:2]) for charge in hold.charges}
        for line, amount in zip(story.lines, paid, strict=True):
            line.paid = amount
        story.state = "settled"
        self.stories[hold.id] = story
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
        self.posts.append(Line(Charge(post.account, post.amount, None, post.for_ms), until_ms))
        return Change(post.account, before, before + post.amount)

    def clear(self, account: str) -> Change:
        settled, live, _ = self.sums(account, self.now_ms)
        self.posts = [line for line in self.posts if line.charge.account != account or line.until_ms is None]
        for story in self.stories.values():
            for line in story.lines:
                if line.charge.account == account and line.charge.window_ms and story.state != "open":
                    line.paid = None
        return Change(account, settled + live, settled)

    def balance(self, account: str) -> Balance:
        """What is seen after a sweep; `ahead` is everybody in line."""
        settled, live, held = self.sums(account, self.now_ms)
        free_at = []
        for time in self.free_times(account):
            leaving = sum(self.sums(account, time - 1)) - sum(self.sums(account, time))
            if leaving:
                free_at.append((time, leaving))
        ahead = sum(waiter.asks.get(account, 0) for waiter in self.line if waiter.until_ms > self.now_ms)
        return Balance(settled, live, held, ahead, tuple(free_at))
