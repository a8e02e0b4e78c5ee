"""A client that was closed: every method and every stream reports it, and what was open is settled."""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from pathlib import Path

import pytest

from paymaster import AsyncClient, Client, ClientClosed, StreamBroken, UsageMistake
from paymaster.accounting.records import AttemptRecord
from paymaster.ledgers.urls import open_ledger
from paymaster.open_calls import OpenCalls
from paymaster.runtime import BlockingRuntime, run

HELLO = [{"role": "user", "content": "Hello"}]
HERE = Path(__file__)


@pytest.fixture(name="registry")
def write_registry(tmp_path: Path) -> Path:
    (tmp_path / "play.yaml").write_text(
        'models:\n  m: {answers: [{text: "one two three four five six", chunks: 6}]}\n'
        "  slow: {latency_ms: 400, chunk_ms: 50, answers: [{text: one two three}]}\n"
    )
    path = tmp_path / "registry.yaml"
    path.write_text(
        "default: m\nmodels:\n"
        "  m: {provider: scripted, script: play.yaml, usd_per_1m_input: 1, usd_per_1m_output: 10, max_output_tokens: 100}\n"
        "  slow: {provider: scripted, script: play.yaml, usd_per_1m_input: 1, usd_per_1m_output: 10, max_output_tokens: 100}\n"
        "policies: {budget_usd_per_run: 1}\n"
    )
    return path


def line_of(text: str) -> int:
    """The line of this file that ends with the text."""
    return next(number for number, line in enumerate(HERE.read_text("utf-8").splitlines(), 1) if line.endswith(text))


def journal(state: Path) -> list[AttemptRecord]:
    ledger = open_ledger(None, BlockingRuntime().sleep, state_dir=state)

    async def read() -> list[AttemptRecord]:
        return [AttemptRecord.from_json(record.body) async for record in ledger.records()]

    records = run(read())
    run(ledger.close())
    return records


def held(state: Path) -> int:
    ledger = open_ledger(None, BlockingRuntime().sleep, state_dir=state)
    balances = run(ledger.balances("usd/", 0))
    run(ledger.close())
    return sum(balance.held for balance in balances.values())


USES = {
    "complete": lambda client: client.complete(HELLO),
    "embed": lambda client: client.embed("x"),
    "stream": lambda client: client.stream(HELLO),
    "explain": lambda client: client.explain(HELLO),
    "balances": lambda client: client.balances(),
    "scope": lambda client: client.scope(instance="x"),
}


@pytest.mark.parametrize("method", USES)
def test_every_method_of_a_closed_client_reports_it(method: str, registry: Path, tmp_path: Path) -> None:
    client = Client(registry, state_dir=tmp_path, environ={})
    client.complete(HELLO)
    client.close()  # here
    with pytest.raises(ClientClosed) as caught:
        USES[method](client)
    assert caught.value.message == f"{method}(): the client was closed at {HERE}:{line_of('client.close()  # here')}."
    assert "open another one" in caught.value.advice
    assert isinstance(caught.value, UsageMistake)
    client.close()
    with pytest.raises(ClientClosed, match=r"closed at .*\.py:\d+"):
        client.__enter__()
    assert (client.registry.default, client.current_scope.instance) == ("m", None)


