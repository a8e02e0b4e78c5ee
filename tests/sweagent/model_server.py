"""A model server on loopback for SWE-agent's tasks: answers chat completions, bills, throttles and fails as configured; knows no Paymaster.

    python model_server.py --port 8123 --log calls.jsonl [--rpm N [--window-s S]] [--fault MODEL=KIND[*TIMES][@AFTER]] …
                           [--outage KIND@AFTER=S]

A marker in the problem statement describes a task: `(task=toy-1 repo=r1 looks=2 trouble=context@3)`. The model looks around `looks` times,
fixes calc.py, and submits until it is done; `trouble` makes the model fail in that task from the given step on (counted from 0). With
`agent=mini` it submits as mini-swe-agent does. An outage begins after so many answers and lasts so many seconds; `refused` closes the port
and all connections.
Each line of the log is one request: its task, model, status and bill. Uses the standard library only.
"""

import argparse
import json
import re
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

INPUT_NANOUSD, OUTPUT_NANOUSD = 1000, 4000
ANSWER_TOKENS = 50

REFUSALS: Mapping[str, tuple[int, str, str]] = {
    "throttled": (429, "rate_limit_exceeded", "Rate limit reached for requests"),
    "quota": (429, "insufficient_quota", "You exceeded your current quota"),
    "down": (503, "server_error", "Overloaded"),
    "overloaded": (529, "overloaded_error", "Overloaded"),
    "crowded": (429, "rate_limit_exceeded", "Too many requests"),
    "broken": (400, "invalid_request_error", "Invalid value for 'temperature'"),
    "key": (401, "invalid_api_key", "Incorrect API key provided"),
    "unknown": (404, "model_not_found", "The model does not exist"),
    "context": (
        400,
        "context_length_exceeded",
        "This model's maximum context length is 8192 tokens. Please reduce the length of the messages.",
    ),
    "content": (400, "content_policy_violation", "Your request was rejected as a result of our safety system."),
}


def text_of(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, list):
        return "\n".join(part.get("text", "") for part in content)
    return content or ""


def extra_in(message: Mapping[str, Any], name: str) -> bool:
    """Whether the message or one of its parts has a field that is not in the schema."""
    content = message.get("content")
    return name in message or (isinstance(content, list) and any(name in part for part in content))


