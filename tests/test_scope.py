"""Where a `scope()` reaches: tasks and contexts by themselves, threads by `in_scope`, and a warning where it was lost."""

from __future__ import annotations

import asyncio
import inspect
import logging
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TYPE_CHECKING

import pytest

from paymaster import AsyncClient, Client, in_scope

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from paymaster.flow.replies import Reply

HELLO = [{"role": "user", "content": "Hello"}]


@pytest.fixture(name="registry")
def write_registry(tmp_path: Path) -> Path:
    (tmp_path / "play.yaml").write_text("models: {m: {}}\n")
    path = tmp_path / "registry.yaml"
    path.write_text("default: m\nmodels: {m: {provider: scripted, script: play.yaml, usd_per_1m_input: 1, usd_per_1m_output: 10}}\n")
    return path


@pytest.fixture(name="client")
def open_client(registry: Path) -> Iterator[Client]:
    with Client(registry, run="r", ledger="memory:", environ={}) as client:
        yield client


def instance_of(reply: Reply) -> str | None:
    """The instance that the ledger has for the call."""
    return reply.attempts[0].instance


def call(client: Client) -> str | None:
    return instance_of(client.complete(HELLO))


# ------------------------------------------------------------------------------------------------------- inherited anyway


def test_tasks_and_to_thread_inherit_a_scope(registry: Path) -> None:
    async def scenario() -> None:
        async with AsyncClient(registry, ledger="memory:", environ={}) as client:
            with Client(registry, ledger="memory:", environ={}) as sync, client.scope(instance="a"), sync.scope(instance="b"):
                task = asyncio.create_task(client.complete(HELLO))
                group = asyncio.gather(*(client.complete(HELLO) for _ in range(3)))
                assert await asyncio.to_thread(call, sync) == "b"
                context = copy_context()
            assert [instance_of(reply) for reply in (await task, *await group)] == ["a"] * 4
            assert (client.current_scope.instance, context.run(lambda: client.current_scope.instance)) == (None, "a")
            with client.scope(instance="loop"):
                later = asyncio.run_coroutine_threadsafe(client.complete(HELLO), asyncio.get_running_loop())
            assert instance_of(await asyncio.wrap_future(later)) == "loop"

    asyncio.run(scenario())


def test_a_stream_has_the_scope_it_was_made_in_whichever_thread_reads_it(client: Client) -> None:
    with client.scope(instance="a"):
        stream = client.stream(HELLO)
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(list, stream).result()
    assert instance_of(stream.reply) == "a"


# ---------------------------------------------------------------------------------------------------------------- in_scope


def test_a_function_in_scope_has_it_in_any_thread_and_at_any_time(client: Client) -> None:
    with ThreadPoolExecutor(4) as pool:
        jobs = []
        for number in range(12):
            with client.scope(instance=f"task-{number}", role="agent"):
                jobs.append(pool.submit(in_scope(call), client))
        assert [job.result() for job in jobs] == [f"task-{number}" for number in range(12)]
        with client.scope(instance="mapped"):
            assert list(pool.map(in_scope(lambda _: call(client)), range(8))) == ["mapped"] * 8
        assert {pool.submit(lambda: client.current_scope.instance).result() for _ in range(8)} == {None}


def test_a_bound_method_can_be_in_scope_in_a_thread_of_its_own(client: Client) -> None:
    found: list[str | None] = []
    with client.scope(instance="a"):
        thread = threading.Thread(target=in_scope(lambda: found.append(call(client))))
        complete = in_scope(client.complete)
    thread.start()
    thread.join()
    assert found == ["a"]
    assert instance_of(complete(HELLO)) == "a"
    assert call(client) is None


def test_a_function_in_scope_has_the_blocks_of_every_client_and_its_own_arguments(client: Client, registry: Path) -> None:
    with Client(registry, run="other", ledger="memory:", environ={}) as other, ThreadPoolExecutor(1) as pool:

        def names(prefix: str, *, end: str) -> str:
            """Their instances."""
            return f"{prefix}{client.current_scope.instance}{other.current_scope.instance}{end}"

        with client.scope(instance="a"), other.scope(instance="b"):
            bound = in_scope(names)
        assert pool.submit(bound, "<", end=">").result() == "<ab>"
    assert (bound.__name__, bound.__doc__) == ("names", "Their instances.")


def test_a_function_in_scope_puts_back_what_its_thread_had_even_if_it_raises(client: Client) -> None:
    def fail() -> None:
        with client.scope(role="inner"):
            raise ValueError(client.current_scope.instance)

    with client.scope(instance="a"):
        bound = in_scope(fail)
    with client.scope(instance="b"):
        with pytest.raises(ValueError, match=r"^a$"):
            bound()
        assert (client.current_scope.instance, client.current_scope.role) == ("b", None)
    outside = in_scope(lambda: client.current_scope.instance)
    with client.scope(instance="c"):
        assert outside() is None