@pytest.mark.parametrize("method", USES)
def test_every_method_of_a_closed_async_client_reports_it(method: str, registry: Path, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with AsyncClient(registry, state_dir=tmp_path, environ={}) as client:
            await client.complete(HELLO)
        with pytest.raises(ClientClosed, match=rf"^{method}\(\): the client was closed at {HERE}:\d+\."):
            await USES[method](client)
        await client.close()
        await client.aclose()
        with pytest.raises(ClientClosed):
            await client.__aenter__()

    asyncio.run(scenario())


def test_leaving_the_block_closes_and_names_its_line(registry: Path) -> None:
    with Client(registry, ledger="memory:", environ={}) as client:  # the block
        pass
    with pytest.raises(ClientClosed, match=f"{HERE.name}:{line_of('# the block')}"):
        client.complete(HELLO)


def test_an_async_client_can_be_closed_by_aclosing(registry: Path) -> None:
    async def scenario() -> None:
        async with aclosing(AsyncClient(registry, ledger="memory:", environ={})) as client, aclosing(client.stream(HELLO)) as stream:
            assert [chunk async for chunk in stream]
        with pytest.raises(ClientClosed):
            await client.complete(HELLO)

    asyncio.run(scenario())


# ----------------------------------------------------------------------------------------------------------------- streams


def test_a_stream_that_was_begun_is_settled_and_reports_it(registry: Path, tmp_path: Path) -> None:
    client = Client(registry, run="r", state_dir=tmp_path, environ={})
    begun, unread, finished = (client.stream(HELLO) for _ in range(3))
    assert list(finished)
    chunks = iter(begun)
    next(chunks)
    client.close()
    assert held(tmp_path) == 0
    assert sorted(record.outcome for record in journal(tmp_path)) == ["answered", "cancelled"]
    for use in (lambda: next(chunks), lambda: list(begun), lambda: begun.reply, lambda: list(unread), lambda: unread.reply):
        with pytest.raises(ClientClosed, match=r"^the stream: the client was closed at "):
            use()
    assert list(finished) == []
    assert finished.reply.text == "one two three four five six"
    begun.close()
    unread.close()


def test_an_async_stream_that_was_begun_is_settled_and_reports_it(registry: Path, tmp_path: Path) -> None:
    async def scenario() -> None:
        client = AsyncClient(registry, run="r", state_dir=tmp_path, environ={})
        begun, unread, finished = (client.stream(HELLO) for _ in range(3))
        assert [chunk async for chunk in finished]
        chunks = aiter(begun)
        await anext(chunks)
        await client.close()
        assert held(tmp_path) == 0
        with pytest.raises(ClientClosed, match=r"^the stream: the client was closed at "):
            await anext(chunks)
        with pytest.raises(ClientClosed):
            _ = begun.reply
        with pytest.raises(ClientClosed):
            _ = [chunk async for chunk in unread]
        assert finished.reply.text == "one two three four five six"
        await begun.close()

    asyncio.run(scenario())
    assert sorted(record.outcome for record in journal(tmp_path)) == ["answered", "cancelled"]


def test_a_stream_that_its_reader_closed_ends_quietly(registry: Path) -> None:
    with Client(registry, ledger="memory:", environ={}) as client:
        stream = client.stream(HELLO)
        chunks = iter(stream)
        next(chunks)
        stream.close()
        assert list(chunks) == []
        with pytest.raises(StreamBroken, match="has not ended"):
            _ = stream.reply


def test_another_thread_can_stop_a_stream_while_its_reader_waits(registry: Path, tmp_path: Path) -> None:
    with Client(registry, run="r", state_dir=tmp_path, environ={}) as client, ThreadPoolExecutor(1) as pool:
        stream = client.stream(HELLO, model="slow")
        first = threading.Event()

        def read() -> int:
            first.set()
            return sum(1 for _ in stream)

        count = pool.submit(read)
        assert first.wait(10)
        stream.close()
        assert count.result(10) <= 1
    assert held(tmp_path) == 0


# -------------------------------------------------------------------------------------------------------------- open calls


def test_a_call_of_another_thread_ends_as_usual_and_then_the_files_are_closed(registry: Path, tmp_path: Path) -> None:
    admitted = threading.Event()
    client = Client(registry, run="r", state_dir=tmp_path, environ={}, listeners=[lambda _: admitted.set()])
    with ThreadPoolExecutor(1) as pool:
        reply = pool.submit(client.complete, HELLO, model="slow")
        assert admitted.wait(10)
        client.close()
        with pytest.raises(ClientClosed):
            client.complete(HELLO)
        assert reply.result(10).text == "one two three"
    assert client._resources.books._books._store is None
    assert [record.outcome for record in journal(tmp_path)] == ["answered"]


def test_a_stream_of_another_thread_stops_at_its_next_chunk(registry: Path, tmp_path: Path) -> None:
    admitted = threading.Event()
    client = Client(registry, run="r", state_dir=tmp_path, environ={}, listeners=[lambda _: admitted.set()])
    with ThreadPoolExecutor(1) as pool:
        chunks = pool.submit(lambda: list(client.stream(HELLO, model="slow")))
        assert admitted.wait(10)
        client.close()
        with pytest.raises(ClientClosed):
            chunks.result(10)
    assert held(tmp_path) == 0
    assert client._resources.books._books._store is None


def test_calls_of_other_tasks_end_as_usual(registry: Path, tmp_path: Path) -> None:
    async def scenario() -> None:
        admitted = asyncio.Event()
        client = AsyncClient(registry, run="r", state_dir=tmp_path, environ={}, listeners=[lambda _: admitted.set()])
        whole = asyncio.create_task(client.complete(HELLO, model="slow"))

        async def read() -> list[object]:
            return [chunk async for chunk in client.stream(HELLO, model="slow")]

        streamed = asyncio.create_task(read())
        await admitted.wait()
        await asyncio.sleep(0.05)
        await client.close()
        assert (await whole).text == "one two three"
        with pytest.raises(ClientClosed):
            await streamed
        assert client._resources.books._books._store is None

    asyncio.run(scenario())
    assert held(tmp_path) == 0


def test_a_listener_may_close_the_client(registry: Path, tmp_path: Path) -> None:
    client = Client(registry, state_dir=tmp_path, environ={}, listeners=[lambda _: client.close()])
    assert client.complete(HELLO).text == "one two three four five six"
    with pytest.raises(ClientClosed):
        client.complete(HELLO)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_child_waits_for_no_call_of_its_parent() -> None:
    calls = OpenCalls()
    with calls.one():
        child = os.fork()
        if child == 0:
            calls.close()
            os._exit(0 if calls.have_ended else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        calls.close()
        assert not calls.have_ended
    assert calls.have_ended