def marker_in(messages: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    prompt = "\n".join(text_of(message) for message in messages if message["role"] in {"user", "system"})
    found = re.search(r"\((task=[^)]*)\)", prompt)
    return dict(pair.split("=", 1) for pair in found[1].split()) if found else {}


def next_move(request: Mapping[str, Any], marker: Mapping[str, str], step: int) -> dict[str, Any]:
    """The answer's message: a tool call where tools are offered, else a command in the text."""
    repo, looks = marker.get("repo", "."), int(marker.get("looks", "0"))
    check = "python3 -c 'import calc; assert calc.add(2, 3) == 5'"
    fix = f"cd /{repo} && sed -i 's/return a - b/return a + b/' calc.py && {check}; rm -rf __pycache__"
    tools = {tool["function"]["name"] for tool in request.get("tools") or ()}
    if "Please rate" in text_of(request["messages"][-1]):
        return {"role": "assistant", "content": "It is fine.\n\n8"}
    if "Please choose" in text_of(request["messages"][-1]):
        return {"role": "assistant", "content": "The second one.\n\n1"}
    command = f"ls /{repo}" if step < looks else fix if step == looks else None
    if not tools:
        return {"role": "assistant", "content": f"DISCUSSION\nStep {step}.\n\n```\n{command or 'submit'}\n```\n"}
    if command is None and marker.get("agent") == "mini":
        command = f"cd /{repo} && echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT && git diff -- calc.py"
    function = {"name": "submit", "arguments": "{}"} if command is None else {"name": "bash", "arguments": json.dumps({"command": command})}
    answer = {
        "role": "assistant",
        "content": f"Step {step}.",
        "tool_calls": [{"id": f"call_{step}", "type": "function", "function": function}],
    }
    if "thinks" in marker:
        answer["thinking_blocks"] = [{"type": "thinking", "thinking": "Hm.", "signature": "readable by its maker only"}]
    return answer


class Outage:
    """A time in which every request fails, by its kind: from the answer after which it begins, for so many seconds."""

    def __init__(self, spec: str) -> None:
        self.kind, _, times = spec.partition("@")
        after, _, seconds = times.partition("=")
        self._left, self._lasts_s = int(after or 0), float(seconds or 0)
        self._ends_at: float | None = None
        self.began = threading.Event()

    def is_on(self) -> bool:
        """Whether it has begun, and not ended."""
        return self._ends_at is not None and time.monotonic() < self._ends_at

    def left_s(self) -> float:
        """How long it will last."""
        return max(0.0, (self._ends_at or 0) - time.monotonic())

    def answered(self) -> None:
        """Count an answer."""
        self._left -= 1
        if self.kind and self._left <= 0 and self._ends_at is None:
            self._ends_at = time.monotonic() + self._lasts_s
            self.began.set()


class Faults:
    """Decides which request fails, and how: by an outage, by model (so many times, or for ever), a task's `trouble`, or a rate limit."""

    def __init__(self, specs: Sequence[str], rpm: int, window_s: float, outage: Outage) -> None:
        self.rpm, self.window_s, self.outage = rpm, window_s, outage
        self._lock = threading.Lock()
        self._by_model: list[list[Any]] = []
        for spec in specs:
            model, _, fault = spec.partition("=")
            fault, _, after = fault.partition("@")
            kind, _, times = fault.partition("*")
            self._by_model.append([model, kind, int(times or 10**9), int(after or 0)])
        self._served: dict[str, deque[float]] = {}

    def pick(self, model: str, marker: Mapping[str, str], step: int) -> tuple[str | None, float]:
        """The kind of failure and, at the rate limit, the seconds until the next request fits."""
        trouble, _, since = marker.get("trouble", "").partition("@")
        if trouble and step >= int(since or 0):
            return trouble, 1
        with self._lock:
            if self.outage.is_on():
                return self.outage.kind, 1
            for entry in self._by_model:
                if entry[0] != model or entry[2] == 0:
                    continue
                if entry[3] > 0:
                    entry[3] -= 1
                else:
                    entry[2] -= 1
                    return entry[1], 1
            kind, after_s = self._rate_limit(model)
            if kind is None:
                self.outage.answered()
            return kind, after_s

    def _rate_limit(self, model: str) -> tuple[str | None, float]:
        now = time.monotonic()
        served = self._served.setdefault(model, deque())
        while served and served[0] <= now - self.window_s:
            served.popleft()
        if self.rpm and len(served) >= self.rpm:
            return "throttled", served[0] + self.window_s - now
        served.append(now)
        return None, 0


class Model(BaseHTTPRequestHandler):
    """Answers requests."""

    protocol_version = "HTTP/1.1"
    faults: Faults
    log_path: Path
    latency_s = 0.0
    lock = threading.Lock()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the parent's name for it
        """Nothing on the terminal."""

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        messages, model = request["messages"], request["model"]
        marker, step = marker_in(messages), sum(message["role"] == "assistant" for message in messages)
        kind, after_s = self.faults.pick(model, marker, step)
        if kind == "refused":  # the request came over a connection of before the outage
            self.close_connection = True
            return
        prompt_tokens = max(1, sum(len(text_of(message)) for message in messages) // 5)
        status = 200 if kind is None else REFUSALS[kind][0]
        self._log(
            at=time.time(),
            task=marker.get("task"),
            model=model,
            status=status,
            step=step,
            billed_nanousd=prompt_tokens * INPUT_NANOUSD + ANSWER_TOKENS * OUTPUT_NANOUSD if kind is None else 0,
            headers={name.lower(): value for name, value in self.headers.items() if name.lower().startswith(("x-", "user-agent"))},
            keys=sorted(request),
            marked=sum(extra_in(message, "cache_control") for message in messages),
            thinking=sum(extra_in(message, "thinking_blocks") for message in messages),
            ids=[call["id"] for message in messages for call in message.get("tool_calls") or ()],
            answered_ids=[message["tool_call_id"] for message in messages if message["role"] == "tool"],
            values={name: request[name] for name in ("temperature", "top_p", "max_tokens", "max_completion_tokens") if name in request},
        )
        time.sleep(self.latency_s)
        if kind is not None:
            _, code, message = REFUSALS[kind]
            headers = {"Retry-After": f"{max(1, round(after_s + 0.5))}"} if kind == "throttled" else {}
            self._send(status, {"error": {"message": message, "type": code, "code": code, "param": None}}, headers)
            return
        answer = next_move(request, marker, step)
        usage = {"prompt_tokens": prompt_tokens, "completion_tokens": ANSWER_TOKENS, "total_tokens": prompt_tokens + ANSWER_TOKENS}
        choice = {"index": 0, "message": answer, "finish_reason": "tool_calls" if "tool_calls" in answer else "stop"}
        self._send(
            200, {"id": "chatcmpl-0", "object": "chat.completion", "created": 0, "model": model, "choices": [choice], "usage": usage}
        )

    def _log(self, **entry: object) -> None:
        with self.lock, self.log_path.open("a", encoding="utf-8") as log:
            log.write(json.dumps(entry) + "\n")

    def _send(self, status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--rpm", type=int, default=0)
    parser.add_argument("--window-s", type=float, default=60)
    parser.add_argument("--latency-s", type=float, default=0)
    parser.add_argument("--fault", action="append", default=[])
    parser.add_argument("--outage", default="")
    given = parser.parse_args()
    given.log.touch()
    outage = Outage(given.outage)
    Model.faults, Model.log_path, Model.latency_s = Faults(given.fault, given.rpm, given.window_s, outage), given.log, given.latency_s
    first = Server(("127.0.0.1", given.port), Model)
    if outage.kind == "refused":
        threading.Thread(target=close_during, args=(outage, first), daemon=True).start()
        first.serve_forever()
        time.sleep(outage.left_s())
        first = Server(("127.0.0.1", given.port), Model)
    first.serve_forever()


class Server(ThreadingHTTPServer):
    """Serves each connection in a thread."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True


def close_during(outage: Outage, server: Server) -> None:
    """Refuse connections from the beginning of the outage."""
    outage.began.wait()
    server.shutdown()
    server.server_close()


if __name__ == "__main__":
    main()
