"""A server on loopback that speaks Anthropic's messages, and checks a history as the real one does."""

from __future__ import annotations

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

USAGE = {"input_tokens": 12, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 20}
_ID = re.compile(r"[a-zA-Z0-9_-]+")
_FIELDS = frozenset(
    {
        "model", "messages", "system", "tools", "tool_choice", "max_tokens", "stream", "stop_sequences", "metadata", "thinking",
        "output_config", "output_format", "service_tier", "temperature", "top_p", "top_k", "container", "context_management",
        "mcp_servers", "inference_geo", "speed", "cache_control", "fallbacks",
    }
)  # fmt: skip


def answer(*content: dict[str, object], stop: str = "end_turn", **more: object) -> dict[str, object]:
    """A whole answer."""
    return {
        "id": "msg_01", "type": "message", "role": "assistant", "model": "claude-real-name", "content": list(content),
        "stop_reason": stop, "stop_sequence": None, "usage": USAGE, **more,
    }  # fmt: skip


def text(said: str) -> dict[str, object]:
    return {"type": "text", "text": said}


def events_of(message: dict[str, object]) -> list[dict[str, object]]:
    """The events that stream a whole answer, each text and input in two pieces."""
    usage = message["usage"]
    assert isinstance(usage, dict)
    head = {**message, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 1}}
    events: list[dict[str, object]] = [{"type": "message_start", "message": head}, {"type": "ping"}]
    content = message["content"]
    assert isinstance(content, list)
    for index, block in enumerate(content):
        start, deltas = dict(block), list[dict[str, object]]()
        if block["type"] == "text":
            start["text"] = ""
            deltas += [{"type": "text_delta", "text": piece} for piece in _halves(block["text"])]
        elif block["type"] == "thinking":
            start |= {"thinking": "", "signature": ""}
            deltas += [{"type": "thinking_delta", "thinking": piece} for piece in _halves(block["thinking"])]
            deltas += [{"type": "signature_delta", "signature": block["signature"]}] if block["signature"] else []
        elif block["type"] in ("tool_use", "server_tool_use"):
            start["input"] = {}
            deltas += [
                {"type": "input_json_delta", "partial_json": piece} for piece in _halves(json.dumps(block["input"], separators=(",", ":")))
            ]
        events.append({"type": "content_block_start", "index": index, "content_block": start})
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    ending = {"stop_reason": message["stop_reason"], "stop_sequence": message["stop_sequence"]}
    return [*events, {"type": "message_delta", "delta": ending, "usage": usage}, {"type": "message_stop"}]


def _halves(whole: str) -> list[str]:
    return [piece for piece in (whole[: len(whole) // 2], whole[len(whole) // 2 :]) if piece]


def refusal_of(body: dict[str, object]) -> str | None:
    """What the API says of a request that breaks a rule of its; None if it takes it."""
    if unknown := body.keys() - _FIELDS:
        return f"{min(unknown)}: Extra inputs are not permitted"
    if not isinstance(body.get("max_tokens"), int):
        return "max_tokens: Field required"
    messages = body["messages"]
    assert isinstance(messages, list)
    asked: list[str] = []
    for index, message in enumerate(messages):
        content = message["content"]
        if content in ("", []):
            return f"messages.{index}: all messages must have non-empty content except for the optional final assistant message"
        blocks = content if isinstance(content, list) else [{"type": "text", "text": content}]
        answered = []
        for position, block in enumerate(blocks):
            where = f"messages.{index}.content.{position}"
            if block["type"] == "text" and not block["text"].strip():
                return "messages: text content blocks must be non-empty"
            if block["type"] == "tool_use" and not (_ID.fullmatch(block["id"]) and isinstance(block["input"], dict)):
                return f"{where}.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'"
            if block["type"] == "thinking" and "claude" in str(body["model"]) and not block["signature"].startswith("claude-"):
                return f"{where}: Invalid `signature` in `thinking` block"
            if block["type"] == "tool_result":
                if len(answered) < position:
                    return f"{where}: tool_result blocks must come first"
                answered.append(block["tool_use_id"])
        if sorted(asked) != sorted(answered):
            return f"messages.{index}: `tool_use` ids were found without `tool_result` blocks immediately after: {', '.join(asked)}"
        asked = [block["id"] for block in blocks if block["type"] == "tool_use"]
    return None


class AnthropicServer:
    """Gives the answers in turn, the last for ever: a whole message, `(status, body)`, or a list of events."""

    def __init__(self, *answers: object) -> None:
        self._answers = list(answers)
        self.requests: list[dict[str, object]] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                outer.requests.append(body)
                outer.headers.append({name.lower(): value for name, value in self.headers.items()})
                outer.paths.append(self.path)
                refused = refusal_of(body)
                given = outer._answers.pop(0) if len(outer._answers) > 1 and refused is None else outer._answers[0]
                if refused is not None:
                    given = (400, {"type": "error", "error": {"type": "invalid_request_error", "message": refused}})
                outer._send(self, given, stream=body.get("stream") is True)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @staticmethod
    def _send(handler: BaseHTTPRequestHandler, given: object, *, stream: bool) -> None:
        status, body = given if isinstance(given, tuple) else (200, given)
        events = body if isinstance(body, list) else events_of(body) if stream and status == 200 else None
        if events is None:
            data, kind = json.dumps(body).encode(), "application/json"
        else:
            lines = [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events]
            data, kind = "".join(lines).encode(), "text/event-stream"
        handler.send_response(status)
        handler.send_header("content-type", kind)
        handler.send_header("content-length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
