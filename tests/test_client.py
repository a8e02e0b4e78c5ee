"""Both clients against a real HTTP server on loopback: calls, streams, scopes, budgets, events and secrets."""

import asyncio
import gc
import json
import logging
import os
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context, copy_context
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from paymaster import (
    AsyncClient,
    BudgetExceeded,
    Client,
    KeyMissing,
    NoModelAvailable,
    NoModelFits,
    RegistryInvalid,
    RequestInvalid,
    Scope,
    StreamBroken,
    UsageMistake,
)
from paymaster.accounting.records import AttemptRecord
from paymaster.ledgers.urls import open_ledger
from paymaster.providers.scripted.script import parse_script
from paymaster.providers.scripted.server import ScriptedServer
from paymaster.runtime import BlockingRuntime, run

if TYPE_CHECKING:
    from paymaster.flow.events import Event

HELLO = [{"role": "user", "content": "Hello, what is in this folder?"}]
CANARY = "sk-canary-Qm4T7vXz19LkPp02aaBb"
SCRIPT = """
models:
  vectors: {prices: {usd_per_1m_input: 1}, dimensions: 3, bytes_per_token: 100}
  good: {prices: {usd_per_1m_input: 1, usd_per_1m_output: 10}, answers: [{text: "one two three four"}]}
  busy: {faults: [{kind: throttle, always: true, retry_after_s: 60}]}
  down: {faults: [{kind: server_error, always: true, message: "boom"}]}
  cut: {faults: [{kind: cut, always: true}]}
  locked: {faults: [{kind: auth, always: true}]}
"""


@pytest.fixture(name="server")
def serve() -> Iterator[ScriptedServer]:
    """The scripted provider."""
    with ScriptedServer(parse_script(SCRIPT)) as server:
        yield server


def write(directory: Path, server: ScriptedServer, chain: str = "good", policies: str = "") -> Path:
    """A registry of the script's models, chained as named."""
    names = [name.strip() for name in chain.split(",")]
    models = "\n".join(
        f"    {name}: {{provider: openai, model_id: {name}, base_url: '{server.base_url}', api_key_env: CANARY_KEY, "
        "usd_per_1m_input: 1, usd_per_1m_output: 10, max_output_tokens: 200}"
        for name in names
    )
    path = directory / "registry.yaml"
    path.write_text(f"model_registry:\n  default: {names[0]}\n  models:\n{models}\n  policies: {{fallback_chain: [{chain}], {policies}}}\n")
    return path


ENVIRON = {"CANARY_KEY": CANARY}


def journal(state: Path) -> list[AttemptRecord]:
    """Every record of the state directory's ledger."""
    ledger = open_ledger(None, BlockingRuntime().sleep, state_dir=state)

    async def read() -> list[AttemptRecord]:
        return [AttemptRecord.from_json(record.body) async for record in ledger.records()]

    records = run(read())
    run(ledger.close())
    return records


def test_a_call_is_answered_charged_and_recorded(server: ScriptedServer, tmp_path: Path) -> None:
    with Client(write(tmp_path, server), run="exp-42", budget_usd="5", state_dir=tmp_path, environ=ENVIRON) as client:
        reply = client.complete(HELLO, tools=[{"type": "function", "function": {"name": "ls", "parameters": {}}}])
        balances = client.balances("usd/")
    assert reply.text == "one two three four"
    assert reply.tool_calls == ()
    assert reply.usage is not None
    assert reply.cost_nanousd == server.bill()["billed_nanousd"]
    assert balances["usd/run/exp-42"].settled == reply.cost_nanousd
    [record] = journal(tmp_path)
    assert (record.run, record.model, record.cost_nanousd) == ("exp-42", "good", reply.cost_nanousd)


