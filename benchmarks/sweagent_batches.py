"""Whole batches of the real SWE-agent in the sandbox of its tests: a 429 storm, and a hard budget that two processes share; prints figures.

Needs what the tests need: SWE_AGENT_SRC, SWE_AGENT_VENV, and root for the sandbox. The bill is the model server's.
"""

import importlib.util
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

ALLOWED_RPM, WINDOW_S, STORM_TASKS = 60, 60.0, 29
STORM_BAR, BUDGET_BAR = 0.9, 0.95
BUDGET_NANOUSD, WORKERS, TASKS_EACH = 60_000_000, 4, 28

HARNESS = Path(__file__).resolve().parent.parent / "tests" / "sweagent" / "conftest.py"


def main() -> int:
    """Run both; return 1 if a bar is missed."""
    if os.geteuid() != 0:
        print("skipped: batches, as the sandbox for SWE-agent's local deployment needs root")
        return 0
    met = [storm(known=False), storm(known=True), budget()]
    return 0 if all(met) else 1


def new_bench(directory: str, timeout_s: int) -> Any:  # noqa: ANN401  the tests' own class, loaded by its path
    spec = importlib.util.spec_from_file_location("sweagent_harness", HARNESS)
    assert spec is not None
    assert spec.loader is not None
    harness = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = harness  # dataclasses look themselves up there
    spec.loader.exec_module(harness)
    (Path(directory) / "trajectories").mkdir()
    return harness.Bench(
        Path(directory), Path(os.environ["SWE_AGENT_VENV"]).absolute(), Path(os.environ["SWE_AGENT_SRC"]).absolute(), timeout_s
    )


def storm(*, known: bool) -> bool:
    """Eight workers on a provider that allows 60 requests in any 60 s; `known`: the registry has this limit."""
    with tempfile.TemporaryDirectory() as directory:
        bench = new_bench(directory, 580)
        batch = bench.tasks(STORM_TASKS, looks=4)
        keys = ", fallbacks: []" + (f", rpm: {ALLOWED_RPM}" if known else "")
        flags = [f"--model-registry={bench.registry(primary=keys)}", "--random_delay_multiplier=0.01"]
        bench.batch(batch, *flags, workers=8)
        outcome = bench.run(f"--rpm={ALLOWED_RPM}", f"--window-s={WINDOW_S}")
        submitted = sum(outcome.info(task.name)["exit_status"] == "submitted" and outcome.has_own_patch(task.name) for task in batch)
        served = sorted(call["at"] for call in outcome.calls if call["status"] == 200)
        throttled = sum(call["status"] == 429 for call in outcome.calls)
    # Whole windows only: in the last one, few requests may be left.
    windows = int((served[-1] - served[0]) / WINDOW_S)
    used = sum(at < served[0] + windows * WINDOW_S for at in served) / (windows * ALLOWED_RPM) if windows else 0
    knows = "the registry" if known else "the provider only"
    print(
        f"storm, limit known to {knows}: {submitted} of {len(batch)} submitted, {len(served)} answers "
        f"in {served[-1] - served[0]:.0f} s, {throttled} times 429, "
        f"{100 * used:.1f} % of the rate of {windows} whole minutes used (bar: all, {100 * STORM_BAR:.0f} %)"
    )
    return submitted == len(batch) and used >= STORM_BAR and outcome.statuses == [0]


def budget() -> bool:
    """Two processes with four workers each on one hard budget, which is far smaller than the work."""
    with tempfile.TemporaryDirectory() as directory:
        bench = new_bench(directory, 580)
        registry = bench.registry()
        halves = {half: [bench.task(f"{half}-{index}", looks=4) for index in range(TASKS_EACH)] for half in ("one", "two")}
        flags = [f"--model-registry={registry}", "--batch-id=b1", f"--budget-usd={BUDGET_NANOUSD / 1e9}", "--random_delay_multiplier=0.01"]
        for half, batch in halves.items():
            bench.batch(batch, *flags, workers=WORKERS, out=half)
        outcome = bench.run()
        answered = outcome.answered()
        with_work = [(task.name, half) for half, batch in halves.items() for task in batch if answered[task.name] > task.looks]
        lost = [name for name, half in with_work if not outcome.has_own_patch(name, half)]
        billed = outcome.billed_nanousd()
    share = billed / BUDGET_NANOUSD
    print(
        f"hard budget, 2 processes x {WORKERS} workers: {100 * share:.2f} % billed, {max(0, billed - BUDGET_NANOUSD)} nano-dollars over, "
        f"{len(lost)} of {len(with_work)} patches lost, exit statuses {outcome.statuses} (bar: 0 over, {100 * BUDGET_BAR:.0f} %, 0 lost)"
    )
    return billed <= BUDGET_NANOUSD and share >= BUDGET_BAR and not lost and outcome.statuses == [3, 3]


if __name__ == "__main__":
    sys.exit(main())
