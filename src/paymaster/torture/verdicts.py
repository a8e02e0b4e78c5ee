"""Judges whether a run kept the promises: the provider's bill against the ledger's records and balances. Pure: it reads nothing itself."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from paymaster.accounting.accounts import Balance, Record
from paymaster.accounting.money import NANOUSD_PER_USD
from paymaster.accounting.records import AttemptRecord
from paymaster.providers.scripted.bill import BillLine
from paymaster.providers.scripted.script import FaultKind
from paymaster.routing.charges import WINDOW_MARGIN_MS
from paymaster.torture.faults import PARTIAL, LedgerKind, TortureFault
from paymaster.torture.pairing import paired_bills
from paymaster.torture.plans import LEASE_MS, MAX_ATTEMPTS, RUN, WINDOW_MS, TorturePlan

ACCOUNT = f"usd/run/{RUN}"
USABLE_PERCENT = 98
OUT_OF_TIME = "out of time"
LOSS_NOTICED_MS = 250
"""A transaction that began before the loss was complete may still be admitted: the two clocks are read at different moments."""

LEDGER_LAG_MS = 250
"""The ledger's time may be so far behind the true time when it admits a hold, so the lease ends as much earlier."""

_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Check:
    """One promise: whether it was kept, and the figures."""

    name: str
    kept: bool
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerReports:
    """What the workers reported, in true time: when they asked for each hold that was admitted, when they knew, and the lost holds.

    And when the process of a hold was last heard of, the costs of each reply by attempt, how calls ended, and crashes.
    """

    admitted_at_ms: Mapping[str, int]
    answered_at_ms: Mapping[str, int] = field(default_factory=dict)
    lost_at_ms: Mapping[str, int]
    heard_of_at_ms: Mapping[str, int] = field(default_factory=dict)
    replies: Mapping[str, Mapping[int, int]]
    counts: Mapping[str, int]
    crashes: Sequence[str]


@dataclass(frozen=True, slots=True)
class LossReport:
    """How the ledger was lost, when, and when it was restored (None: never); how many processes refused to go on, and how many went on."""

    kind: TortureFault
    at_ms: int
    restored_at_ms: int | None
    refused: int
    went_on: int

    @property
    def is_final(self) -> bool:
        """Whether the ledger stayed lost."""
        return self.restored_at_ms is None


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that is judged. `balances` were read once every lease was over; `journal` is every record in order.

    Both are empty if the ledger stayed lost: then the bill is judged, and that no worker went on.
    """

    plan: TorturePlan
    bill: Sequence[BillLine]
    journal: Sequence[Record]
    balances: Mapping[str, Balance]
    reports: WorkerReports
    loss: LossReport | None = None


def judge(evidence: Evidence) -> tuple[Check, ...]:
    """Every promise, the most important first. After a loss for good there is no ledger to compare with, and no end of the budget."""
    if evidence.loss is not None and evidence.loss.is_final:
        return (_within_budget(evidence), _refused(evidence, evidence.loss), *_windows(evidence), _no_crash(evidence.reports))
    records = {record.hold_id: record for record in evidence.journal}
    read = {hold_id: AttemptRecord.from_json(record.body) for hold_id, record in records.items()}
    bills = paired_bills(evidence.bill, read)
    return (
        _within_budget(evidence),
        _usable(evidence),
        *([] if evidence.loss is None else [_refused(evidence, evidence.loss)]),
        *_windows(evidence),
        _bounded_attempts(evidence.bill, read),
        _every_bill_recorded(evidence.bill, bills, records),
        _records_cost_what_was_billed(bills, records, read),
        _no_duplicates(evidence),
        _balances_add_up(evidence, records),
        _no_open_hold(evidence),
        _no_early_loss(evidence),
        _every_reply_recorded(evidence.reports, records, read),
        _no_crash(evidence.reports),
    )


def largest_window(amounts: Iterable[tuple[int, int]], window_ms: int) -> int:
    """The largest sum of (at_ms, amount) in any `window_ms`; an entry at the end of a window no longer counts."""
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
    """What the ledger charged counts as used: it was billed, or may have been (lost holds, answers that never arrived)."""
    budget = evidence.plan.budget_nanousd
    charged = evidence.balances.get(ACCOUNT, Balance()).settled
    return Check(
        "budget usable", charged * 100 >= budget * USABLE_PERCENT, f"{charged / budget:.2%} used (bar {USABLE_PERCENT} %): {_usd(charged)}"
    )


def _windows(evidence: Evidence) -> list[Check]:
    """The limit promises nothing for requests that arrive later after admission than the window's margin; they are counted apart."""
    plan, lines = evidence.plan, defaultdict(list)
    late = 0
    for line in evidence.bill:
        admitted_at_ms = evidence.reports.admitted_at_ms.get(line.attempt or "")
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
    untagged = sum(line.attempt is None for line in lines) - sum(line.attempt is None for line in bills.values())
    twice = [attempt for attempt, count in Counter(line.attempt for line in lines).items() if count > 1 and attempt is not None]
    wrong = {"unrecorded": missing, "sent twice": twice, "untagged": ["?"] * untagged}
    return Check("every request recorded", not any(wrong.values()), f"{len(lines)} requests" + _listed(wrong))


