"""What one seed means: workers, faults of the provider, disturbances and budget. Pure: it starts nothing and touches nothing."""

from dataclasses import dataclass
from enum import StrEnum
from random import Random

from paymaster.accounting.money import NANOUSD_PER_USD
from paymaster.errors import UsageMistake
from paymaster.providers.scripted.script import Answer, FaultKind, FaultPlan, Script, ScriptedModel, ScriptedPrices

RUN = "torture"
MODELS = ("alpha", "beta", "gamma")
USD_PER_1M_INPUT, USD_PER_1M_OUTPUT = 10, 30
MEAN_COST_NANOUSD = 2_400_000
"""About what one call costs, by the lengths below. A worker's calls times this is its part of the budget."""

LEASE_MS = 2_500
TOTAL_MS, FIRST_TOKEN_MS, BETWEEN_CHUNKS_MS = 1_200, 800, 400
WINDOW_MS = 3_000
"""The minute of a rate limit, shortened so that a run of seconds spans many of them."""

LONGEST_ANSWER_TOKENS = 100


class TortureFault(StrEnum):
    """The faults that can be switched on: of the provider, the callers, the workers and the ledger."""

    PROVIDER = "provider"
    CANCEL = "cancel"
    KILL = "kill"
    STOP = "stop"
    CLOCK = "clock"
    DISK = "disk"
    RESTART = "restart"
    STALL = "stall"
    CUT = "cut"


DISTURBANCES = (TortureFault.KILL, TortureFault.STOP, TortureFault.DISK, TortureFault.RESTART, TortureFault.STALL, TortureFault.CUT)
"""The faults that happen at one moment of the run."""


class LedgerKind(StrEnum):
    """Where the ledger is kept: this decides which faults are possible."""

    MEMORY = "memory"
    FILE = "file"
    PRIVATE_SERVER = "private server"
    SERVER = "server"
    SERVERS = "servers"


_ALWAYS = frozenset({TortureFault.PROVIDER, TortureFault.CANCEL})
_PROCESSES = _ALWAYS | {TortureFault.KILL, TortureFault.STOP, TortureFault.CLOCK}
POSSIBLE: dict[LedgerKind, frozenset[TortureFault]] = {
    LedgerKind.MEMORY: _ALWAYS,
    LedgerKind.FILE: _PROCESSES | {TortureFault.DISK},
    LedgerKind.PRIVATE_SERVER: _PROCESSES | {TortureFault.RESTART, TortureFault.STALL, TortureFault.CUT},
    LedgerKind.SERVER: _PROCESSES | {TortureFault.STALL, TortureFault.CUT},
    LedgerKind.SERVERS: _PROCESSES,
}
"""The possible faults by kind of ledger: a memory ledger is in one process; only a server that we started may be restarted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What the user chose: the kind of ledger, the number of workers, the calls of each (on average), and the faults."""

    ledger_kind: LedgerKind
    workers: int
    calls: int
    faults: frozenset[TortureFault]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerPlan:
    """One worker. `tasks`: it uses the async client. Its clock is `offset_ms` off, and `jump_ms` more after `jump_after` calls."""

    number: int
    seed: int
    tasks: bool
    callers: int
    offset_ms: int = 0
    jump_ms: int = 0
    jump_after: int = 0


@dataclass(frozen=True, slots=True)
class Disturbance:
    """A fault that begins when `at_percent` of the budget are billed and lasts `for_ms`. `worker` is its target, if it has one."""

    kind: TortureFault
    at_percent: int
    for_ms: int
    worker: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TorturePlan:
    """Everything that a seed decides. Limits are per `WINDOW_MS`; None: no limit."""

    seed: int
    workload: Workload
    workers: tuple[WorkerPlan, ...]
    disturbances: tuple[Disturbance, ...]
    budget_nanousd: int
    rpm: int | None
    tpm: int | None
    script: Script

    @property
    def ahead_ms(self) -> int:
        """How far the ledger's time may be ahead of the true time."""
        if self.workload.ledger_kind is not LedgerKind.FILE:
            return 0
        return max(max(worker.offset_ms, worker.offset_ms + worker.jump_ms) for worker in self.workers)


