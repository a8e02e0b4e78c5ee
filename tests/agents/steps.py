"""Answers of simulated models for mini-swe-agent, their prices, and the command line of a `paymaster` process."""

import sys

PRICES = {"usd_per_1k_input": "0.001", "usd_per_1k_output": "0.002"}
SUBMIT = "echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT"


def bash(command: str, text: str = "Next.") -> dict[str, object]:
    """An answer that calls mini's only tool."""
    return {"text": text, "tool_calls": [{"name": "bash", "arguments": {"command": command}}]}


def paymaster(*args: str) -> list[str]:
    """The command line."""
    return [sys.executable, "-c", "import sys; from paymaster.cli import main; sys.exit(main())", *args]
