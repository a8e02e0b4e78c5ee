"""Callers of the command line: each call is a `paymaster ask` of its own, as installed; knows its exit statuses."""

import os
import subprocess
import sys
import time

from paymaster.errors import BudgetExceeded, CallFailed, UsageMistake
from paymaster.torture.call_planner import CallPlanner, CallStyle
from paymaster.torture.pairing import COMMAND_USER
from paymaster.torture.plans import RUN
from paymaster.torture.worker_config import WorkerConfig

_TIMEOUT_S = 60


def call_command(config: WorkerConfig, planner: CallPlanner) -> None:
    """The calls of one worker."""
    flags = (
        "--model-registry",
        config.registry,
        "--ledger",
        config.ledger,
        "--state-dir",
        config.state_dir,
        "--run-id",
        RUN,
        "--user",
        COMMAND_USER,
    )
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PAYMASTER_")}
    while not planner.is_done:
        call = planner.next()
        whole = ("--no-stream",) if call.style is CallStyle.WHOLE else ()
        prompt = str(call.messages[0]["content"])
        command = [sys.executable, "-m", "paymaster", "ask", *flags, *whole, "--max-tokens", str(call.max_tokens), prompt]
        try:
            ended = subprocess.run(command, env=environ, capture_output=True, timeout=_TIMEOUT_S, check=False)  # noqa: S603 - this program
            _count(ended.returncode, ended.stderr.decode("utf-8", "replace"), planner)
        finally:
            planner.check_time()


def _count(status: int, errors: str, planner: CallPlanner) -> None:
    about_ledger = "ledger" in errors.lower()
    match status:
        case 0:
            planner.counts["answered"] += 1
        case BudgetExceeded.exit_status:
            planner.refused_by_budget("BudgetExceeded")
        case CallFailed.exit_status | UsageMistake.exit_status if about_ledger and "traceback" not in errors.lower():
            time.sleep(planner.refused_by_ledger("ledger error"))
        case CallFailed.exit_status if "traceback" not in errors.lower():
            planner.counts["CallFailed"] += 1
        case _:
            raise RuntimeError(f"paymaster ask ended with status {status}: {errors}")
