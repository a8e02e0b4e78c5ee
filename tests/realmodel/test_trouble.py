"""A real server in trouble: slow, too small, abandoned, killed; what may have been billed is charged, and the rest is not."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING

import pytest

from paymaster.client import Client
from paymaster.errors import NoModelAvailable, StreamBroken
from realmodel.accounts import billed_nanousd, journal, user
from realmodel.servers import ModelServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Write = Callable[..., Path]

FIRST_TOKEN_MS, SMALL_CONTEXT = 250, 256
LONG_STORY = "Write a very long story about a ship, a storm and a lighthouse."


def long_prompt(opening: str, sentences: int) -> list[dict[str, str]]:
    """A prompt that takes the server seconds to read. Each opening makes its cache useless."""
    return user(opening + " The grey ship came home late and the keeper lit the lamp." * sentences)


@pytest.fixture
def server_of_its_own() -> Iterator[ModelServer]:
    server = ModelServer().start()
    yield server
    server.kill()


@pytest.fixture(scope="module")
def small_server() -> Iterator[ModelServer]:
    server = ModelServer(context=SMALL_CONTEXT).start()
    yield server
    server.kill()


def test_a_slow_first_token_is_waited_for_as_long_as_the_registry_says(model_server: ModelServer, registry: Write, own_state: Path) -> None:
    before = model_server.counted()
    impatient = registry(
        model_server, timeouts={"first_token_s": FIRST_TOKEN_MS / 1_000}, max_output_tokens=4, policies={"max_attempts": 1}
    )
    with Client(impatient) as client, pytest.raises(NoModelAvailable) as raised:
        list(client.stream(long_prompt("One.", 30)))
    assert raised.value.failure == "timed_out"
    [gave_up] = journal(own_state)
    assert (gave_up.billed, gave_up.cost_nanousd) == ("assumed", gave_up.held_nanousd)
    with Client(registry(model_server, max_output_tokens=4)) as client:
        stream = client.stream(long_prompt("Two.", 30))
        assert [chunk for chunk in stream if chunk["choices"]]
    [answered] = stream.reply.attempts
    assert answered.billed == "exact"
    assert answered.first_token_ms > FIRST_TOKEN_MS
    assert gave_up.cost_nanousd + answered.cost_nanousd >= billed_nanousd(model_server.counted() - before)


def test_a_prompt_beyond_the_servers_context_costs_nothing_and_is_reported_with_its_sizes(
    small_server: ModelServer, registry: Write, own_state: Path
) -> None:
    path = registry(small_server, context_window=8_192)
    with Client(path) as client, pytest.raises(NoModelAvailable, match="context") as raised:
        client.complete(long_prompt("Sum up.", 25))
    assert raised.value.too_long
    assert raised.value.size.window_tokens == SMALL_CONTEXT
    assert [(record.outcome, record.billed, record.cost_nanousd) for record in journal(own_state)] == [("context_too_long", "none", 0)]


def test_a_prompt_beyond_the_servers_context_goes_to_a_larger_one(
    small_server: ModelServer, model_server: ModelServer, registry: Write
) -> None:
    before = model_server.counted()
    with Client(registry(small_server, fallback=model_server, context_window=8_192, tokenizer="gpt-4o")) as client:
        reply = client.complete(long_prompt("Sum up.", 25), max_tokens=4)
    assert [(record.model, record.outcome) for record in reply.attempts] == [("small", "context_too_long"), ("large", "answered")]
    assert reply.cost_nanousd == billed_nanousd(model_server.counted() - before)


def test_an_answer_that_fills_the_context_ends_there_and_is_charged(small_server: ModelServer, registry: Write) -> None:
    before = small_server.counted()
    with Client(registry(small_server, context_window=8_192, max_output_tokens=1_024)) as client:
        reply = client.complete(long_prompt(LONG_STORY, 12), ignore_eos=True)
    assert reply.finish_reason == "length"
    assert reply.usage.output_tokens < SMALL_CONTEXT
    assert reply.cost_nanousd == billed_nanousd(small_server.counted() - before)


def test_a_stream_that_its_reader_closes_is_charged_no_less_than_the_server_made(
    model_server: ModelServer, registry: Write, own_state: Path
) -> None:
    before = model_server.counted()
    with Client(registry(model_server, max_output_tokens=600)) as client:
        stream = client.stream(user(LONG_STORY), ignore_eos=True)
        assert len(list(islice(stream, 5))) == 5
        stream.close()
    model_server.wait_until_idle()
    counted = model_server.counted() - before
    assert counted.output_tokens < 600  # it stopped, because nobody reads on
    [record] = journal(own_state)
    assert (record.outcome, record.billed) == ("cancelled", "assumed")
    assert record.cost_nanousd == record.held_nanousd >= billed_nanousd(counted)


def test_a_server_killed_in_mid_stream_costs_the_hold_and_serves_again_once_it_is_back(
    server_of_its_own: ModelServer, registry: Write, own_state: Path
) -> None:
    with Client(registry(server_of_its_own, max_output_tokens=400)) as client, ThreadPoolExecutor(1) as pool:
        stream = client.stream(user(LONG_STORY), ignore_eos=True)
        assert len(list(islice(stream, 5))) == 5
        server_of_its_own.kill()
        with pytest.raises(StreamBroken):
            list(stream)
        waiting = pool.submit(client.complete, user("Name a color."), max_tokens=4, max_wait_s=90)
        server_of_its_own.start()
        reply = waiting.result(timeout=100)
    broken, *_, answered = journal(own_state)
    assert (broken.outcome, broken.billed, broken.cost_nanousd) == ("connection_lost", "assumed", broken.held_nanousd)
    assert (answered.outcome, answered.cost_nanousd) == ("answered", billed_nanousd(server_of_its_own.counted()))
    assert re.search(r"\w", reply.text)
