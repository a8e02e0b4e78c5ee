"""`paymaster torture`: shows on this machine that a budget is a bound, under faults of every kind."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from paymaster.torture.plans import Workload
    from paymaster.torture.runs import RunResult

HELP = """Prove on this machine that budgets hold.

Real worker processes spend one hard budget at a provider on loopback that fails and lies. Meanwhile workers are killed and stopped, clocks
jump, and the ledger is disturbed or lost. The verdict is measured at the provider. Your own files and ledgers are not touched, and nothing
leaves the machine.

\b
Example:
  paymaster torture                        one run, on a file
  paymaster torture --ledger redis         on a Redis server of its own
  paymaster torture --seeds 200            200 runs, on files

The exit status is 1 if a run is not clean.
"""

FAULTS_HELP = (
    "all, none, or some of provider, cancel, kill, stop, clock, mixed, disk, restart, stall, cut, remove, rename, move, wal, shm, "
    "rollback, empty, flush, swapdb; with commas between them."
)
DEFAULT_WORKERS, DEFAULT_CALLS = 4, 40
LARGEST_SEED = 10**9
FEWEST_CALLS = 25
"""Of all workers together: the smallest call has to cost less than the 2 % of the budget that may stay unused."""


def torture(
    ledger: Annotated[
        str,
        typer.Option(
            "--ledger",
            metavar="URL",
            help="sqlite: (a temporary file), redis (a server that is started for the run), redis://host:port (a running server, under a "
            "new ledger name) or memory: (one worker, in this process).",
        ),
    ] = "sqlite:",
    workers: Annotated[int | None, typer.Option("--workers", min=1, max=64, metavar="N", help="Processes. Default 4.")] = None,
    calls: Annotated[
        int, typer.Option("--calls", min=5, max=10_000, metavar="N", help="Calls that the budget pays for, per worker.")
    ] = DEFAULT_CALLS,
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed", min=0, max=LARGEST_SEED, metavar="N", help="Repeat the plan of this seed. Default: a new seed.", show_default=False
        ),
    ] = None,
    seeds: Annotated[int, typer.Option("--seeds", min=1, max=100_000, metavar="N", help="The number of runs, from the seed on.")] = 1,
    faults: Annotated[
        str,
        typer.Option("--faults", metavar="LIST", help=FAULTS_HELP),
    ] = "all",
    hosts: Annotated[
        int,
        typer.Option(
            "--hosts", min=0, max=16, metavar="N", help="Spread the workers over N network namespaces (root on Linux; Redis only)."
        ),
    ] = 0,
) -> None:
    """See `HELP`."""
    import secrets
    import signal
    import sys
    from contextlib import nullcontext

    from paymaster.cli.terminal import write, write_note
    from paymaster.torture.netns import NetworkNamespaces
    from paymaster.torture.runs import torture as run_one

    workload = _workload(ledger, workers, calls, faults, hosts)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that workers, servers and disks are cleaned up
    first = secrets.randbelow(1_000_000) if seed is None else seed
    unclean = []
    with NetworkNamespaces(hosts) if hosts else nullcontext() as network:
        for number in range(first, first + seeds):
            if seeds == 1:
                write_note(f"seed {number}: {workload.workers} workers, {', '.join(sorted(workload.faults)) or 'no faults'}")
            result = run_one(number, workload, ledger, network)
            if not result.is_clean:
                unclean.append(number)
            write(_summary(result) if seeds > 1 and result.is_clean else _details(result, _repeat(workload, number, ledger, faults, hosts)))
            sys.stdout.flush()
    if seeds > 1:
        write(f"{seeds - len(unclean)} of {seeds} verdicts are clean" + (f"; not: {', '.join(map(str, unclean))}" if unclean else ""))
    if unclean:
        raise typer.Exit(1)


def _workload(ledger: str, workers: int | None, calls: int, faults: str, hosts: int) -> "Workload":
    """The workload that the flags describe. Raises UsageMistake if they contradict each other."""
    from paymaster.errors import UsageMistake
    from paymaster.torture.faults import LedgerKind, read_faults
    from paymaster.torture.ledger_under_test import kind_of_ledger
    from paymaster.torture.plans import Workload

    ledger_kind = kind_of_ledger(ledger)
    if ledger_kind is LedgerKind.MEMORY and workers not in (None, 1):
        raise UsageMistake("a memory ledger can not be shared between processes", advice="Use --workers 1, or --ledger sqlite: for more.")
    if hosts and ledger_kind not in {LedgerKind.PRIVATE_SERVER, LedgerKind.SERVER}:
        raise UsageMistake(
            "--hosts needs a ledger that several machines can share", advice="Add --ledger redis or --ledger redis://host:port."
        )
    count = 1 if ledger_kind is LedgerKind.MEMORY else workers or DEFAULT_WORKERS
    if count * calls < FEWEST_CALLS:
        advice = f"Raise --calls: all workers together need {FEWEST_CALLS} calls or more."
        raise UsageMistake(f"a budget for {count * calls} calls is too small to check that 98 % of it are used", advice=advice)
    return Workload(ledger_kind=ledger_kind, workers=count, calls=calls, faults=read_faults(faults, ledger_kind))


def _repeat(workload: "Workload", seed: int, ledger: str, faults: str, hosts: int) -> str:
    """The command that runs the same plan again."""
    from paymaster.torture.ledger_under_test import without_password

    command = f"paymaster torture --ledger {without_password(ledger)} --workers {workload.workers} --calls {workload.calls} --seed {seed}"
    return command + (f" --faults {faults}" if faults != "all" else "") + (f" --hosts {hosts}" if hosts else "")


def _summary(result: "RunResult") -> str:
    bill = next(check.detail for check in result.checks)
    return f"seed {result.seed}: clean, {bill}, {result.took_s:.1f} s ({', '.join(result.disturbed) or 'undisturbed'})"


def _details(result: "RunResult", repeat: str) -> str:
    width = max(len(check.name) for check in result.checks)
    lines = [f"  {'kept  ' if check.kept else 'BROKEN'}  {check.name:<{width}}  {check.detail}" for check in result.checks]
    head = f"seed {result.seed}, {result.took_s:.1f} s, disturbed by: {', '.join(result.disturbed) or 'nothing'}"
    broken = ", ".join(check.name for check in result.checks if not check.kept)
    tail = "clean" if result.is_clean else f"NOT CLEAN: {broken}"
    kept = [f"bill, journal and events: {result.folder}"] if result.folder is not None else []
    return "\n".join([head, *lines, tail, *kept, f"repeat: {repeat}"])
