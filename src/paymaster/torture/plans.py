"""What one seed means: workers, provider, disturbances, a loss of the ledger, the budget. Pure: it starts nothing and touches nothing."""

from dataclasses import dataclass, replace
from enum import StrEnum
from random import Random

from paymaster.accounting.money import NANOUSD_PER_USD
from paymaster.providers.scripted.script import Script
from paymaster.torture.faults import DISTURBANCES, LOSSES, RESTORABLE, LedgerKind, TortureFault
from paymaster.torture.provider_plans import (
    BETWEEN_CHUNKS_MS,
    FIRST_TOKEN_MS,
    MODELS,
    USD_PER_1M_INPUT,
    USD_PER_1M_OUTPUT,
    make_models,
)

RUN = "torture"
MEAN_COST_NANOUSD = 2_400_000
"""About what one call costs, by the lengths of prompts and answers. A worker's calls times this is its part of the budget."""

LEASE_MS = 2_500
TOTAL_MS = 1_200
WINDOW_MS = 3_000
"""The minute of a rate limit, shortened so that a run of seconds spans many of them."""

OWN_LEASE_MS = TOTAL_MS + 30_000
"""The lease of a call that the command line makes: it is the installed product, whose leases are not shortened."""

LEDGER_AHEAD_MS = 2_000
"""The time of a ledger on a file may follow one caller's clock so far ahead of the true time, and no further."""

RETRIES_PER_MODEL, MAX_ATTEMPTS = 1, 10

_HOUR_MS, _DAY_MS = 3_600_000, 86_400_000