def _records_cost_what_was_billed(bills: Mapping[str, BillLine], records: Mapping[str, Record], read: Mapping[str, AttemptRecord]) -> Check:
    """An exact cost equals the bill, an estimated or assumed one is never below it, and what cost nothing was not billed."""
    wrong: dict[str, list[str]] = defaultdict(list)
    counts: Counter[str] = Counter()
    for hold_id, record in read.items():
        billed = bills[hold_id].billed_nanousd if hold_id in bills else 0
        charged = records[hold_id].amounts.get(ACCOUNT, 0)
        counts[record.billed] += 1
        if charged != record.cost_nanousd:
            wrong["charge differs from the record"].append(hold_id)
        match record.billed:
            case "exact" if charged != billed:
                wrong["exact, but not the bill"].append(hold_id)
            case "assumed" | "estimated" if charged < billed:
                wrong[f"{record.billed} below the bill"].append(hold_id)
            case "none" if billed:
                wrong["billed, but recorded as free"].append(hold_id)
            case _:
                pass
    shown = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
    return Check("records match bills", not wrong, f"{shown}" + _listed(wrong))


def _no_duplicates(evidence: Evidence) -> Check:
    duplicates = [hold_id for hold_id, count in Counter(record.hold_id for record in evidence.journal).items() if count > 1]
    return Check("no duplicate record", not duplicates, f"{len(evidence.journal)} records" + _listed({"duplicate": duplicates}))


def _balances_add_up(evidence: Evidence, records: Mapping[str, Record]) -> Check:
    charged, settled = sum(record.amounts.get(ACCOUNT, 0) for record in records.values()), evidence.balances.get(ACCOUNT, Balance()).settled
    return Check("records add up to the balance", charged == settled, f"{charged:,} and {settled:,} nano-dollars")


def _no_open_hold(evidence: Evidence) -> Check:
    held = {account: balance.held for account, balance in evidence.balances.items() if balance.held}
    lost = sum(record.lost for record in evidence.journal)
    return Check("no open hold", not held, f"{lost} holds of lost workers charged" + (f"; open: {held}" if held else ""))


def _every_reply_recorded(reports: WorkerReports, records: Mapping[str, Record], read: Mapping[str, AttemptRecord]) -> Check:
    """A cost that a client returned is in the ledger; if the ledger could not be reached, the whole hold was charged instead."""
    known = {(record.call_id, record.attempt): (records[hold_id], record) for hold_id, record in read.items()}
    wrong: dict[str, list[str]] = defaultdict(list)
    for call_id, attempts in reports.replies.items():
        for number, cost_nanousd in attempts.items():
            found = known.get((call_id, number))
            if found is None:
                wrong["not in the journal"].append(call_id)
            elif found[1].cost_nanousd < cost_nanousd or (not found[0].lost and found[1].cost_nanousd != cost_nanousd):
                wrong["another cost"].append(call_id)
    return Check("every reply recorded", not wrong, f"{len(reports.replies)} replies" + _listed(wrong))


