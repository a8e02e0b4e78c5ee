"""Callers that are threads, tasks or the child of a fork: each makes its planned calls through a public client until it is done."""

import asyncio
import ctypes
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial

from paymaster.client import AsyncClient, Client
from paymaster.torture.call_planner import NAMED_ERRORS, CallPlanner, CallStyle

_PARENT_DEATH_SIGNAL = 1
"""PR_SET_PDEATHSIG."""


class ThreadFailures:
    """Runs work in threads and raises the first of their errors at the end."""

    def __init__(self) -> None:
        self._errors: list[BaseException] = []

    @contextmanager
    def running(self, work: Sequence[Callable[[], None]]) -> Iterator[None]:
        """The work runs in threads of its own during the block and until all of it is done."""
        threads = [threading.Thread(target=partial(self._guard, each)) for each in work]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            for thread in threads:
                thread.join()
        if self._errors:
            raise self._errors[0]

    def _guard(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - a thread's edge: raised again at the end of the process
            self._errors.append(error)


def call_until_done(client: Client, planner: CallPlanner) -> None:
    """The calls of one thread."""
    while not planner.is_done:
        call_once(client, planner)


async def call_in_tasks(client: AsyncClient, planners: Sequence[CallPlanner]) -> None:
    """The calls of as many tasks as there are planners."""

    async def loop(planner: CallPlanner) -> None:
        while not planner.is_done:
            await _call_in_task(client, planner)

    async with asyncio.TaskGroup() as group:
        for planner in planners:
            group.create_task(loop(planner))


def call_in_child(client: Client, planner: CallPlanner, report: Callable[[], None]) -> int:
    """Fork a child that goes on calling with the same client, then reports; returns its process id.

    Call it before other threads use the client: a lock that one of them holds would never be free in the child.
    """
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        _end_with_parent()
        call_until_done(client, planner)
        report()
        status = 0
    except BaseException:
        import traceback

        traceback.print_exc()
        raise
    finally:
        os._exit(status)  # the parent's cleaning up is not the child's


def _end_with_parent() -> None:
    """Let this process be killed when its parent's thread ends, where the system can do that (Linux)."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL)


def call_once(client: Client, planner: CallPlanner) -> None:
    """The next call of one thread."""
    call = planner.next()
    try:
        if call.style is CallStyle.WHOLE:
            planner.answered(client.complete(call.messages, max_tokens=call.max_tokens))
            return
        with client.stream(call.messages, max_tokens=call.max_tokens) as stream:
            for number, _ in enumerate(stream):
                if call.style is CallStyle.ABANDONED and number == call.chunks:
                    planner.counts["abandoned"] += 1
                    return
            planner.answered(stream.reply)
    except NAMED_ERRORS as error:
        time.sleep(planner.failed(error))
    finally:
        planner.check_time()


async def _call_in_task(client: AsyncClient, planner: CallPlanner) -> None:
    call = planner.next()
    try:
        async with asyncio.timeout(call.cancel_after_s if call.style is CallStyle.CANCELLED else None):
            if call.style in {CallStyle.WHOLE, CallStyle.CANCELLED}:
                planner.answered(await client.complete(call.messages, max_tokens=call.max_tokens))
                return
            async with client.stream(call.messages, max_tokens=call.max_tokens) as stream:
                number = 0
                async for _ in stream:
                    number += 1
                    if call.style is CallStyle.ABANDONED and number > call.chunks:
                        planner.counts["abandoned"] += 1
                        return
                planner.answered(stream.reply)
    except TimeoutError:
        planner.counts["cancelled"] += 1
    except NAMED_ERRORS as error:
        await asyncio.sleep(planner.failed(error))
    finally:
        planner.check_time()