def read_faults(text: str, ledger_kind: LedgerKind) -> frozenset[TortureFault]:
    """The faults that a comma-separated list names: `all` (that are possible for this ledger), `none`, or names.

    Raises UsageMistake for an unknown name, and for a fault that is not possible for this ledger.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if names == ["all"]:
        return POSSIBLE[ledger_kind]
    if names == ["none"]:
        return frozenset()
    known = ", ".join(TortureFault)
    chosen = set()
    for name in names:
        if name not in set(TortureFault):
            raise UsageMistake(f"unknown fault {name!r}", advice=f"Faults: {known}; or all, or none.")
        if TortureFault(name) not in POSSIBLE[ledger_kind]:
            possible = ", ".join(fault for fault in TortureFault if fault in POSSIBLE[ledger_kind])
            raise UsageMistake(f"the fault {name!r} is not possible for this kind of ledger", advice=f"Possible faults: {possible}.")
        chosen.add(TortureFault(name))
    return frozenset(chosen)


def make_plan(seed: int, workload: Workload) -> TorturePlan:
    """The plan of a seed: the same for the same load, on every machine."""
    dice = Random(seed)  # noqa: S311 - it must repeat, and is no secret
    limited = dice.random() < 0.6
    workers = tuple(_worker(dice, number, workload, limited=limited) for number in range(workload.workers))
    return TorturePlan(
        seed=seed,
        workload=workload,
        workers=workers,
        disturbances=_disturbances(dice, workload),
        budget_nanousd=workload.workers * workload.calls * MEAN_COST_NANOUSD,
        rpm=dice.randint(12, 20) * workload.workers if limited else None,
        tpm=dice.randint(4_000, 8_000) * workload.workers if limited and dice.random() < 0.5 else None,
        script=Script(models=_models(dice, workload)),
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
        f"usd_per_1m_input: {USD_PER_1M_INPUT}, usd_per_1m_output: {USD_PER_1M_OUTPUT}{limits}, timeouts: {timeouts}}}\n"
        for name in MODELS
    )
    return (
        f"model_registry:\n  default: {MODELS[0]}\n  models:\n{models}"
        f"policies:\n  budget_usd_per_run: {plan.budget_nanousd / NANOUSD_PER_USD:.9f}\n  hard_stop_on_budget: true\n"
        f"  fallback_chain: [{', '.join(MODELS)}]\n  min_output_tokens: 1\n  retries_per_model: 1\n  max_wait_s: 6\n  patience_s: 0.3\n"
        "  deadline_s: 12\n  backoff_initial_s: 0.02\n  backoff_max_s: 0.2\n  breaker_window_s: 3\n  breaker_pause_s: 0.3\n"
    )


def _worker(dice: Random, number: int, workload: Workload, *, limited: bool) -> WorkerPlan:
    plan = WorkerPlan(number=number, seed=dice.getrandbits(32), tasks=number % 2 == 1, callers=dice.randint(2, 5))
    if TortureFault.CLOCK not in workload.faults or number == 0:
        return plan  # at least one clock is right
    if workload.ledger_kind is LedgerKind.FILE:
        # A file ledger's time is the latest time of any worker. A worker whose clock is ahead therefore shortens the windows of others,
        # which no promise excludes. If limits are measured, clocks only lag.
        offset_ms, jump_ms = dice.choice((0, -600, -60_000)), dice.choice((0, -2_000) if limited else (0, -2_000, 1_500))
    else:
        offset_ms, jump_ms = dice.choice((0, -7_200_000, 7_200_000, 90_000)), dice.choice((0, -2_000, 600, 30_000))
    return WorkerPlan(
        number=number,
        seed=plan.seed,
        tasks=plan.tasks,
        callers=plan.callers,
        offset_ms=offset_ms,
        jump_ms=jump_ms,
        jump_after=dice.randint(5, 40),
    )


def _disturbances(dice: Random, workload: Workload) -> tuple[Disturbance, ...]:
    kinds = [kind for kind in DISTURBANCES if kind in workload.faults]
    if not kinds:
        return ()
    drawn = [dice.choice(kinds) for _ in range(dice.randint(1, 4))]
    made = [Disturbance(kind, dice.randint(5, 80), _duration_ms(dice, kind), dice.randrange(workload.workers)) for kind in drawn]
    return tuple(sorted(made, key=lambda disturbance: disturbance.at_percent))


def _duration_ms(dice: Random, kind: TortureFault) -> int:
    match kind:
        case TortureFault.STOP:
            return LEASE_MS + dice.randint(100, 900)  # longer than the leases of its holds
        case TortureFault.KILL:
            return 0
        case _:
            return dice.randint(200, 2_500)


def _models(dice: Random, workload: Workload) -> dict[str, ScriptedModel]:
    """Models whose answers have any length, and some of whose requests fail. Only one of the first two may fail for good."""
    texts = ["x" * dice.randint(4, 4 * LONGEST_ANSWER_TOKENS) for _ in range(5)]
    closing = dice.choice((*MODELS[:-1], None))
    return {
        name: ScriptedModel(
            prices=ScriptedPrices.model_validate({"usd_per_1m_input": USD_PER_1M_INPUT, "usd_per_1m_output": USD_PER_1M_OUTPUT}),
            answers=[Answer(text=text) for text in dice.sample(texts, len(texts))],
            latency_ms=dice.randint(5, 80),
            chunk_ms=dice.choice((0, 0, 5)),
            faults=_faults(dice, workload, closes=name == closing) if TortureFault.PROVIDER in workload.faults else [],
        )
        for name in MODELS
    }


_CLOSING = (FaultKind.QUOTA, FaultKind.AUTH, FaultKind.PERMISSION, FaultKind.UNKNOWN_MODEL)
"""These open the model's circuit for longer than a run lasts."""

_TRANSIENT = tuple(kind for kind in FaultKind if kind not in _CLOSING)

_SLOW = (FaultKind.SILENCE, FaultKind.STALL)


def _faults(dice: Random, workload: Workload, *, closes: bool) -> list[FaultPlan]:
    """Faults for about one request in six. Slow ones are rarer, as each costs a caller a second."""
    expected = workload.workers * workload.calls
    faults = []
    for _ in range(max(6, expected // 6)):
        kind = dice.choice(_TRANSIENT)
        if kind in _SLOW and dice.random() < 0.5:
            kind = FaultKind.CUT
        faults.append(_fault(dice, kind, dice.randrange(expected)))
    if closes:
        faults.append(_fault(dice, dice.choice(_CLOSING), dice.randrange(max(1, expected // 2))))
    return sorted(faults, key=lambda fault: fault.after)


def _fault(dice: Random, kind: FaultKind, after: int) -> FaultPlan:
    return FaultPlan(
        kind=kind,
        after=after,
        retry_after_s=dice.choice((0.05, 0.2)) if kind in {FaultKind.THROTTLE, FaultKind.OVERLOADED} else None,
        delay_ms=dice.choice((100, FIRST_TOKEN_MS + 100)),
        after_chunks=dice.randint(0, 6),
        # A server may fail after it did the work and billed it.
        billed=True if kind is FaultKind.SERVER_ERROR and dice.random() < 0.5 else None,
    )
