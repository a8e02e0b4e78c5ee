"""Whether a run kept the promises: the provider's bill against the ledger's records and balances. Pure: it reads nothing itself."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from paymaster.accounting.accounts import Balance, Record
from paymaster.accounting.money import NANOUSD_PER_USD
from paymaster.accounting.records import AttemptRecord
from paymaster.providers.scripted.bill import BillLine
from paymaster.routing.charges import WINDOW_MARGIN_MS
from paymaster.torture.plans import RUN, WINDOW_MS, Plan

ACCOUNT = f"usd/run/{RUN}"
USABLE_PERCENT = 98
OUT_OF_TIME = "out of time"
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Check:
    """One promise: whether it was kept, and the figures."""

    name: str
    kept: bool
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What the workers said: when the ledger admitted each attempt, what each reply cost by attempt, how calls went, and who broke down."""

    admitted_at_ms: Mapping[str, int]
    replies: Mapping[str, Mapping[int, int]]
    counts: Mapping[str, int]
    crashes: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything that is judged. `balances` were read once every lease was over; `journal` is every record in order."""

    plan: Plan
    bill: Sequence[BillLine]
    journal: Sequence[Record]
    balances: Mapping[str, Balance]
    told: Told


def judge(evidence: Evidence) -> tuple[Check, ...]:
    """Every promise, in the order in which they matter."""
    bills = {line.attempt: line for line in evidence.bill if line.attempt is not None}
    records = {record.hold_id: record for record in evidence.journal}
    read = {hold_id: AttemptRecord.from_json(record.body) for hold_id, record in records.items()}
    return (
        _within_budget(evidence),
        _usable(evidence),
        *_windows(evidence),
        _every_bill_recorded(evidence.bill, bills, records),
        _records_cost_what_was_billed(bills, records, read),
        _nothing_doubled(evidence),
        _balances_add_up(evidence, records),
        _no_hold_left(evidence),
        _every_reply_recorded(evidence.told, records, read),
        _nobody_crashed(evidence.told),
    )


def largest_window(amounts: Iterable[tuple[int, int]], window_ms: int) -> int:
    """The largest sum that any `window_ms` held, of (at_ms, amount); an entry at its window's end no longer counts."""
    largest = running = start = 0
    entries = sorted(amounts)
    for at_ms, amount in entries:
        running += amount
        while entries[start][0] <= at_ms - window_ms:
            running -= entries[start][1]
            start += 1
        largest = max(largest, running)
    return largest


def _within_budget(evidence: Evidence) -> Check:
    billed, budget = sum(line.billed_nanousd for line in evidence.bill), evidence.plan.budget_nanousd
    return Check("billed within the budget", billed <= budget, f"{_usd(billed)} of {_usd(budget)} billed by the provider")


def _usable(evidence: Evidence) -> Check:
    """What the books charged is used: it was billed, or may have been (lost holds, answers that never came)."""
    budget = evidence.plan.budget_nanousd
    charged = evidence.balances.get(ACCOUNT, Balance()).settled
    return Check(
        "budget usable", charged * 100 >= budget * USABLE_PERCENT, f"{charged / budget:.2%} used (bar {USABLE_PERCENT} %): {_usd(charged)}"
    )


def _windows(evidence: Evidence) -> list[Check]:
    """Requests that took longer from admission to arrival than the window's margin are not what the limit promises; they are counted."""
    plan, lines = evidence.plan, defaultdict(list)
    late = 0
    for line in evidence.bill:
        admitted_at_ms = evidence.told.admitted_at_ms.get(line.attempt or "")
        if admitted_at_ms is not None and line.at_ms - admitted_at_ms > WINDOW_MARGIN_MS:
            late += 1
        else:
            lines[line.model].append(line)
    checks = []
    for name, cap in (("requests", plan.rpm), ("tokens", plan.tpm)):
        if cap is None:
            continue
        largest = max(
            (
                largest_window([(line.at_ms, 1 if name == "requests" else _tokens(line)) for line in own], WINDOW_MS)
                for own in lines.values()
            ),
            default=0,
        )
        detail = f"at most {largest} of {cap} {name} in any {WINDOW_MS / 1000:g} s" + (f" ({late} arrived late)" if late else "")
        checks.append(Check(f"{name} within limits", largest <= cap, detail))
    return checks


