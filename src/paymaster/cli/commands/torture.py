"""`paymaster torture`: prove on this machine that a budget is a bound, under faults of every kind."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from paymaster.torture.plans import Load
    from paymaster.torture.runs import Verdict

HELP = """Prove on this machine that budgets hold.

Real worker processes spend one hard budget at a provider on loopback that fails and lies, while workers are killed and stopped, clocks jump
and the ledger is disturbed. The verdict is measured at the provider. Nothing of yours is touched; nothing leaves the machine.

\b
Example:
  paymaster torture                        one run, on a file
  paymaster torture --ledger redis         on a Redis server that is started for it, and killed meanwhile
  paymaster torture --seeds 200            many runs; 1 is the exit status if any is not clean
"""

DEFAULT_WORKERS, DEFAULT_CALLS = 4, 40
LARGEST_SEED = 10**9
FEWEST_CALLS = 25
"""Of all workers together: the smallest call there is has to be less than the 2 % of the budget that may stay unused."""


def torture(
    ledger: Annotated[
        str,
        typer.Option(
            "--ledger",
            metavar="URL",
            help="sqlite: (a file that is removed), redis (a server that is started), redis://host:port (one that runs; a name of its own "
            "on it is used) or memory: (one worker, in this process).",
        ),
    ] = "sqlite:",
    workers: Annotated[int | None, typer.Option("--workers", min=1, max=64, metavar="N", help="Processes. Default 4.")] = None,
    calls: Annotated[
        int, typer.Option("--calls", min=5, max=10_000, metavar="N", help="Calls that the budget pays for, per worker.")
    ] = DEFAULT_CALLS,
    seed: Annotated[
        int | None,
        typer.Option("--seed", min=0, max=LARGEST_SEED, metavar="N", help="Repeat this plan. Default: a new one.", show_default=False),
    ] = None,
    seeds: Annotated[int, typer.Option("--seeds", min=1, max=100_000, metavar="N", help="Run so many, from the seed on.")] = 1,
    faults: Annotated[
        str,
        typer.Option(
            "--faults", metavar="LIST", help="all, none, or some of provider,cancel,kill,stop,clock,disk,restart,stall,cut, with commas."
        ),
    ] = "all",
    hosts: Annotated[
        int,
        typer.Option(
            "--hosts", min=0, max=16, metavar="N", help="Spread the workers over so many network namespaces (root, Linux; Redis only)."
        ),
    ] = 0,
) -> None:
    """See `HELP`."""
    import secrets
    import signal
    import sys
    from contextlib import nullcontext

    from paymaster.cli.terminal import write, write_note
    from paymaster.torture.netns import Hosts
    from paymaster.torture.runs import torture as run_one

    load = _load(ledger, workers, calls, faults, hosts)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # whoever ends it, its workers, servers and disks go with it
    first = secrets.randbelow(1_000_000) if seed is None else seed
    unclean = []
    with Hosts(hosts) if hosts else nullcontext() as network:
        for number in range(first, first + seeds):
            if seeds == 1:
                write_note(f"seed {number}: {load.workers} workers, {', '.join(sorted(load.faults)) or 'no faults'}")
            verdict = run_one(number, load, ledger, network)
            if not verdict.is_clean:
                unclean.append(number)
            write(_summary(verdict) if seeds > 1 and verdict.is_clean else _whole(verdict, _repeat(load, number, ledger, faults, hosts)))
            sys.stdout.flush()
    if seeds > 1:
        write(f"{seeds - len(unclean)} of {seeds} verdicts are clean" + (f"; not: {', '.join(map(str, unclean))}" if unclean else ""))
    if unclean:
        raise typer.Exit(1)


def _load(ledger: str, workers: int | None, calls: int, faults: str, hosts: int) -> "Load":
    """What the flags mean together. Raises UsageMistake where they contradict each other."""
    from paymaster.errors import UsageMistake
    from paymaster.torture.ledgers import kind_of_ledger
    from paymaster.torture.plans import LedgerKind, Load, read_faults

    ledger_kind = kind_of_ledger(ledger)
    if ledger_kind is LedgerKind.MEMORY and workers not in (None, 1):
        raise UsageMistake("a ledger in memory lives in one process", advice="Use --workers 1, or --ledger sqlite: for more.")
    if hosts and ledger_kind not in {LedgerKind.PRIVATE_SERVER, LedgerKind.SERVER}:
        raise UsageMistake("--hosts needs a ledger that machines can share", advice="Add --ledger redis or --ledger redis://host:port.")
    count = 1 if ledger_kind is LedgerKind.MEMORY else workers or DEFAULT_WORKERS
    if count * calls < FEWEST_CALLS:
        advice = f"All workers together make {FEWEST_CALLS} calls or more: raise --calls."
        raise UsageMistake(f"a budget for {count * calls} calls is too small to tell whether 98 % of it are used", advice=advice)
    return Load(ledger_kind=ledger_kind, workers=count, calls=calls, faults=read_faults(faults, ledger_kind))


def _repeat(load: "Load", seed: int, ledger: str, faults: str, hosts: int) -> str:
    """The line that runs the same plan again."""
    from paymaster.torture.ledgers import without_password

    words = f"paymaster torture --ledger {without_password(ledger)} --workers {load.workers} --calls {load.calls} --seed {seed}"
    return words + (f" --faults {faults}" if faults != "all" else "") + (f" --hosts {hosts}" if hosts else "")


def _summary(verdict: "Verdict") -> str:
    bill = next(check.detail for check in verdict.checks)
    return f"seed {verdict.seed}: clean, {bill}, {verdict.took_s:.1f} s ({', '.join(verdict.disturbed) or 'undisturbed'})"


def _whole(verdict: "Verdict", repeat: str) -> str:
    width = max(len(check.name) for check in verdict.checks)
    lines = [f"  {'kept  ' if check.kept else 'BROKEN'}  {check.name:<{width}}  {check.detail}" for check in verdict.checks]
    head = f"seed {verdict.seed}, {verdict.took_s:.1f} s, disturbed by: {', '.join(verdict.disturbed) or 'nothing'}"
    broken = ", ".join(check.name for check in verdict.checks if not check.kept)
    tail = "clean" if verdict.is_clean else f"NOT CLEAN: {broken}"
    kept = [f"bill, journal and events: {verdict.folder}"] if verdict.folder is not None else []
    return "\n".join([head, *lines, tail, *kept, f"repeat: {repeat}"])
