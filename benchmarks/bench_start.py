"""Measures start-up times: `import paymaster`, a client, `paymaster --help`, each compared with the interpreter alone."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

RUNS = 9
COMMANDS = {
    "python, nothing": ([sys.executable, "-c", "pass"], None),
    "import paymaster": ([sys.executable, "-c", "import paymaster"], 150),
    "from paymaster import Client": ([sys.executable, "-c", "from paymaster import Client"], None),
    "paymaster --help": ([sys.executable, "-m", "paymaster", "--help"], 350),
}


def main() -> None:
    """Print the median of each in milliseconds. The commands take turns, so that changes of the machine's speed affect all."""
    taken: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(RUNS + 1):
        for name, (command, _) in COMMANDS.items():
            began = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            taken[name].append((time.perf_counter() - began) * 1e3)
    alone = statistics.median(taken["python, nothing"][1:])
    for name, (_, bar) in COMMANDS.items():
        median = statistics.median(taken[name][1:])
        print(f"{name:<30}{median:>8.0f} ms {median / alone:>6.1f} x the interpreter" + (f"   (bar {bar} ms)" if bar else ""))


if __name__ == "__main__":
    main()
