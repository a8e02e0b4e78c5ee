"""What each front end makes of an answer, as a `Reading`: the clients, the gateway's dialects and the agents' models. Asserts nothing."""

from __future__ import annotations

import asyncio
import http.client
import json
from typing import TYPE_CHECKING, Any

from dialects.odd_answers import Reading
from paymaster import AsyncClient, Client
from paymaster.agents.sweagent.messages import as_output
from paymaster.dialects.state import split_id
from paymaster.errors import PaymasterError
from paymaster.registry.models import Dialect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ASK = [{"role": "user", "content": "Do it."}]
SCHEMA = {"type": "object", "properties": {}}
NAMES = ("bash", "read", "write", "now")
TOOLS = [{"type": "function", "function": {"name": name, "parameters": SCHEMA}} for name in NAMES]
FAILED = Reading(failure="failed")
ENDINGS = {"end_turn": "stop", "max_tokens": "length", "tool_use": "tool_calls", "refusal": "content_filter"}


def plain_id(call_id: str) -> str:
    """The id that the model gave to a call: some front ends carry a signature in it."""
    return split_id(call_id, Dialect.CHAT)[0]


def value_of(arguments: object) -> Any:
    """The arguments of a call, parsed; broken JSON as it is."""
    try:
        return json.loads(arguments) if isinstance(arguments, str) else arguments
    except json.JSONDecodeError:
        return arguments


def counted(usage: Any, prompt: str = "prompt_tokens", output: str = "completion_tokens") -> tuple[int, int] | None:
    """The two counts; None where there are none."""
    return (usage[prompt], usage[output]) if usage and usage.get(prompt) else None


def message_calls(message: Any) -> tuple[tuple[str, str, Any], ...]:
    """The calls of OpenAI's message; each must be complete."""
    return tuple(
        (call["id"], call["function"]["name"], value_of(call["function"]["arguments"])) for call in message.get("tool_calls") or ()
    )


def of_completion(body: Any, usage: tuple[int, int] | None) -> Reading:
    """Of a whole chat.completion."""
    choice = body["choices"][0]
    message = choice["message"]
    assert message["content"] is None or isinstance(message["content"], str), message
    return Reading(message["content"] or "", message.get("reasoning_content") or "", message_calls(message), choice["finish_reason"], usage)


def of_chunks(chunks: list[Any], usage: tuple[int, int] | None) -> Reading:
    """Of chunks, as the strict clients read them: each must have every field."""
    text, reasoning, ending = "", "", ""
    calls: dict[int, list[str]] = {}
    for chunk in chunks:
        assert chunk["object"] == "chat.completion.chunk", chunk
        assert isinstance(chunk["id"], str) and chunk["id"], chunk  # noqa: PT018 one condition of one field
        assert isinstance(chunk["created"], int), chunk
        for choice in chunk["choices"]:
            delta = choice["delta"]
            assert delta.get("role", "assistant") in ("assistant", None), chunk
            assert delta.get("content") is None or isinstance(delta["content"], str), chunk
            assert choice.get("finish_reason") in (None, "stop", "length", "tool_calls", "content_filter", "function_call"), chunk
            text += delta.get("content") or ""
            reasoning += delta.get("reasoning_content") or ""
            ending = choice.get("finish_reason") or ending
            seen = set()
            for call in delta.get("tool_calls") or ():
                assert call["index"] not in seen, chunk
                seen.add(call["index"])
                if call["index"] not in calls:
                    assert call["index"] == len(calls), chunk
                    assert call["type"] == "function", chunk
                    calls[call["index"]] = [call["id"], call["function"]["name"], ""]
                else:
                    assert not call.get("id"), chunk
                    assert not call.get("function", {}).get("name"), chunk
                calls[call["index"]][2] += call.get("function", {}).get("arguments") or ""
    read = tuple((call_id, name, value_of(arguments)) for call_id, name, arguments in calls.values())
    return Reading(text, reasoning, read, ending, usage)


def of_reply(reply: Any) -> tuple[int, int] | None:
    """The usage of a reply."""
    return None if reply.usage is None else (reply.usage.prompt_tokens, reply.usage.completion_tokens)


