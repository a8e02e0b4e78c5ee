"""Shows twenty faults of a provider to a gateway with one fallback and tight time limits, and what the client got, call by call.

    python benchmarks/bench_failover.py [--recovery off|hold_back] [--only WORDS]

Each row is one streamed call through a gateway of its own, to a loopback provider that keeps its own bill (`tests/failover.py`). `whole`:
the client got the whole text; `refused`: the one error that is right. The ledger must have the bill, or what attempts of unknown bill may
have cost besides. Bar: all twenty, held back; otherwise four streams that broke are no answers. About ten seconds.
"""

import argparse
import importlib.util
import logging
import os
import sys
import tempfile
from pathlib import Path
from types import ModuleType

SCENARIOS = Path(__file__).resolve().parent.parent / "tests" / "failover.py"


def main() -> int:
    """Run the scenarios; 1 if one of them misses and streams are held back."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--recovery", choices=("off", "hold_back"), default="hold_back")
    parser.add_argument("--only", default="")
    asked = parser.parse_args()
    for name in [name for name in os.environ if name.startswith("PAYMASTER_") or name.lower().endswith("_proxy")]:
        del os.environ[name]
    logging.getLogger("paymaster").setLevel(logging.CRITICAL)
    failover = scenarios()
    chosen = [each for each in failover.SCENARIOS if asked.only in each.name]
    print(f"{'fault of the first model':28} {'status':>6}  {'client got':16} {'billed':>6} {'bill':>9} {'ledger':>9} {'time':>6}")
    met = 0
    for scenario in chosen:
        with tempfile.TemporaryDirectory() as directory:
            outcome = failover.run(scenario, Path(directory), asked.recovery)
        missed = outcome.misses(scenario)
        met += not missed
        got = "BROKEN" if missed else "refused" if scenario.code else "whole"
        figures = f"{outcome.billed:6} {dollars(outcome.billed_nanousd)} {dollars(outcome.ledger_nanousd)} {outcome.took_s:5.1f}s"
        print(f"{scenario.name:28} {outcome.status:6}  {got:16} {figures}  {missed}", flush=True)
    print(f"{met} of {len(chosen)} whole or rightly refused, stream_recovery: {asked.recovery} (bar with hold_back: all)")
    return 1 if asked.recovery == "hold_back" and met < len(chosen) else 0


def scenarios() -> ModuleType:
    """The scenarios of the tests."""
    spec = importlib.util.spec_from_file_location("failover", SCENARIOS)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["failover"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def dollars(nanousd: int) -> str:
    """A cost in a column of its own."""
    return f"{nanousd / 1_000_000_000:9.6f}"


if __name__ == "__main__":
    sys.exit(main())
