"""Starts and ends llama.cpp's server with a real model, and reads what it counted itself; knows no registry and asserts nothing."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.request import urlopen

PROGRAM = Path(__file__).resolve().parent / "model_server.py"


@dataclass(frozen=True, slots=True)
class Counted:
    """What the server counted: the tokens of all prompts, whether read or found in its cache, and of all answers."""

    prompt_tokens: int
    output_tokens: int

    def __sub__(self, earlier: Counted) -> Counted:
        return Counted(self.prompt_tokens - earlier.prompt_tokens, self.output_tokens - earlier.output_tokens)


class ModelServer:
    """One server in a process of its own. After `kill`, `start` starts another at the same address."""

    def __init__(self, *modes: str, context: int = 2_048) -> None:
        self._args = [str(context), *modes]
        self._process: subprocess.Popen[str] | None = None
        self.url = "http://127.0.0.1:0"

    def start(self) -> Self:
        """Start it, and return when it answers."""
        port = self.url.rpartition(":")[2]
        command = [sys.executable, str(PROGRAM), port, *self._args]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.url = self._process.stdout.readline().strip()
        assert self.url, "the model server did not start; its message is above"
        return self

    def kill(self) -> None:
        """End it as a crash does, in whatever it does."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def counted(self) -> Counted:
        """Its own counters."""
        read, cached, output = self._figures("prompt_tokens_total", "prompt_tokens_cached_total", "tokens_predicted_total")
        return Counted(read + cached, output)

    def wait_until_idle(self) -> None:
        """Return when it works on no request: only then are the counters complete."""
        while any(self._figures("requests_processing", "requests_deferred")):
            time.sleep(0.05)

    def _figures(self, *names: str) -> list[int]:
        with urlopen(f"{self.url}/metrics", timeout=60) as answer:  # noqa: S310  a server of this test
            text = answer.read().decode()
        return [int(re.search(rf"^llamacpp:{name} (\d+)$", text, re.MULTILINE)[1]) for name in names]
