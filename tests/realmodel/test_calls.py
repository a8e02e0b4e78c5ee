"""Calls of a real model: whole, streamed, in a given shape, and for vectors; each costs what the server itself counted."""

from __future__ import annotations

import asyncio
import json
import subprocess
from typing import TYPE_CHECKING

import pytest

from agents.steps import paymaster
from paymaster.client import AsyncClient, Client
from paymaster.errors import RequestRefused
from realmodel.accounts import billed_nanousd, journal, user

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from paymaster.flow.replies import Reply
    from realmodel.servers import ModelServer

    Write = Callable[..., Path]

SCHEMA = {
    "type": "object",
    "properties": {"city": {"enum": ["Paris", "Rome"]}, "warm": {"type": "boolean"}},
    "required": ["city", "warm"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def embedding_server() -> Iterator[ModelServer]:
    """A server of vectors; llama.cpp serves them only where it is started for them."""
    from realmodel.servers import ModelServer

    server = ModelServer("embeddings").start()
    yield server
    server.kill()


def test_an_answer_on_the_command_line_costs_what_the_server_counted(model_server: ModelServer, registry: Write, own_state: Path) -> None:
    before = model_server.counted()
    words = ["Name a color.", "--model-registry", str(registry(model_server, max_output_tokens=12)), "--budget-usd", "1"]
    asked = subprocess.run(paymaster("ask", *words), check=False, capture_output=True, text=True, timeout=100)
    assert (asked.returncode, asked.stdout.strip() != "") == (0, True), asked.stderr
    [record] = journal(own_state)
    assert (record.billed, record.cost_nanousd) == ("exact", billed_nanousd(model_server.counted() - before))
    assert record.cost_nanousd <= record.held_nanousd


def streamed(path: Path, prompt: str) -> tuple[list[dict[str, object]], Reply]:
    with Client(path) as client:
        stream = client.stream(user(prompt), ignore_eos=True)
        return list(stream), stream.reply


def streamed_in_a_task(path: Path, prompt: str) -> tuple[list[dict[str, object]], Reply]:
    async def stream() -> tuple[list[dict[str, object]], Reply]:
        async with AsyncClient(path) as client:
            stream = client.stream(user(prompt), ignore_eos=True)
            return [chunk async for chunk in stream], stream.reply

    return asyncio.run(stream())


@pytest.mark.parametrize("read", [streamed, streamed_in_a_task])
def test_a_stream_comes_in_chunks_and_costs_what_the_server_counted(
    model_server: ModelServer, registry: Write, read: Callable[[Path, str], tuple[list[dict[str, object]], Reply]]
) -> None:
    before = model_server.counted()
    chunks, reply = read(registry(model_server, max_output_tokens=24), "Write a line about the sea.")
    deltas = [choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"]]
    assert len([delta for delta in deltas if delta]) > 5
    assert "".join(deltas) == reply.text
    assert reply.cost_nanousd == billed_nanousd(model_server.counted() - before)
    [record] = reply.attempts
    assert record.first_token_ms is not None
    assert record.first_token_ms < record.duration_ms


def test_tokens_of_the_prompt_cache_are_counted_apart_and_charged(model_server: ModelServer, registry: Write) -> None:
    before = model_server.counted()
    with Client(registry(model_server, max_output_tokens=2)) as client:
        first, again = (client.complete(user("How many days has a week, and which is the first?")) for _ in range(2))
    assert first.usage.input_tokens + first.usage.cache_read_tokens == again.usage.input_tokens + again.usage.cache_read_tokens
    assert again.usage.cache_read_tokens > again.usage.input_tokens
    assert first.cost_nanousd + again.cost_nanousd == billed_nanousd(model_server.counted() - before)


def test_a_json_schema_shapes_the_answer(model_server: ModelServer, registry: Write) -> None:
    shape = {"type": "json_schema", "json_schema": {"name": "weather", "strict": True, "schema": SCHEMA}}
    with Client(registry(model_server)) as client:
        reply = client.complete(user("How is the weather in Rome? Answer as JSON."), response_format=shape)
    answer = json.loads(reply.text)
    assert answer.keys() == {"city", "warm"}
    assert answer["city"] in {"Paris", "Rome"}
    assert isinstance(answer["warm"], bool)


def test_vectors_come_for_each_text_and_cost_what_was_counted(embedding_server: ModelServer, registry: Write) -> None:
    texts = ["a cat sleeps", "a cat is asleep", "a cat sleeps"]
    path = registry(embedding_server, capabilities=["embeddings"], usd_per_1m_output=0)
    with Client(path) as client:
        reply = client.embed(texts)
        packed = client.embed(texts, encoding_format="base64")
    assert [len(vector) for vector in reply.vectors] == [576] * 3
    assert packed.vectors == [pytest.approx(vector, abs=1e-4) for vector in reply.vectors]
    [record] = reply.attempts
    assert (record.billed, record.cost_nanousd) == ("exact", record.input_tokens * 1_000)
    assert 0 < record.cost_nanousd <= record.held_nanousd


def test_a_server_of_text_refuses_vectors_at_no_cost(model_server: ModelServer, registry: Write, own_state: Path) -> None:
    path = registry(model_server, capabilities=["embeddings"], usd_per_1m_output=0)
    with Client(path) as client, pytest.raises(RequestRefused, match="does not support embeddings"):
        client.embed("a cat sleeps")
    assert [(record.billed, record.cost_nanousd) for record in journal(own_state)] == [("none", 0)]
