"""A server on loopback that speaks OpenAI's responses, and checks a history as the real one does."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

Object = dict[str, Any]
USAGE = {
    "input_tokens": 100,
    "input_tokens_details": {"cached_tokens": 64, "cache_write_tokens": 0},
    "output_tokens": 20,
    "output_tokens_details": {"reasoning_tokens": 5},
    "total_tokens": 120,
}
LONGEST_ID = 64
_PREFIXES = {"message": "msg", "reasoning": "rs", "function_call": "fc", "custom_tool_call": "ctc"}


def answer(*items: Object, status: str = "completed", **more: object) -> Object:
    """A whole response."""
    return {
        "id": "resp_real", "object": "response", "created_at": 1_700_000_000, "status": status, "model": "gpt-5.5-2026-04-23",
        "output": list(items), "parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "error": None, "incomplete_details": None,
        "usage": USAGE, **more,
    }  # fmt: skip


def message(said: str) -> Object:
    part = {"type": "output_text", "text": said, "annotations": [], "logprobs": []}
    return {"id": "msg_real", "type": "message", "role": "assistant", "status": "completed", "content": [part]}


def reasoning(said: str = "Hm.", sealed: str = "sealed-1") -> Object:
    return {"id": "rs_real", "type": "reasoning", "summary": [{"type": "summary_text", "text": said}], "encrypted_content": sealed}


def call(name: str = "run", arguments: str = '{"a":1}', call_id: str = "call_real", **more: object) -> Object:
    own = {"call_id": call_id, "name": name, "arguments": arguments, "status": "completed"}
    return {"id": "fc_real", "type": "function_call", **own, **more}


def patch(text: str = "*** Begin", call_id: str = "call_patch") -> Object:
    return {"id": "ctc_real", "type": "custom_tool_call", "call_id": call_id, "name": "apply_patch", "input": text, "status": "completed"}


def events_of(response: Object) -> list[Object]:
    """The events that stream a whole response, each text in two pieces."""
    head = {**response, "output": [], "status": "in_progress", "usage": None}
    events: list[Object] = [{"type": "response.created", "response": head}, {"type": "response.in_progress", "response": head}]
    for index, item in enumerate(response["output"]):
        at = {"output_index": index, "item_id": item["id"]}
        empty = {"summary": [], "content": [], "arguments": "", "input": ""}
        begun = {**item, **{name: value for name, value in empty.items() if name in item}}
        events.append({"type": "response.output_item.added", "output_index": index, "item": begun})
        for part in item.get("summary", []):
            place = {**at, "summary_index": 0}
            events.append({"type": "response.reasoning_summary_part.added", **place, "part": {**part, "text": ""}})
            events += [{"type": "response.reasoning_summary_text.delta", **place, "delta": piece} for piece in _halves(part["text"])]
            events.append({"type": "response.reasoning_summary_text.done", **place, "text": part["text"]})
            events.append({"type": "response.reasoning_summary_part.done", **place, "part": part})
        for part in item.get("content", []):
            place = {**at, "content_index": 0}
            events.append({"type": "response.content_part.added", **place, "part": {**part, "text": ""}})
            events += [{"type": "response.output_text.delta", **place, "delta": piece, "logprobs": []} for piece in _halves(part["text"])]
            events.append({"type": "response.output_text.done", **place, "text": part["text"], "logprobs": []})
            events.append({"type": "response.content_part.done", **place, "part": part})
        for name, kind in (("arguments", "function_call_arguments"), ("input", "custom_tool_call_input")):
            if name in item:
                events += [{"type": f"response.{kind}.delta", **at, "delta": piece} for piece in _halves(item[name])]
                events.append({"type": f"response.{kind}.done", **at, name: item[name]})
        events.append({"type": "response.output_item.done", "output_index": index, "item": item})
    events.append({"type": f"response.{response['status']}", "response": response})
    return [{**event, "sequence_number": number} for number, event in enumerate(events)]


def _halves(whole: str) -> list[str]:
    return [piece for piece in (whole[: len(whole) // 2], whole[len(whole) // 2 :]) if piece]


def refusal_of(body: Object) -> str | None:
    """What the API says of a request that breaks a rule of its; None if it takes it."""
    if "messages" in body:
        return "Unsupported parameter: 'messages'."
    if body.get("max_output_tokens", 16) < 16:
        return "Invalid 'max_output_tokens': integer below minimum value. Expected a value >= 16."
    given = body["input"]
    items = given if isinstance(given, list) else []
    called: list[str] = []
    answered: list[str] = []
    for index, item in enumerate(items):
        kind, where = item.get("type", "message"), f"input[{index}]"
        if "id" in item and (not item["id"].startswith(_PREFIXES.get(kind, "")) or len(item["id"]) > LONGEST_ID):
            return f"Invalid '{where}.id': '{item['id']}'."
        if len(item.get("call_id", "")) > LONGEST_ID:
            return f"Invalid '{where}.call_id': string too long. Expected a string with maximum length 64."
        if kind == "message" and item["role"] == "assistant" and isinstance(item["content"], list):
            odd = [part["type"] for part in item["content"] if part["type"] not in ("output_text", "refusal")]
            if odd:
                return f"Invalid value: '{odd[0]}'. Supported values are: 'output_text' and 'refusal'."
        if kind == "reasoning":
            if not str(item.get("encrypted_content")).startswith("sealed-"):
                return f"The encrypted content for item {item.get('id')} could not be verified."
            follower = items[index + 1] if index + 1 < len(items) else {}
            if follower.get("type", "message").endswith("_output") or follower.get("role", "assistant") != "assistant" or not follower:
                return f"Item '{item.get('id')}' of type 'reasoning' was provided without its required following item."
        if kind in ("function_call", "custom_tool_call"):
            called.append(item["call_id"])
        if kind.endswith("_call_output"):
            if item["call_id"] not in called and not body.get("previous_response_id"):
                return f"No tool call found for function call output with call_id {item['call_id']}."
            answered.append(item["call_id"])
    missing = [call_id for call_id in called if call_id not in answered]
    return f"No tool output found for function call {missing[0]}." if missing else None


class ResponsesServer:
    """Gives the answers in turn, the last for ever: a whole response, `(status, body)`, or a list of events."""

    def __init__(self, *answers: object) -> None:
        self._answers = list(answers)
        self.requests: list[Object] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.aside: list[str] = []
        self.counted: list[Object] = []
        self.counts = True
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                if self.path.endswith("/cancel"):
                    self.do_GET()
                    return
                if self.path.endswith("/input_tokens"):
                    outer.aside.append(f"POST {self.path}")
                    outer.counted.append(body)
                    counted = {"object": "response.input_tokens", "input_tokens": 7_777}
                    status, said = (200, counted) if outer.counts else (404, {"error": {"message": "Unknown path."}})
                    self._reply(status, "application/json", json.dumps(said).encode())
                    return
                outer.requests.append(body)
                outer.headers.append({name.lower(): value for name, value in self.headers.items()})
                outer.paths.append(self.path)
                refused = refusal_of(body)
                if refused is not None:
                    error = {"message": refused, "type": "invalid_request_error", "param": "input", "code": None}
                    self._reply(400, "application/json", json.dumps({"error": error}).encode())
                    return
                given = outer._answers.pop(0) if len(outer._answers) > 1 else outer._answers[0]
                if isinstance(given, tuple):
                    status, error_body = given
                    self._reply(status, "application/json", json.dumps(error_body).encode())
                elif isinstance(given, dict) and not body.get("stream"):
                    self._reply(200, "application/json", json.dumps(given).encode())
                else:
                    events = events_of(given) if isinstance(given, dict) else given
                    lines = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)
                    self._reply(200, "text/event-stream", lines.encode())

            def do_GET(self) -> None:
                outer.aside.append(f"{self.command} {self.path}")
                name = self.path.partition("?")[0].removeprefix("/v1/responses/")
                known = name.partition("/")[0] == "resp_real"
                body = {"id": name.partition("/")[0], "object": "response"} if known else {"error": {"message": f"{name} not found."}}
                self._reply(200 if known else 404, "application/json", json.dumps(body).encode())

            do_DELETE = do_GET  # noqa: N815 - the name is that of the base class

            def _reply(self, status: int, kind: str, data: bytes) -> None:
                self.send_response(status)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(data)))
                self.send_header("x-request-id", "req_real")
                self.send_header("x-ratelimit-remaining-requests", "9")
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