def _tokens(line: BillLine) -> int:
    return line.prompt_tokens + line.completion_tokens


def _every_bill_recorded(lines: Sequence[BillLine], bills: Mapping[str, BillLine], records: Mapping[str, Record]) -> Check:
    missing = [attempt for attempt in bills if attempt not in records]
    unsigned = sum(line.attempt is None for line in lines)
    twice = [attempt for attempt, count in Counter(line.attempt for line in lines).items() if count > 1 and attempt is not None]
    wrong = {"unrecorded": missing, "sent twice": twice, "unsigned": ["?"] * unsigned}
    return Check("every request recorded", not any(wrong.values()), f"{len(lines)} requests" + _listed(wrong))


def _records_cost_what_was_billed(bills: Mapping[str, BillLine], records: Mapping[str, Record], read: Mapping[str, AttemptRecord]) -> Check:
    """An exact cost equals the bill, an assumed one is never below it, and what cost nothing was not billed."""
    wrong: dict[str, list[str]] = defaultdict(list)
    counts: Counter[str] = Counter()
    for hold_id, record in read.items():
        billed = bills[hold_id].billed_nanousd if hold_id in bills else 0
        charged = records[hold_id].amounts.get(ACCOUNT, 0)
        counts[record.billed] += 1
        if charged != record.cost_nanousd:
            wrong["charged otherwise than recorded"].append(hold_id)
        match record.billed:
            case "exact" if charged != billed:
                wrong["exact, but not what was billed"].append(hold_id)
            case "assumed" if charged < billed:
                wrong["assumed too little"].append(hold_id)
            case "none" if billed:
                wrong["billed, but recorded as free"].append(hold_id)
            case _:
                pass
    shown = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
    return Check("records are bills", not wrong, f"{shown}" + _listed(wrong))


def _nothing_doubled(evidence: Evidence) -> Check:
    doubled = [hold_id for hold_id, count in Counter(record.hold_id for record in evidence.journal).items() if count > 1]
    return Check("no record doubled", not doubled, f"{len(evidence.journal)} records" + _listed({"doubled": doubled}))


def _balances_add_up(evidence: Evidence, records: Mapping[str, Record]) -> Check:
    charged, settled = sum(record.amounts.get(ACCOUNT, 0) for record in records.values()), evidence.balances.get(ACCOUNT, Balance()).settled
    return Check("records add up to the balance", charged == settled, f"{charged:,} and {settled:,} nano-dollars")


def _no_hold_left(evidence: Evidence) -> Check:
    left = {account: balance.held for account, balance in evidence.balances.items() if balance.held}
    lost = sum(record.lost for record in evidence.journal)
    return Check("no hold left", not left, f"{lost} holds of lost workers charged" + (f"; left: {left}" if left else ""))


def _every_reply_recorded(told: Told, records: Mapping[str, Record], read: Mapping[str, AttemptRecord]) -> Check:
    """A worker that was told a cost finds it in the books; where the ledger could not be told, the whole hold was charged instead."""
    known = {(record.call_id, record.attempt): (records[hold_id], record) for hold_id, record in read.items()}
    wrong: dict[str, list[str]] = defaultdict(list)
    for call_id, attempts in told.replies.items():
        for number, cost_nanousd in attempts.items():
            found = known.get((call_id, number))
            if found is None:
                wrong["not in the journal"].append(call_id)
            elif found[1].cost_nanousd < cost_nanousd or (not found[0].lost and found[1].cost_nanousd != cost_nanousd):
                wrong["another cost"].append(call_id)
    return Check("every reply recorded", not wrong, f"{len(told.replies)} replies" + _listed(wrong))


def _nobody_crashed(told: Told) -> Check:
    """A worker also breaks down that never comes to the end of the budget."""
    shown = ", ".join(f"{count} {name}" for name, count in sorted(told.counts.items()))
    kept = not told.crashes and not told.counts.get(OUT_OF_TIME)
    return Check("no worker broke down", kept, shown + "".join(f"; {crash}" for crash in told.crashes[:_SHOWN]))


def _listed(wrong: Mapping[str, Sequence[str]]) -> str:
    return "".join(f"; {len(found)} {what}: {', '.join(found[:_SHOWN])}" for what, found in wrong.items() if found)


def _usd(nanousd: int) -> str:
    return f"${nanousd / NANOUSD_PER_USD:.6f}"