def _refused(evidence: Evidence, loss: LossReport) -> Check:
    """Every process that ran, and a new one, refused; and what they asked for after the loss was not admitted until the restoration.

    A file beside the ledger that is gone makes each process refuse once; the ledger itself may be opened anew.
    """
    reports, after_ms = evidence.reports, loss.at_ms + LOSS_NOTICED_MS
    # What was asked for before the restoration, and tried until after it, was admitted by the right ledger.
    until_ms = loss.restored_at_ms or max((*reports.admitted_at_ms.values(), *reports.answered_at_ms.values()), default=0) + 1
    late = [
        hold_id
        for hold_id, at_ms in reports.admitted_at_ms.items()
        if after_ms <= at_ms and reports.answered_at_ms.get(hold_id, at_ms) < until_ms
    ]
    wrong = {"admitted after it": [] if loss.kind in PARTIAL else late}
    went_on = f"; {loss.went_on} went on" if loss.went_on else ""
    restored = "" if loss.is_final else ", then it was restored"
    detail = f"{loss.kind}: {loss.refused} processes refused{restored}{went_on}" + _listed(wrong)
    return Check("lost ledger refused", not loss.went_on and not any(wrong.values()), detail)


def _bounded_attempts(lines: Sequence[BillLine], read: Mapping[str, AttemptRecord]) -> Check:
    """A call makes at most `max_attempts` attempts, besides those that the provider throttled with a time to wait."""
    patient = {line.attempt for line in lines if line.fault in {FaultKind.THROTTLE, FaultKind.OVERLOADED}}
    counts = Counter(record.call_id for hold_id, record in read.items() if hold_id not in patient)
    largest = max(counts.values(), default=0)
    wrong = {"beyond": [call_id for call_id, count in counts.items() if count > MAX_ATTEMPTS]}
    return Check(
        "attempts within bounds", not any(wrong.values()), f"at most {largest} of {MAX_ATTEMPTS} attempts in a call" + _listed(wrong)
    )


def _no_early_loss(evidence: Evidence) -> Check:
    """No hold was charged as lost before its lease was over in true time; in a file, unless its process was not heard of any more."""
    reports, shortest_ms = evidence.reports, LEASE_MS - evidence.plan.ahead_ms - LEDGER_LAG_MS
    ages_ms = {
        hold_id: at_ms - reports.admitted_at_ms[hold_id]
        for hold_id, at_ms in reports.lost_at_ms.items()
        if hold_id in reports.admitted_at_ms
    }
    ended = {
        hold_id
        for hold_id, at_ms in reports.lost_at_ms.items()
        if evidence.plan.workload.ledger_kind is LedgerKind.FILE and reports.heard_of_at_ms.get(hold_id, at_ms) < at_ms
    }
    early = [f"{hold_id} after {age_ms} ms" for hold_id, age_ms in ages_ms.items() if age_ms < shortest_ms and hold_id not in ended]
    return Check("no hold lost early", not early, f"{len(reports.lost_at_ms)} holds lost while others ran" + _listed({"early": early}))


def _no_crash(reports: WorkerReports) -> Check:
    """A worker that does not reach the end of the budget counts as crashed."""
    shown = ", ".join(f"{count} {name}" for name, count in sorted(reports.counts.items()))
    kept = not reports.crashes and not reports.counts.get(OUT_OF_TIME)
    return Check("no worker crashed", kept, shown + "".join(f"; {crash}" for crash in reports.crashes[:_SHOWN]))


def _listed(wrong: Mapping[str, Sequence[str]]) -> str:
    return "".join(f"; {len(found)} {problem}: {', '.join(found[:_SHOWN])}" for problem, found in wrong.items() if found)


def _usd(nanousd: int) -> str:
    return f"${nanousd / NANOUSD_PER_USD:.6f}"
