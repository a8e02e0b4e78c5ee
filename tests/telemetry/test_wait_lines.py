"""What a person at a terminal sees while calls wait."""

import logging
import time
from collections.abc import Iterator
from datetime import datetime

import pytest

from paymaster.flow.events import BreakerClosed, Throttled
from paymaster.scope import Scope
from paymaster.telemetry.sentences import sentence
from paymaster.telemetry.wait_lines import REPEAT_MS, WaitLines, wait_line

AT_MS = int(datetime(2026, 11, 30, 12, 1, 5).timestamp() * 1000)  # noqa: DTZ001 - lines have local time


@pytest.fixture(autouse=True)
def log_of_warnings() -> Iterator[None]:
    """The level of a program without `-v` and `-q`."""
    logger = logging.getLogger("paymaster")
    level = logger.level
    logger.setLevel(logging.WARNING)
    yield
    logger.setLevel(level)


def wait(*, after_ms: int = 0, wait_ms: int | None = 15_000, call_id: str = "c1", **fields: object) -> Throttled:
    """A wait for an overloaded model."""
    defaults: dict[str, object] = {
        "model": "gpt-4o",
        "account": "breaker/gpt-4o",
        "reason": "circuit open after failures",
        "failure": "overloaded (HTTP 529)",
        "failing_since_ms": AT_MS - 2_000,
        "gives_up_at_ms": AT_MS + 295_000,
    }
    return Throttled(at_ms=AT_MS + after_ms, call_id=call_id, scope=Scope(run="r"), wait_ms=wait_ms, **{**defaults, **fields})  # type: ignore[arg-type]  # any field


UNKNOWN: dict[str, object] = {"failure": None, "failing_since_ms": None}


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (wait(), "waiting for gpt-4o: overloaded (HTTP 529) since 12:01:03; next try 12:01:20; gives up 12:06:00"),
        (wait(**UNKNOWN), "waiting for gpt-4o: circuit open after failures; next try 12:01:20; gives up 12:06:00"),
        (
            wait(wait_ms=None, reason="slots/gpt-4o: 4 of 4 used, 1 needed", **UNKNOWN),
            "waiting for gpt-4o: slots/gpt-4o: 4 of 4 used, 1 needed; next try when another call ends; gives up 12:06:00",
        ),
        (wait(failure="\x1b[31mred", gives_up_at_ms=None), "waiting for gpt-4o: \\x1b[31mred since 12:01:03; next try 12:01:20"),
    ],
)
def test_a_line_says_for_what_and_until_when(event: Throttled, line: str) -> None:
    assert wait_line(event) == line


def test_the_log_has_the_same() -> None:
    assert sentence(wait()) == (
        "gpt-4o waits up to 15.0 s: circuit open after failures; overloaded (HTTP 529) for 2.0 s; gives up in 4 min 55 s"
    )


@pytest.mark.parametrize(
    ("events", "number"),
    [
        ([wait()], 1),
        ([wait(wait_ms=800)], 0),
        ([wait(), wait(after_ms=5_000, call_id="c2")], 1),  # calls that wait for the same share a line
        ([wait(), wait(after_ms=5_000, failure="server error (HTTP 500)")], 2),
        ([wait(), wait(after_ms=5_000, model="other")], 2),
        ([wait(), wait(after_ms=REPEAT_MS)], 2),
        ([BreakerClosed(at_ms=AT_MS, call_id="c1", scope=Scope(run="r"), model="gpt-4o")], 0),
    ],
)
def test_a_terminal_has_few_lines(events: list[Throttled], number: int) -> None:
    written: list[str] = []
    listener = WaitLines(written.append)
    for event in events:
        listener(event)
    assert len(written) == number


@pytest.mark.parametrize("level", [logging.INFO, logging.ERROR])
def test_with_v_the_log_has_the_waits_and_with_q_nobody_wants_them(level: int) -> None:
    logging.getLogger("paymaster").setLevel(level)
    written: list[str] = []
    WaitLines(written.append)(wait())
    assert written == []


def test_a_wait_without_a_known_end_is_shown_if_it_lasts() -> None:
    written: list[str] = []
    listener = WaitLines(written.append)
    listener(wait(wait_ms=None, call_id="short"))
    listener(BreakerClosed(at_ms=AT_MS, call_id="short", scope=Scope(run="r"), model="gpt-4o"))
    listener(wait(wait_ms=None, call_id="long", model="other"))
    deadline_s = time.monotonic() + 20
    while not written and time.monotonic() < deadline_s:
        time.sleep(0.02)
    assert len(written) == 1
    assert written[0].startswith("waiting for other: ")
