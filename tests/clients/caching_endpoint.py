"""A simulated endpoint for messages with a prompt cache: reads and writes follow the markers of a request, by prefix; knows no gateway."""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from clients.answers_written import events
from clients.bills import Usage
from clients.requests_read import read
from clients.scripted_job import next_answer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import Self

Object = dict[str, Any]
LOOKBACK = 20
"""How many blocks before a marker a cached prefix may end (platform.claude.com/docs, prompt caching)."""
MARKER = "cache_control"


@dataclass(frozen=True, slots=True)
class Cached:
    """Tokens of one prompt, by how they are billed."""

    read_tokens: int = 0
    written_tokens: int = 0
    input_tokens: int = 0

    def __add__(self, other: Cached) -> Cached:
        return Cached(
            self.read_tokens + other.read_tokens, self.written_tokens + other.written_tokens, self.input_tokens + other.input_tokens
        )


@dataclass(slots=True)
class PromptCache:
    """The prefixes that were written so far."""

    known: set[str] = field(default_factory=set)

    def take(self, body: Object) -> Cached:
        """Bill the prompt of a request, and remember its marked prefixes."""
        digest, prefixes, sizes, marks = hashlib.sha256(), list[str](), list[int](), list[int]()
        for block, marked in blocks_of(body):
            text = json.dumps(block, sort_keys=True).encode()
            digest.update(text)
            prefixes.append(digest.hexdigest())
            sizes.append(1 + len(text) // 4)
            if marked:
                marks.append(len(sizes))
        if not marks:
            return Cached(input_tokens=sum(sizes))
        found = [end for mark in marks for end in range(max(1, mark - LOOKBACK), mark + 1) if prefixes[end - 1] in self.known]
        start, last = max(found, default=0), marks[-1]
        self.known.update(prefixes[mark - 1] for mark in marks)
        end = max(start, last)
        return Cached(sum(sizes[:start]), sum(sizes[start:end]), sum(sizes[end:]))


def blocks_of(body: Object) -> Iterator[tuple[object, bool]]:
    """The blocks of a prompt in the order of the cache, without their markers, and whether each has one."""
    for tool in body.get("tools") or []:
        yield without_marker(tool)
    for block in listed(body.get("system")):
        yield without_marker(block)
    for message in body["messages"]:
        for block in listed(message["content"]):
            plain, marked = without_marker(block)
            yield {"role": message["role"], "block": plain}, marked


def listed(content: object) -> list[Object]:
    """A content as a list of blocks: a text is one."""
    if isinstance(content, list):
        return content
    return [{"type": "text", "text": content}] if isinstance(content, str) else []


def without_marker(block: Object) -> tuple[Object, bool]:
    """The block without its marker, and whether it had one."""
    return {name: value for name, value in block.items() if name != MARKER}, MARKER in block


class CachingEndpoint:
    """The server. `requests` are the bodies that came, `headers` their headers, `prompts` how each was billed."""

    def __init__(self) -> None:
        self.requests: list[Object] = []
        self.headers: list[dict[str, str]] = []
        self.prompts: list[Cached] = []
        cache, outer = PromptCache(), self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["content-length"]))
                body = json.loads(raw)
                outer.requests.append(body)
                outer.headers.append({name.lower(): value for name, value in self.headers.items()})
                outer.prompts.append(cache.take(body))
                data = outer.answer(body, len(raw), outer.prompts[-1])
                self.send_response(200)
                self.send_header("content-type", "text/event-stream")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def do_HEAD(self) -> None:
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def answer(self, body: Object, size: int, prompt: Cached) -> bytes:
        """The events of the next step of the job. Ids and signatures are the same in every run."""
        usage = {
            "input_tokens": prompt.input_tokens, "cache_read_input_tokens": prompt.read_tokens,
            "cache_creation_input_tokens": prompt.written_tokens, "output_tokens": 20,
        }  # fmt: skip
        data = b""
        asked = read("messages", body, size)
        for event in events("messages", "simulated", next_answer(asked, "thinks"), Usage(0, 0, 20), counts_shown=True):
            said = json.loads(json.dumps(event.data))
            if "message" in said:
                said["message"] |= {"model": asked.model, "usage": usage}
            if said["type"] == "message_delta":
                said["usage"] = usage
            if said.get("content_block", {}).get("type") == "tool_use":
                said["content_block"]["id"] = f"toolu_{len(self.requests)}_{said['index']}"
            data += f"event: {said['type']}\ndata: {json.dumps(said)}\n\n".encode()
        return data

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
