"""Clocks, signals, ids, and coroutines that run without a loop."""

import asyncio
import os
import threading
import time
import uuid

import pytest

from paymaster.runtime import AsyncioRuntime, BlockingRuntime, SteadyClock, TaskLimit, iterate, run, time_sorted_id
from paymaster.testing import ManualRuntime


@pytest.mark.parametrize("runtime", [BlockingRuntime(), AsyncioRuntime()])
def test_the_clock_shows_wall_time_and_does_not_jump(runtime, monkeypatch):
    assert abs(runtime.now_ms() - time.time() * 1000) < 1_000
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    assert runtime.now_ms() > 1_600_000_000_000
    assert 0 <= runtime.jitter() < 1


def test_a_steady_clock_never_runs_backwards():
    clock = SteadyClock()
    readings = [clock.now_ns() for _ in range(1_000)]
    assert readings == sorted(readings)


def test_ids_are_unique_sort_by_time_and_are_uuids_of_version_7():
    now_ns = 1_763_856_000_123_456_789
    made = [time_sorted_id(now_ns + step * 1_000) for step in range(2_000)]
    assert len(set(made)) == 2_000
    assert made == sorted(made)
    as_uuid = uuid.UUID(made[0])
    assert (as_uuid.version, as_uuid.variant) == (7, uuid.RFC_4122)
    assert as_uuid.int >> 80 == now_ns // 1_000_000
    assert len({time_sorted_id(now_ns) for _ in range(1_000)}) == 1_000


def test_ids_of_forked_processes_differ():
    runtime = BlockingRuntime()
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.write(writer, runtime.new_id().encode())
        os._exit(0)
    os.wait()
    assert os.read(reader, 100).decode() != runtime.new_id()
    os.close(reader)
    os.close(writer)


def test_a_thread_waits_for_its_signal_or_until_its_timeout():
    runtime = BlockingRuntime()
    signal = runtime.signal()
    assert not run(signal.wait(5))
    threading.Timer(0.02, signal.wake).start()
    assert run(signal.wait(5_000))
    assert not run(signal.wait(1))


def test_a_task_waits_for_its_signal_which_any_thread_may_send():
    async def scenario():
        signal = AsyncioRuntime().signal()
        assert not await signal.wait(5)
        threading.Timer(0.02, signal.wake).start()
        assert await signal.wait(5_000)
        assert not await signal.wait(1)
        return signal

    signal = asyncio.run(scenario())
    signal.wake()  # the loop has closed


def test_a_blocking_runtime_sleeps_and_finishes_without_a_loop():
    runtime = BlockingRuntime()

    async def work():
        await runtime.sleep(1)
        return 7

    assert run(runtime.finish(work())) == 7


def test_run_raises_if_a_coroutine_waits_for_a_loop():
    async def suspends():
        await asyncio.sleep(0)

    with pytest.raises(RuntimeError, match="wait for an event loop"):
        run(suspends())


def test_run_raises_the_coroutines_error():
    async def fails():
        raise KeyError("x")

    with pytest.raises(KeyError):
        run(fails())


def test_iterate_yields_and_closes():
    closed = []

    async def numbers():
        try:
            for number in range(5):
                yield number
        finally:
            closed.append(True)

    assert list(iterate(numbers())) == [0, 1, 2, 3, 4]
    some = iterate(numbers())
    assert next(some) == 0
    some.close()
    assert closed == [True, True]


def test_finish_returns_what_the_work_returns_or_raises():
    async def scenario():
        runtime = AsyncioRuntime()

        async def works():
            await asyncio.sleep(0.001)
            return 7

        async def fails():
            raise KeyError("x")

        assert await runtime.finish(works()) == 7
        with pytest.raises(KeyError):
            await runtime.finish(fails())

    asyncio.run(scenario())