class FrontEnds:
    """All front ends over one registry and one gateway."""

    def __init__(self, registry: Path, gateway_port: int) -> None:
        self._registry, self._port = registry, gateway_port
        self._client = Client(registry, ledger="memory:")
        self._runner = asyncio.Runner()
        self._async_client = self._runner.run(self._opened())

    async def _opened(self) -> AsyncClient:
        return AsyncClient(self._registry, ledger="memory:")

    def close(self) -> None:
        """Close both clients."""
        self._client.close()
        self._runner.run(self._async_client.aclose())
        self._runner.close()

    def readers(self, *, streamed: bool) -> Iterator[tuple[str, Callable[[str], Reading]]]:
        """Each front end's name and what reads an answer of a model through it."""
        if streamed:
            yield "Client, streamed", self.client_stream
            yield "AsyncClient, streamed", self.async_stream
        else:
            yield "Client", self.client
            yield "AsyncClient", self.async_client
            yield "mini", self.mini
            yield "SWE-agent", self.sweagent
        yield "chat", lambda model: self.chat(model, streamed=streamed)
        yield "messages", lambda model: self.messages(model, streamed=streamed)
        yield "responses", lambda model: self.responses(model, streamed=streamed)

    def client(self, model: str) -> Reading:
        """`Client.complete`."""
        try:
            reply = self._client.complete(ASK, model=model, tools=TOOLS)
        except PaymasterError:
            return FAILED
        assert reply.finish_reason == reply.body["choices"][0]["finish_reason"]
        return of_completion(reply.body, of_reply(reply))

    def client_stream(self, model: str) -> Reading:
        """`Client.stream`; the reply must be what the chunks were."""
        try:
            with self._client.stream(ASK, model=model, tools=TOOLS) as stream:
                chunks = list(stream)
        except PaymasterError:
            return FAILED
        reading = of_chunks(chunks, of_reply(stream.reply))
        assert reading == of_completion(stream.reply.body, of_reply(stream.reply))
        return reading

    def async_client(self, model: str) -> Reading:
        """`AsyncClient.complete`."""
        try:
            reply = self._runner.run(self._async_client.complete(ASK, model=model, tools=TOOLS))
        except PaymasterError:
            return FAILED
        return of_completion(reply.body, of_reply(reply))

    def async_stream(self, model: str) -> Reading:
        """`AsyncClient.stream`."""

        async def read() -> Reading:
            async with self._async_client.stream(ASK, model=model, tools=TOOLS) as stream:
                chunks = [chunk async for chunk in stream]
            return of_chunks(chunks, of_reply(stream.reply))

        try:
            return self._runner.run(read())
        except PaymasterError:
            return FAILED

    def mini(self, model: str) -> Reading:
        """mini's model, from the message that its agent gets."""
        from minisweagent.exceptions import FormatError

        from paymaster.agents.mini.model import PaymasterModel

        try:
            message = PaymasterModel(registry=str(self._registry), ledger="memory:", model_name=model).query([*ASK])
            body = message["extra"]["response"]
            read = [(action["tool_call_id"], "bash", {"command": action["command"]}) for action in message["extra"]["actions"]]
            assert read == [*message_calls(message)]
        except FormatError as error:
            body = error.messages[0]["extra"]["response"]
        except PaymasterError:
            return FAILED
        return of_completion(body, counted(body.get("usage")))

    def sweagent(self, model: str) -> Reading:
        """SWE-agent's model, from its output. It shows no ending."""
        try:
            reply = self._client.complete(ASK, model=model, tools=TOOLS)
        except PaymasterError:
            return FAILED
        output = as_output(reply, with_tool_calls=True)
        calls = message_calls(output)
        reasoning = str(reply.message.get("reasoning_content") or "")
        return Reading(str(output["message"]), reasoning, calls, reply.finish_reason, of_reply(reply))

    def chat(self, model: str, *, streamed: bool) -> Reading:
        """Chat completions."""
        body = {"model": model, "messages": ASK, "tools": TOOLS, "stream": streamed, "stream_options": {"include_usage": True}}
        status, text = self._post("/v1/chat/completions", body)
        if status >= 300:
            return FAILED
        if not streamed:
            answer = json.loads(text)
            return of_completion(answer, counted(answer.get("usage")))
        data = data_of(text)
        if "error" in data[-1]:
            return FAILED
        assert text.partition("data: [DONE]\n\n")[2].startswith(": paymaster "), text
        assert "data:" not in text.partition("data: [DONE]\n\n")[2], text
        return of_chunks([chunk for chunk in data if chunk["choices"]], counted(data[-1].get("usage")))

    def messages(self, model: str, *, streamed: bool) -> Reading:
        """Anthropic's messages."""
        tools = [{"name": name, "input_schema": SCHEMA} for name in NAMES]
        thinking = {"type": "enabled", "budget_tokens": 1_024}
        body = {"model": model, "messages": ASK, "tools": tools, "stream": streamed, "max_tokens": 900, "thinking": thinking}
        status, text = self._post("/v1/messages", body)
        if status >= 300:
            return FAILED
        if streamed:
            answer = assembled_message(data_of(text))
            if answer is None:
                return FAILED
        else:
            answer = json.loads(text)
        parts = {kind: [block for block in answer["content"] if block["type"] == kind] for kind in ("text", "thinking", "tool_use")}
        return Reading(
            "".join(block["text"] for block in parts["text"]),
            "".join(block["thinking"] for block in parts["thinking"]),
            tuple((plain_id(block["id"]), block["name"], block["input"].get("_unparsed", block["input"])) for block in parts["tool_use"]),
            ENDINGS[answer["stop_reason"]],
            counted(answer["usage"], "input_tokens", "output_tokens"),
        )

    def responses(self, model: str, *, streamed: bool) -> Reading:
        """OpenAI's responses."""
        tools = [{"type": "function", "name": name, "parameters": SCHEMA} for name in NAMES]
        status, text = self._post("/v1/responses", {"model": model, "input": "Do it.", "tools": tools, "stream": streamed})
        if status >= 300:
            return FAILED
        answer = json.loads(text) if not streamed else data_of(text)[-1]["response"]
        if answer["status"] == "failed":
            return FAILED
        if streamed:
            added = [event["delta"] for event in data_of(text) if event["type"] == "response.function_call_arguments.delta"]
            done = [item["arguments"] for item in answer["output"] if item["type"] == "function_call"]
            assert "".join(added) == "".join(done), text
        calls = tuple(
            (plain_id(item["call_id"]), item["name"], value_of(item["arguments"]))
            for item in answer["output"]
            if item["type"] == "function_call"
        )
        texts = [part["text"] for item in answer["output"] if item["type"] == "message" for part in item["content"]]
        cut = {"max_output_tokens": "length", "content_filter": "content_filter"}
        ending = cut[answer["incomplete_details"]["reason"]] if answer["incomplete_details"] else "tool_calls" if calls else "stop"
        return Reading("".join(texts), "", calls, ending, counted(answer["usage"], "input_tokens", "output_tokens"))

    def _post(self, path: str, body: Any) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        try:
            connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()


def data_of(text: str) -> list[Any]:
    """The events of a stream."""
    lines = [line.removeprefix("data: ") for line in text.split("\n") if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


def assembled_message(events: list[Any]) -> Any:
    """Anthropic's message from its events; None if it is broken."""
    message: Any = {"content": []}
    texts: list[str] = []
    for event in events:
        match event["type"]:
            case "error":
                return None
            case "content_block_start":
                message["content"].append(dict(event["content_block"]))
                texts = []
            case "content_block_delta":
                delta, block = event["delta"], message["content"][-1]
                assert event["index"] == len(message["content"]) - 1
                if delta["type"] == "input_json_delta":
                    texts.append(delta["partial_json"])
                    block["input"] = value_of("".join(texts))
                else:
                    kind = delta["type"].removesuffix("_delta")
                    block[kind] = block.get(kind, "") + delta[kind]
            case "message_delta":
                message |= {"stop_reason": event["delta"]["stop_reason"], "usage": event["usage"]}
            case _:
                pass
    for block in message["content"]:
        if isinstance(block.get("input"), str):
            block["input"] = {"_unparsed": block["input"]}
    return message
