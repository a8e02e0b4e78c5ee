"""The measured part of bench_sweagent.py, run by a Python that has SWE-agent: prints one line of JSON with its figures."""

import time

STARTED_S = time.perf_counter()

import json  # noqa: E402  the clock starts before anything is imported
import subprocess  # noqa: E402  as above
import sys  # noqa: E402  as above
from collections.abc import Callable  # noqa: E402  as above
from pathlib import Path  # noqa: E402  as above
from statistics import median  # noqa: E402  as above

ROUNDS, CALLS_PER_ROUND = 9, 20
PROCESSES = 5

HISTORY = [
    {"role": "system", "content": "You can use a computer to solve tasks.", "agent": "main", "message_type": "system_prompt"},
    {"role": "user", "content": "Fix the bug in this repository. " * 40, "agent": "main", "message_type": "observation"},
]
for step in range(9):
    call = {
        "id": f"call_{step}",
        "type": "function",
        "function": {"name": "bash", "arguments": json.dumps({"command": f"sed -n {step},99p calc.py"})},
    }
    HISTORY.append({"role": "assistant", "content": f"Step {step}: I look at the file.", "tool_calls": [call], "agent": "main"})  # type: ignore[dict-item]  # as SWE-agent's history is
    HISTORY.append(
        {"role": "tool", "content": f"OBSERVATION {step}:\n" + "def add(a, b):\n    return a - b\n" * 30, "tool_call_ids": [f"call_{step}"]}
    )  # type: ignore[dict-item]  # as above


def start_up(kind: str, registry: str, directory: str) -> None:
    """Time from the program's first line to SWE-agent's first model, plain or as `paymaster sweagent run`; prints wall and CPU seconds."""
    settings = {"per_instance_cost_limit": 0, "total_cost_limit": 0, "max_input_tokens": 100_000}
    if kind == "plain":
        from sweagent.agent import models as module
        from sweagent.tools.tools import ToolConfig

        module.LiteLLMModel(module.GenericAPIModelConfig(name="openai/m-plain", **settings), ToolConfig())
    else:
        from paymaster.agents.sweagent import launcher, registry_run

        flags = launcher.parse_flags(["run", f"--model-registry={registry}", f"--state-dir={directory}"])
        plan = registry_run.read_plan(flags, launcher.split_command(flags.args, [], Path(directory)))
        from sweagent.agent import models as module
        from sweagent.tools.tools import ToolConfig

        from paymaster.agents.sweagent.patches import ModelRequest
        from paymaster.agents.sweagent.registry import RequestedModel

        session = plan.open_session(ModelRequest((RequestedModel(name="primary", calls_functions=True),)))
        from paymaster.agents.sweagent.model import PaymasterLiteLLMModel

        bound = type("Bound", (PaymasterLiteLLMModel,), {"session": session})
        bound(module.GenericAPIModelConfig(name="primary", **settings), ToolConfig())
    print(time.perf_counter() - STARTED_S, time.process_time())


def seconds_to_start(kind: str) -> tuple[float, float]:
    """Wall and CPU seconds of one start in a new process; other load on the machine changes only the first."""
    done = subprocess.run([sys.executable, *sys.argv, kind], capture_output=True, text=True, check=True)
    wall_s, cpu_s = done.stdout.splitlines()[-1].split()
    return float(wall_s), float(cpu_s)


def models(base: str, registry: str, directory: str) -> tuple[Callable[[], object], Callable[[], object]]:
    """`query` of a plain model and of one under the registry."""
    from sweagent.agent import models as module
    from sweagent.tools.tools import ToolConfig

    from paymaster.agents.sweagent import launcher, registry_run
    from paymaster.agents.sweagent.model import PaymasterLiteLLMModel
    from paymaster.agents.sweagent.patches import ModelRequest
    from paymaster.agents.sweagent.registry import RequestedModel

    tools = ToolConfig()
    free = {"per_instance_cost_limit": 0, "total_cost_limit": 0, "max_input_tokens": 100_000}
    plain = module.LiteLLMModel(module.GenericAPIModelConfig(name="openai/m-plain", api_base=base, api_key="sk-none", **free), tools)
    flags = launcher.parse_flags(["run", f"--model-registry={registry}", f"--state-dir={directory}"])
    plan = registry_run.read_plan(flags, launcher.split_command(flags.args, [], Path(directory)))
    session = plan.open_session(ModelRequest((RequestedModel(name="primary", calls_functions=True),)))
    ours = type("Bound", (PaymasterLiteLLMModel,), {"session": session})(module.GenericAPIModelConfig(name="primary", **free), tools)
    return (lambda: plain.query(HISTORY)), (lambda: ours.query(HISTORY))


def timed(call: Callable[[], object]) -> tuple[float, float]:
    """Milliseconds of wall time and of CPU per call."""
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    for _ in range(CALLS_PER_ROUND):
        call()
    return (time.perf_counter() - wall_s) / CALLS_PER_ROUND * 1e3, (time.process_time() - cpu_s) / CALLS_PER_ROUND * 1e3


def main() -> None:
    base, registry, directory = sys.argv[1:4]
    if len(sys.argv) > 4:
        start_up(sys.argv[4], registry, directory)
        return
    plain, ours = models(base, registry, directory)
    for call in (plain, ours):
        for _ in range(5):
            call()
    rounds = [(timed(plain), timed(ours)) for _ in range(ROUNDS)]
    seconds_to_start("ours")  # from then on its bytecode is cached, as SWE-agent's is
    starts = [(seconds_to_start("plain"), seconds_to_start("ours")) for _ in range(PROCESSES)]
    figures = {
        "plain_ms": median(plain[0] for plain, _ in rounds),
        "plain_cpu_ms": median(plain[1] for plain, _ in rounds),
        "ours_ms": median(ours[0] for _, ours in rounds),
        "ours_cpu_ms": median(ours[1] for _, ours in rounds),
        "plain_start_s": median(plain[0] for plain, _ in starts),
        "added_start_s": median(ours[0] - plain[0] for plain, ours in starts),
        "added_start_cpu_s": median(ours[1] - plain[1] for plain, ours in starts),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