def test_finish_runs_to_the_end_and_then_raises_cancellations():
    async def scenario():
        runtime, done = AsyncioRuntime(), []

        async def work():
            await asyncio.sleep(0.05)
            done.append(True)

        task = asyncio.create_task(runtime.finish(work()))
        for _ in range(3):
            await asyncio.sleep(0.005)
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert done == [True]

    asyncio.run(scenario())


def test_finish_keeps_the_error_of_work_that_fails_after_a_cancellation():
    async def scenario():
        async def work():
            await asyncio.sleep(0.01)
            raise KeyError("x")

        task = asyncio.create_task(AsyncioRuntime().finish(work()))
        await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert isinstance(caught.value.__cause__, KeyError)

    asyncio.run(scenario())


def test_a_closing_loop_ends_the_work_as_well():
    async def scenario():
        async def work():
            await asyncio.sleep(60)

        asyncio.create_task(AsyncioRuntime().finish(work()))  # noqa: RUF006 - left behind on purpose
        await asyncio.sleep(0.001)

    started = time.perf_counter()
    asyncio.run(scenario())
    assert time.perf_counter() - started < 5


def test_a_manual_clock_moves_only_by_advance_and_sleep():
    runtime = ManualRuntime(1_000)
    run(runtime.sleep(50))
    runtime.advance(-20)
    assert runtime.now_ms() == 1_030
    assert runtime.slept_ms == [50]
    assert runtime.jitter() == 0.5
    signal = runtime.signal()
    signal.wake()
    assert run(signal.wait(10))
    assert not run(signal.wait(10))
    assert runtime.now_ms() == 1_040
    first, second = runtime.new_id(), runtime.new_id()
    assert first < second

    async def seven():
        return 7

    assert run(runtime.finish(seven())) == 7


def test_a_task_limit_ends_only_the_wait_that_lasts_too_long():
    async def scenario():
        limit = TaskLimit()
        for _ in range(3):  # together longer than the limit, each with time to spare on a busy machine
            await limit.wait(asyncio.sleep(0.5), 1.2)
        with pytest.raises(TimeoutError):
            await limit.wait(asyncio.sleep(10), 0.05)
        assert asyncio.current_task().cancelling() == 0
        assert await limit.wait(asyncio.sleep(0.01, "still usable"), 5) == "still usable"
        with pytest.raises(TimeoutError):  # a shorter limit than the timer is set for
            await limit.wait(asyncio.sleep(10), 0.02)
        limit.close()

    began = time.monotonic()
    asyncio.run(scenario())
    assert time.monotonic() - began < 9


def test_a_task_limit_leaves_no_cancellation_if_the_work_replaces_it():
    async def stubborn():
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            raise ConnectionResetError from None

    async def scenario():
        limit = TaskLimit()
        with pytest.raises(ConnectionResetError):
            await limit.wait(stubborn(), 0.02)
        limit.close()
        return asyncio.current_task().cancelling()

    assert asyncio.run(scenario()) == 0


def test_a_task_limit_lets_a_cancellation_from_outside_through():
    async def scenario():
        limit = TaskLimit()
        waiting = asyncio.create_task(limit.wait(asyncio.sleep(10), 60))
        await asyncio.sleep(0.01)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        limit.close()

    asyncio.run(scenario())


def test_a_closed_task_limit_has_no_timer():
    async def scenario():
        limit = TaskLimit()
        await limit.wait(asyncio.sleep(0), 3600)
        limit.close()
        return [handle for handle in asyncio.get_running_loop()._scheduled if not handle.cancelled()]

    assert asyncio.run(scenario()) == []


def test_a_task_limit_needs_a_task():
    async def nothing():
        return None

    async def scenario():
        failed = asyncio.get_running_loop().create_future()
        limit, work = TaskLimit(), nothing()

        def outside():
            try:
                limit.wait(work, 1).send(None)
            except RuntimeError as error:
                failed.set_result(str(error))

        asyncio.get_running_loop().call_soon(outside)
        message = await failed
        work.close()
        return message

    assert "outside a task" in asyncio.run(scenario())