def test_an_async_client_does_the_same(server: ScriptedServer, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with AsyncClient(write(tmp_path, server, policies="budget_usd_per_run: 1"), state_dir=tmp_path, environ=ENVIRON) as client:
            replies = await asyncio.gather(*(client.complete(HELLO) for _ in range(20)))
            [balance] = (await client.balances("usd/")).values()
            assert balance.settled == sum(reply.cost_nanousd for reply in replies) == server.bill()["billed_nanousd"]
            async with client.stream(HELLO) as stream:
                text = "".join([_delta(chunk) async for chunk in stream])
            assert text == stream.reply.text == "one two three four"
            [verdict] = await client.explain(HELLO)
            assert verdict.serves

    asyncio.run(scenario())


def _delta(chunk: object) -> str:
    assert isinstance(chunk, dict)
    return "".join(choice["delta"].get("content") or "" for choice in chunk["choices"])


def test_both_clients_embed_texts_and_tokens(server: ScriptedServer, tmp_path: Path) -> None:
    path = tmp_path / "registry.yaml"
    path.write_text(
        f"models: {{vectors: {{provider: openai, base_url: '{server.base_url}', api_key_env: CANARY_KEY, capabilities: [embeddings], "
        "tokenizer: text-embedding-3-small, usd_per_1m_input: 1}}\npolicies: {budget_usd_per_run: 0.00001, hard_stop_on_budget: true}\n"
    )
    with Client(path, state_dir=str(tmp_path), run="r1", environ=ENVIRON) as client:
        reply = client.embed(["one", "two"], dimensions=4)
        assert [len(vector) for vector in reply.vectors] == [4, 4]
        assert (reply.model, reply.cost_nanousd, reply.usage and reply.usage.input_tokens) == ("vectors", 2_000, 2)
        assert client.embed("two", dimensions=4, encoding_format="base64").vectors == reply.vectors[1:]
        with pytest.raises(NoModelFits, match="it lacks chat"):
            client.complete(HELLO)
        with pytest.raises(BudgetExceeded):
            client.embed([[1] * 9])

    async def ask() -> list[list[float]]:
        async with AsyncClient(path, state_dir=str(tmp_path), run="r2", environ=ENVIRON) as client:
            with client.scope(instance="doc-1"):
                return (await client.embed([[1, 2], [3]])).vectors

    assert len(asyncio.run(ask())) == 2
    records = journal(tmp_path)
    assert [(record.run, record.instance, record.operation, record.input_tokens) for record in records] == [
        ("r1", None, "embeddings", 2),
        ("r1", None, "embeddings", 1),
        ("r2", "doc-1", "embeddings", 3),
    ]


def test_a_stream_yields_chunks_and_then_has_its_reply(server: ScriptedServer, tmp_path: Path) -> None:
    with Client(write(tmp_path, server), state_dir=tmp_path, environ=ENVIRON) as client, client.stream(HELLO) as stream:
        with pytest.raises(StreamBroken, match="has not ended"):
            _ = stream.reply
        assert "".join(_delta(chunk) for chunk in stream) == "one two three four"
        assert stream.reply.attempts[0].streamed
        assert stream.reply.cost_nanousd == server.bill()["billed_nanousd"]


def test_a_stream_that_is_closed_early_is_settled(server: ScriptedServer, tmp_path: Path) -> None:
    with Client(write(tmp_path, server, policies="budget_usd_per_run: 1"), run="r", state_dir=tmp_path, environ=ENVIRON) as client:
        with client.stream(HELLO) as stream:
            next(iter(stream))
        assert client.balances("usd/")["usd/run/r"].held == 0
    [record] = journal(tmp_path)
    assert (record.outcome, record.billed) == ("cancelled", "assumed")


def test_a_stream_that_is_held_back_falls_back(server: ScriptedServer, tmp_path: Path) -> None:
    registry = write(tmp_path, server, "cut, good", "retries_per_model: 0")
    with Client(registry, state_dir=tmp_path, environ=ENVIRON) as client:
        with client.stream(HELLO, stream_recovery="hold_back") as stream:
            assert "".join(_delta(chunk) for chunk in stream) == stream.reply.text == "one two three four"
        assert [record.model for record in stream.reply.attempts] == ["cut", "good"]
        with pytest.raises(StreamBroken):
            list(client.stream(HELLO, model="cut", stream_recovery="off"))
        with pytest.raises(RequestInvalid, match="stream_recovery must be off, hold_back or continue, got 'whole'"):
            client.stream(HELLO, stream_recovery="whole")
        assert client.complete(HELLO, model="good", stream_recovery="hold_back").text == "one two three four"


def test_an_async_stream_that_is_held_back_falls_back(server: ScriptedServer, tmp_path: Path) -> None:
    async def scenario() -> None:
        registry = write(tmp_path, server, "cut, good", "retries_per_model: 0, stream_recovery: hold_back")
        async with AsyncClient(registry, state_dir=tmp_path, environ=ENVIRON) as client:
            async with client.stream(HELLO) as stream:
                assert "".join([_delta(chunk) async for chunk in stream]) == "one two three four"
            with pytest.raises(StreamBroken):
                [chunk async for chunk in client.stream(HELLO, stream_recovery="off")]
            assert (await client.complete(HELLO, model="good", stream_recovery="off")).text == "one two three four"

    asyncio.run(scenario())


def test_a_cut_stream_raises_and_has_no_reply(server: ScriptedServer, tmp_path: Path) -> None:
    with Client(write(tmp_path, server, "cut"), state_dir=tmp_path, environ=ENVIRON) as client, pytest.raises(StreamBroken):
        for _ in client.stream(HELLO):
            pass


def test_a_fallback_finishes_the_call_and_every_attempt_is_recorded(server: ScriptedServer, tmp_path: Path) -> None:
    path = write(tmp_path, server, "busy, down, good", "backoff_initial_s: 0.01, backoff_max_s: 0.02, retries_per_model: 1")
    with Client(path, state_dir=tmp_path, environ=ENVIRON) as client:
        reply = client.complete(HELLO)
    assert reply.model == "good"
    assert [(record.model, record.outcome) for record in reply.attempts] == [
        ("busy", "throttled"),
        ("down", "server_error"),
        ("down", "server_error"),
        ("good", "answered"),
    ]
    assert [record.outcome for record in journal(tmp_path)] == [record.outcome for record in reply.attempts]


def test_a_scope_holds_only_in_its_block_and_thread(server: ScriptedServer, tmp_path: Path) -> None:
    with Client(write(tmp_path, server), run="r", batch="b", tags={"a": "1"}, state_dir=tmp_path, environ=ENVIRON) as client:

        def call(number: int) -> None:
            with client.scope(instance=f"task-{number}", role="agent", tags={"n": str(number)}):
                client.complete(HELLO)

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(call, range(24)))
        assert client.current_scope.instance is None
    records = journal(tmp_path)
    assert sorted(record.instance or "" for record in records) == sorted(f"task-{number}" for number in range(24))
    assert all(record.tags == {"a": "1", "n": (record.instance or "").removeprefix("task-")} for record in records)
    assert {(record.run, record.batch, record.role) for record in records} == {("r", "b", "agent")}