def test_a_coroutine_function_in_scope_stays_one(registry: Path) -> None:
    async def work() -> str | None:
        async with AsyncClient(registry, ledger="memory:", environ={}) as client:
            with client.scope(instance="a"):
                complete = in_scope(client.complete)
            assert inspect.iscoroutinefunction(complete)
            await asyncio.sleep(0)
            assert instance_of(await client.complete(HELLO)) is None
            return instance_of(await complete(HELLO))

    assert asyncio.run(work()) == "a"


def test_in_scope_wins_over_a_context_that_its_thread_inherited(client: Client) -> None:
    # As in Python 3.14 with thread_inherit_context: the pool's thread keeps the context of the submit that started it.
    with client.scope(instance="first"):
        inherited = copy_context()
        assert inherited.run(call, client) == "first"
    with client.scope(instance="second"):
        bound = in_scope(call)
    assert inherited.run(bound, client) == "second"
    assert inherited.run(call, client) == "first"


@pytest.mark.skipif(sys.version_info < (3, 14), reason="the option is new in Python 3.14")
def test_threads_inherit_a_scope_where_python_is_set_so(registry: Path) -> None:
    program = f"""
import threading, paymaster
with paymaster.Client({str(registry)!r}, ledger="memory:", environ={{}}) as client, client.scope(instance="a"):
    thread = threading.Thread(target=lambda: print(client.current_scope.instance))
    thread.start()
    thread.join()
"""
    for flag, expected in (("1", "a"), ("0", "None")):
        python = [sys.executable, "-X", f"thread_inherit_context={flag}"]
        done = subprocess.run([*python, "-c", program], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == expected


# ----------------------------------------------------------------------------------------------------------------- warning

USES = {
    "complete": lambda client: client.complete(HELLO),
    "stream": lambda client: list(client.stream(HELLO)),
}


@pytest.mark.parametrize("method", USES)
def test_a_call_of_a_pool_that_lost_its_scope_warns_once(method: str, client: Client, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "paymaster")
    with client.scope(instance="a"), warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with ThreadPoolExecutor(2, thread_name_prefix="workers") as pool:
            for _ in range(4):
                pool.submit(USES[method], client).result()
    [warning] = seen
    assert issubclass(warning.category, RuntimeWarning)
    assert "the thread 'workers_0' makes a call outside every scope() block" in str(warning.message)
    assert "paymaster.in_scope(function)" in str(warning.message)
    assert warning.filename == __file__
    assert [record.getMessage() for record in caplog.records if record.name == "paymaster.calls"] == [str(warning.message)]


def test_an_async_call_in_a_thread_warns_as_well(registry: Path) -> None:
    async def work() -> None:
        async with AsyncClient(registry, ledger="memory:", environ={}) as client:
            with client.scope(instance="a"), ThreadPoolExecutor(1) as pool:
                with pytest.warns(RuntimeWarning, match="in_scope"):
                    reply = await asyncio.wrap_future(pool.submit(lambda: asyncio.run(client.complete(HELLO))))
                assert instance_of(reply) is None

    asyncio.run(work())


def test_a_warning_that_is_an_error_stops_the_call_before_it_costs_anything(client: Client) -> None:
    with client.scope(instance="a"), ThreadPoolExecutor(1) as pool, pytest.raises(RuntimeWarning, match="in_scope"):
        pool.submit(call, client).result()
    assert client.balances("usd/") == {}


def test_calls_that_lost_nothing_do_not_warn(client: Client, registry: Path) -> None:
    with ThreadPoolExecutor(2) as pool, Client(registry, ledger="memory:", environ={}) as other:
        assert pool.submit(call, client).result() is None  # no block is open
        with client.scope(instance="a"):
            assert pool.submit(in_scope(call), client).result() == "a"
            assert pool.submit(call, other).result() is None  # the block is another client's

        def own() -> str | None:
            with client.scope(instance="b"):
                return call(client)

        entered, done = threading.Event(), threading.Event()

        def stay() -> None:
            with client.scope(instance="c"):
                entered.set()
                assert done.wait(10)

        job = pool.submit(stay)
        assert entered.wait(10)
        assert call(client) is None  # the main thread, while a worker is inside a block of its own
        assert pool.submit(own).result() == "b"
        done.set()
        job.result()
        assert pool.submit(call, client).result() is None  # the block has ended