class WorkerStyle(StrEnum):
    """What a worker is: threads, tasks or both; a process that forks; a gateway and its clients; a caller of the command line."""

    THREADS = "threads"
    TASKS = "tasks"
    BOTH = "both"
    FORK = "fork"
    GATEWAY = "gateway"
    COMMAND = "command"


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What the user chose: the kind of ledger, the number of workers, the calls of each (on average), and the faults."""

    ledger_kind: LedgerKind
    workers: int
    calls: int
    faults: frozenset[TortureFault]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockPlan:
    """A clock that is `offset_ms` off, jumps by `jump_ms` after `jump_after` calls, and runs at `speed_percent` of the true speed."""

    offset_ms: int = 0
    jump_ms: int = 0
    jump_after: int = 0
    speed_percent: int = 100

    @property
    def is_right(self) -> bool:
        """Whether it shows the true time."""
        return self.offset_ms == self.jump_ms == 0 and self.speed_percent == 100

    @property
    def is_followed(self) -> bool:
        """Whether a ledger on a file may follow it ahead: it is fast, or a little ahead. One that is far ahead is not believed."""
        return self.speed_percent > 100 or any(
            0 < ahead_ms <= LEDGER_AHEAD_MS for ahead_ms in (self.offset_ms, self.offset_ms + self.jump_ms)
        )


RIGHT = ClockPlan()


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerPlan:
    """One worker."""

    number: int
    seed: int
    style: WorkerStyle
    callers: int
    clock: ClockPlan = RIGHT


@dataclass(frozen=True, slots=True)
class Disturbance:
    """A fault that begins when `at_percent` of the budget are billed and lasts `for_ms`. `worker` is its target, if it has one."""

    kind: TortureFault
    at_percent: int
    for_ms: int
    worker: int


@dataclass(frozen=True, slots=True)
class Loss:
    """The ledger is lost when `at_percent` of the budget are billed, and `worker` is killed, so that a new process meets the loss.

    If it `is_restored`, it is put back once every worker has refused to go on, and the run goes on. Else the run ends there.
    """

    kind: TortureFault
    at_percent: int
    worker: int
    is_restored: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TorturePlan:
    """Everything that a seed decides. Limits are per `WINDOW_MS`; None: no limit."""

    seed: int
    workload: Workload
    workers: tuple[WorkerPlan, ...]
    disturbances: tuple[Disturbance, ...]
    loss: Loss | None
    budget_nanousd: int
    rpm: int | None
    tpm: int | None
    script: Script

    @property
    def ahead_ms(self) -> int:
        """How far the ledger's time may be ahead of the true time because of a worker's clock."""
        is_followed = self.workload.ledger_kind is LedgerKind.FILE and any(worker.clock.is_followed for worker in self.workers)
        return LEDGER_AHEAD_MS if is_followed else 0

    @property
    def longest_lease_ms(self) -> int:
        """When the last hold is over, at the latest."""
        return OWN_LEASE_MS if any(worker.style is WorkerStyle.COMMAND for worker in self.workers) else LEASE_MS


def make_plan(seed: int, workload: Workload) -> TorturePlan:
    """The plan of a seed: the same for the same load, on every machine."""
    dice = Random(seed)  # noqa: S311 - it must repeat, and is no secret
    limited = dice.random() < 0.6
    styles = _styles(dice, workload)
    clocks = _clocks(dice, workload, limited=limited)
    return TorturePlan(
        seed=seed,
        workload=workload,
        workers=tuple(_worker(dice, number, style, clock) for number, (style, clock) in enumerate(zip(styles, clocks, strict=True))),
        disturbances=_disturbances(dice, workload),
        loss=_loss(dice, workload),
        budget_nanousd=workload.workers * workload.calls * MEAN_COST_NANOUSD,
        rpm=dice.randint(12, 20) * workload.workers if limited else None,
        tpm=dice.randint(4_000, 8_000) * workload.workers if limited and dice.random() < 0.5 else None,
        script=Script(models=make_models(dice, workload.workers * workload.calls, fails=TortureFault.PROVIDER in workload.faults)),
    )


def registry_text(plan: TorturePlan, base_url: str) -> str:
    """The registry that the workers load: a chain of three models of the provider, on one hard budget."""
    limits = "".join(f", {name}: {cap}" for name, cap in (("rpm", plan.rpm), ("tpm", plan.tpm)) if cap is not None)
    timeouts = (
        f"{{connect_s: 1, first_token_s: {FIRST_TOKEN_MS / 1000}, "
        f"between_chunks_s: {BETWEEN_CHUNKS_MS / 1000}, total_s: {TOTAL_MS / 1000}}}"
    )
    models = "".join(
        f"    {name}: {{provider: scripted, base_url: {base_url!r}, tokenizer: bytes, capabilities: [], "
        f"stops_on_disconnect: {str(model.stops_on_disconnect).lower()}, "
        f"usd_per_1m_input: {USD_PER_1M_INPUT}, usd_per_1m_output: {USD_PER_1M_OUTPUT}{limits}, timeouts: {timeouts}}}\n"
        for name, model in plan.script.models.items()
    )
    return (
        f"model_registry:\n  default: {MODELS[0]}\n  models:\n{models}"
        f"policies:\n  budget_usd_per_run: {plan.budget_nanousd / NANOUSD_PER_USD:.9f}\n  hard_stop_on_budget: true\n"
        f"  fallback_chain: [{', '.join(MODELS)}]\n  min_output_tokens: 1\n  retries_per_model: {RETRIES_PER_MODEL}\n"
        f"  max_attempts: {MAX_ATTEMPTS}\n  max_wait_s: 6\n  patience_s: 0.3\n"
        "  deadline_s: 12\n  backoff_initial_s: 0.02\n  backoff_max_s: 0.2\n  breaker_window_s: 3\n  breaker_pause_s: 0.3\n"
    )


def _styles(dice: Random, workload: Workload) -> list[WorkerStyle]:
    """Threads and tasks in turn. Mixed: from the second worker on, some are of another style; one gateway and one command line at most."""
    styles = [WorkerStyle.TASKS if number % 2 else WorkerStyle.THREADS for number in range(workload.workers)]
    if TortureFault.MIXED in workload.faults:
        others = [WorkerStyle.GATEWAY, WorkerStyle.COMMAND, WorkerStyle.BOTH, WorkerStyle.FORK]
        for number in range(1, workload.workers):
            if others and dice.random() < 0.6:
                styles[number] = others.pop(dice.randrange(len(others)))
    return styles


def _worker(dice: Random, number: int, style: WorkerStyle, clock: ClockPlan) -> WorkerPlan:
    callers = 1 if style is WorkerStyle.COMMAND else dice.randint(2, 5)  # each command is a process of its own
    if style in {WorkerStyle.FORK, WorkerStyle.GATEWAY, WorkerStyle.COMMAND}:
        clock = RIGHT  # the child of a fork would be a second process that confirms a wrong clock
    return WorkerPlan(number=number, seed=dice.getrandbits(32), style=style, callers=callers, clock=clock)


def _clocks(dice: Random, workload: Workload, *, limited: bool) -> list[ClockPlan]:
    """The workers' clocks. The first one is always right.

    On a file one clock at most is far ahead: a second one would confirm it, and the ledger's time would rightly follow. Small steps ahead
    are followed, which shortens the windows of others by as much; so if limits are measured, no step is small.
    """
    if TortureFault.CLOCK not in workload.faults:
        return [RIGHT] * workload.workers
    if workload.ledger_kind is not LedgerKind.FILE:
        return [RIGHT, *(_server_clock(dice) for _ in range(1, workload.workers))]
    clocks = [RIGHT, *(_late_clock(dice) for _ in range(1, workload.workers))]
    if workload.workers > 1 and dice.random() < 0.6:
        clocks[dice.randrange(1, workload.workers)] = _early_clock(dice, limited=limited)
    return clocks


def _server_clock(dice: Random) -> ClockPlan:
    return ClockPlan(
        offset_ms=dice.choice((0, -2 * _HOUR_MS, 2 * _HOUR_MS, 90_000, -_DAY_MS)),
        jump_ms=dice.choice((0, -2_000, 600, 30_000, _HOUR_MS)),
        jump_after=dice.randint(5, 40),
        speed_percent=dice.choice((100, 100, 300)),
    )


def _late_clock(dice: Random) -> ClockPlan:
    # A caller that waits would wait as much longer as its clock is set back; those of the installed product can't be (`SteadyClock`).
    return ClockPlan(offset_ms=dice.choice((0, -600, -60_000, -_DAY_MS)), jump_ms=dice.choice((0, -2_000)), jump_after=dice.randint(5, 40))


def _early_clock(dice: Random, *, limited: bool) -> ClockPlan:
    far = dice.choice((60_000, _HOUR_MS, _HOUR_MS))
    choices = [ClockPlan(offset_ms=far), ClockPlan(jump_ms=far), ClockPlan(offset_ms=-_DAY_MS, jump_ms=_DAY_MS + far)]
    if not limited:
        choices += [ClockPlan(speed_percent=300), ClockPlan(jump_ms=LEDGER_AHEAD_MS - 500)]
    return replace(dice.choice(choices), jump_after=dice.randint(5, 40))


def _disturbances(dice: Random, workload: Workload) -> tuple[Disturbance, ...]:
    kinds = [kind for kind in DISTURBANCES if kind in workload.faults]
    if not kinds:
        return ()
    drawn = [dice.choice(kinds) for _ in range(dice.randint(1, 4))]
    latest = latest_percent(workload)
    made = [Disturbance(kind, dice.randint(5, latest), duration_ms(dice, kind), dice.randrange(workload.workers)) for kind in drawn]
    return tuple(sorted(made, key=lambda disturbance: disturbance.at_percent))


def latest_percent(workload: Workload) -> int:
    """The latest start of a disturbance. If the provider lies, half of a budget is billed: the rest is charged, as it may have been."""
    return 40 if TortureFault.PROVIDER in workload.faults else 80


def duration_ms(dice: Random, kind: TortureFault) -> int:
    """How long a disturbance lasts."""
    match kind:
        case TortureFault.STOP:
            return LEASE_MS + dice.randint(100, 900)  # longer than the leases of its holds
        case TortureFault.KILL:
            return 0
        case _:
            return dice.randint(200, 2_500)


def _loss(dice: Random, workload: Workload) -> Loss | None:
    """In one run of three, and in every run if no other disturbance was chosen."""
    kinds = [kind for kind in LOSSES if kind in workload.faults]
    if not kinds or (dice.random() > 1 / 3 and any(kind in workload.faults for kind in DISTURBANCES)):
        return None
    kind = dice.choice(kinds)
    at_percent = dice.randint(10, min(60, latest_percent(workload)))  # early enough for everybody to meet it
    return Loss(kind, at_percent, dice.randrange(workload.workers), kind in RESTORABLE and dice.random() < 0.5)