def test_scopes_of_two_clients_are_independent(server: ScriptedServer, tmp_path: Path) -> None:
    path = write(tmp_path, server)
    with (
        Client(path, run="one", ledger="memory:", state_dir=tmp_path, environ=ENVIRON) as one,
        Client(path, run="two", ledger="memory:", state_dir=tmp_path, environ=ENVIRON) as two,
    ):
        outer, inner = one.scope(instance="a"), two.scope(instance="b")
        with one.scope(user="u"):
            outer.__enter__()
            inner.__enter__()
            assert (one.current_scope.instance, two.current_scope.instance) == ("a", "b")
            outer.__exit__(None, None, None)
            assert (one.current_scope, two.current_scope.instance) == (Scope(run="one", user="u"), "b")
            inner.__exit__(None, None, None)
        assert (one.current_scope, two.current_scope) == (Scope(run="one"), Scope(run="two"))


def test_a_client_leaves_nothing_behind_in_the_contexts_of_its_callers(server: ScriptedServer, tmp_path: Path) -> None:
    path = write(tmp_path, server)
    kept: list[Context] = []
    gone: list[weakref.ref[Client]] = []

    def one_client() -> None:
        client = Client(path, ledger="memory:", state_dir=tmp_path, environ=ENVIRON)
        with client, client.scope(instance="task"):
            kept.append(copy_context())  # as a task that is started here and outlives the block has it
        gone.append(weakref.ref(client))

    one_client()
    variables = len(copy_context())
    for _ in range(5):
        one_client()
    gc.collect()
    assert [reference() for reference in gone] == [None] * 6
    assert {len(context) for context in (*kept, copy_context())} == {variables}


def test_a_hard_budget_is_never_exceeded_at_the_provider_by_64_threads(server: ScriptedServer, tmp_path: Path) -> None:
    path = write(tmp_path, server, policies="hard_stop_on_budget: true, min_output_tokens: 4")
    stopped = threading.Semaphore(0)
    with Client(path, run="r", budget_usd="0.01", state_dir=tmp_path, environ=ENVIRON) as client:

        def worker(_: int) -> None:
            while True:
                try:
                    client.complete(HELLO, max_tokens=20)
                except BudgetExceeded:
                    stopped.release()
                    return

        with ThreadPoolExecutor(64) as pool:
            list(pool.map(worker, range(64)))
        balance = client.balances("usd/")["usd/run/r"]
    assert all(stopped.acquire(blocking=False) for _ in range(64))
    billed = server.bill()["billed_nanousd"]
    assert isinstance(billed, int)
    assert balance.settled == billed
    assert 0.98 * 10_000_000 <= billed <= 10_000_000


