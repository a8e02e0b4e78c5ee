"""Runs a plan in a sandbox: a private overlay of the file system that is discarded, and loopback only; for tests of SWE-agent.

    unshare --mount --net --propagation private python sandbox.py PLAN.json

The plan names the directory that is kept (`keep`), the model server's arguments, the commands, which run at the same time, and the signals
that they get, each once the server has logged so many calls. SWE-agent's
local deployment writes to /root and to a directory of the root, so without a sandbox its runs would change this machine. Needs root.
Results: `keep`/N.log and `keep`/N.status for each command, counted from 0.
"""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

PORT = 8123
HERE = Path(__file__).resolve().parent


def mount(*args: str) -> None:
    subprocess.run(["mount", *args], check=True)


def enter(keep: Path, visible: list[str]) -> None:
    """Make the overlay and change root to it. Directories on other file systems are bind-mounted: an overlay does not include them."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    layers = keep / "layers"
    layers.mkdir(exist_ok=True)
    mount("-t", "tmpfs", "tmpfs", str(layers))
    root = layers / "root"
    for name in ("upper", "work", "root"):
        (layers / name).mkdir()
    mount("-t", "overlay", "overlay", "-o", f"lowerdir=/,upperdir={layers}/upper,workdir={layers}/work", str(root))
    for name in ("proc", "sys", "dev"):
        mount("--rbind", f"/{name}", str(root / name))
    for path in visible:
        if Path(path).stat().st_dev != Path("/").stat().st_dev:
            bind(Path(path), root)
    bind(keep, root)
    os.chroot(root)
    os.chdir(keep)


def bind(path: Path, root: Path) -> None:
    inside = root / path.relative_to("/")
    inside.mkdir(parents=True, exist_ok=True)
    mount("--bind", str(path), str(inside))


def wait_for_server() -> None:
    for _ in range(100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", PORT)) == 0:
                return
        time.sleep(0.1)
    sys.exit("the model server did not start")


def wait_for_calls(log: Path, calls: int, running: list[subprocess.Popen[bytes]]) -> None:
    while log.read_text().count("\n") < calls and any(process.poll() is None for process in running):
        time.sleep(0.1)
    time.sleep(0.5)  # two signals of a person are not at the same moment


def main() -> None:
    plan: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text())
    keep = Path(plan["keep"])
    enter(keep, plan["visible"])
    # swe-rex's shells source it; a slow one breaks their detection of the prompt
    Path("/root/.bashrc").write_text(f'export PATH="{plan["env"]["PATH"]}"\n')
    with Path("/etc/hosts").open("a") as hosts:  # a second name of the server, for behaviour that differs for loopback addresses
        hosts.write("127.0.0.1 localhost models.example.invalid\n")
    server_args = [sys.executable, str(HERE / "model_server.py"), "--port", str(PORT), "--log", str(keep / "calls.jsonl"), *plan["server"]]
    server = subprocess.Popen(server_args)
    try:
        wait_for_server()
        running = []
        for number, args in enumerate(plan["commands"]):
            log = (keep / f"{number}.log").open("w")
            running.append(subprocess.Popen(args, env=plan["env"], stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT))
        for calls, number in plan["signals"]:
            wait_for_calls(keep / "calls.jsonl", calls, running)
            for process in running:
                process.send_signal(number)
        for number, process in enumerate(running):
            (keep / f"{number}.status").write_text(str(process.wait(timeout=plan["timeout_s"])))
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
