"""A mixed attack on one hard budget: threads, tasks, a fork, a gateway and the command line, while everything is disturbed.

Workers are killed and stopped, clocks are a day late and jump an hour ahead, disks fill up, servers are cut and restarted, the provider
lies, and the ledger is taken from its place and put back. The bars: nothing is billed beyond the budget, at least 97 % of it is used, and
every other promise of `paymaster torture` is kept.

    python benchmarks/bench_mixed_attack.py --runs 1 --ledger sqlite:
"""

import argparse
import secrets
import sys

from paymaster.torture.faults import LedgerKind, read_faults
from paymaster.torture.ledger_under_test import kind_of_ledger
from paymaster.torture.mixed_attack import make_attack
from paymaster.torture.private_server import is_installed
from paymaster.torture.runs import RunResult, run_plan


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--ledger", action="append", help="sqlite: or redis; default: both, if a server is installed")
    parser.add_argument("--runs", type=int, default=3, help="of each ledger; default 3")
    parser.add_argument("--calls", type=int, default=40, help="that the budget pays for, per worker; default 40")
    parser.add_argument("--seed", type=int, help="of the first run; default: a new one")
    parser.add_argument("--faults", default="all", help="as of paymaster torture; default all")
    chosen = parser.parse_args()
    ledgers = chosen.ledger or ["sqlite:", *(["redis"] if is_installed() else [])]
    first = secrets.randbelow(1_000_000) if chosen.seed is None else chosen.seed
    clean = [
        report(ledger, run_plan(make_attack(seed, kind, chosen.calls, read_faults(chosen.faults, kind)), ledger))
        for ledger in ledgers
        for kind in [attacked(ledger)]
        for seed in range(first, first + chosen.runs)
    ]
    print(f"{sum(clean)} of {len(clean)} runs kept every promise")
    return 0 if all(clean) else 1


def attacked(ledger: str) -> LedgerKind:
    kind = kind_of_ledger(ledger)
    if kind is LedgerKind.MEMORY:
        sys.exit("a memory ledger can not be shared between processes: use sqlite: or redis")
    return kind


def report(ledger: str, result: RunResult) -> bool:
    print(f"{ledger} seed {result.seed}, {result.took_s:.1f} s, disturbed by: {', '.join(result.disturbed)}")
    for check in result.checks:
        print(f"  {'kept  ' if check.kept else 'BROKEN'}  {check.name}: {check.detail}")
    if result.folder is not None:
        print(f"  bill, journal and events: {result.folder}")
    return result.is_clean


if __name__ == "__main__":
    sys.exit(main())