def test_a_key_appears_nowhere_but_in_the_request(server: ScriptedServer, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    seen: list[Event] = []
    caplog.set_level(logging.DEBUG)
    path = write(tmp_path, server, "locked, down", "backoff_initial_s: 0.01, backoff_max_s: 0.02, max_wait_s: 0.1")
    with (
        Client(path, run=f"r-{CANARY}", tags={"k": CANARY}, state_dir=tmp_path, environ=ENVIRON, listeners=(seen.append,)) as client,
        pytest.raises(NoModelAvailable) as caught,
    ):
        client.complete([{"role": "user", "content": f"my key is {CANARY}"}])
    files = list(tmp_path.rglob("*.jsonl"))
    assert files
    written = "".join(file.read_text() for file in files)
    assert "failed" in written
    for text in (written, caplog.text, str(caught.value), repr(caught.value), repr(client.registry)):
        assert CANARY not in text


def test_events_have_no_prompt_and_no_answer(server: ScriptedServer, tmp_path: Path) -> None:
    events = tmp_path / "events.jsonl"
    with Client(write(tmp_path, server), events=events, state_dir=tmp_path, environ=ENVIRON) as client:
        client.complete(HELLO)
    lines = [json.loads(line) for line in events.read_text().splitlines()]
    assert [line["event"] for line in lines] == ["admitted", "settled"]
    assert "folder" not in events.read_text()
    assert "one two" not in events.read_text()


def test_mistakes_raise_before_the_first_call(server: ScriptedServer, tmp_path: Path) -> None:
    with pytest.raises(UsageMistake, match="no model registry"):
        Client(environ={})
    with pytest.raises(RegistryInvalid, match="file not found"):
        Client(tmp_path / "none.yaml", environ={})
    with pytest.raises(RegistryInvalid, match="--budget-usd"):
        Client(write(tmp_path, server), budget_usd="-1", environ=ENVIRON)
    with Client(write(tmp_path, server), state_dir=tmp_path, environ={}) as client, pytest.raises(KeyMissing, match="CANARY_KEY"):
        client.complete(HELLO)


def test_the_environment_sets_registry_run_and_ledger(server: ScriptedServer, tmp_path: Path) -> None:
    environ = {
        **ENVIRON,
        "PAYMASTER_MODEL_REGISTRY": str(write(tmp_path, server)),
        "PAYMASTER_RUN_ID": "from-env",
        "PAYMASTER_STATE_DIR": str(tmp_path / "elsewhere"),
    }
    with Client(environ=environ) as client:
        assert client.complete(HELLO).attempts[0].run == "from-env"
    assert (tmp_path / "elsewhere" / "ledger.sqlite3").exists()
    with Client(environ=environ, run="flag", ledger="memory:") as client:
        assert client.complete(HELLO).attempts[0].run == "flag"


def test_several_keys_are_distributed_and_each_worker_keeps_one(tmp_path: Path, server: ScriptedServer) -> None:
    path = write(tmp_path, server)
    path.write_text(path.read_text().replace("api_key_env: CANARY_KEY", "api_key: $KEY_A:::$KEY_B"))
    with Client(path, state_dir=tmp_path, environ={"KEY_A": "sk-aaaaaaaaaaaa", "KEY_B": "sk-bbbbbbbbbbbb"}) as client:
        world = client._resources.world
        model = client.registry.models["good"]
        used = set()
        for number in range(20):
            with client.scope(instance=f"i{number}") as scope:
                keys = {world.key_of(model, scope) for _ in range(3)}
            assert len(keys) == 1
            used |= keys
    assert used == {"sk-aaaaaaaaaaaa", "sk-bbbbbbbbbbbb"}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_forked_processes_never_read_each_others_answers(server: ScriptedServer, tmp_path: Path) -> None:
    with Client(write(tmp_path, server), run="r", budget_usd="5", state_dir=tmp_path, environ=ENVIRON) as client:
        client.complete(HELLO)  # its connection is idle when the children are forked
        children = []
        for _ in range(3):
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    for _ in range(5):
                        client.complete(HELLO)
                    code = 0
                finally:
                    os._exit(code)
            children.append(child)
        for _ in range(5):
            client.complete(HELLO)
        assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0, 0]
        balance = client.balances("usd/")["usd/run/r"]
        assert (balance.settled, balance.held) == (server.bill()["billed_nanousd"], 0)
        assert server.bill()["requests"] == 21
