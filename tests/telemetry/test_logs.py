"""Events in the log: their sentences and levels, without secrets, control characters and characters that can't be encoded."""

from __future__ import annotations

import io
import logging
import subprocess
import sys
from dataclasses import replace
from typing import get_args

import pytest

from paymaster.flow.events import Event
from paymaster.printable import printable_line
from paymaster.redaction import MASK, Redactor
from paymaster.scope import Scope
from paymaster.telemetry.logs import EventLog, RedactingFilter, configure_logging, encodable
from paymaster.telemetry.sentences import logger_and_level, sentence
from paymaster.views.words import duration

CANARY = "canary-5f0a-do-not-leak"


@pytest.fixture(autouse=True)
def own_logging():
    root = logging.getLogger("paymaster")
    before = (root.handlers[:], root.level, root.propagate)
    root.handlers[:] = []
    yield root
    root.handlers[:], root.level, root.propagate = before


class Terminal(io.TextIOWrapper):
    def __init__(self, encoding: str = "utf-8", *, terminal: bool = False) -> None:
        self.bytes = io.BytesIO()
        self.terminal = terminal
        super().__init__(self.bytes, encoding=encoding, errors="strict", write_through=True)

    def isatty(self) -> bool:
        return self.terminal

    @property
    def shown(self) -> str:
        return self.bytes.getvalue().decode(self.encoding)


UNDERCOUNTED = "local: a prompt held for as 600 tokens was counted as 1,204 by the provider. From now on this model is counted by"

SENTENCES = [
    ("admitted", {}, logging.DEBUG, "gpt-4o, attempt 1: $0.0512 held for 2,345 tokens in and at most 4,096 tokens out"),
    (
        "admitted",
        {"lowered_from_tokens": 16_384, "dropped_params": ("seed", "top_k"), "over_budget": ("usd/run/exp-42",)},
        logging.DEBUG,
        (
            "gpt-4o, attempt 1: $0.0512 held for 2,345 tokens in and at most 4,096 tokens out (lowered from 16,384 to fit the budget), "
            "without seed, top_k; over budget: usd/run/exp-42"
        ),
    ),
    ("admitted", {"max_output_tokens": None}, logging.DEBUG, "gpt-4o, attempt 1: $0.0512 held for 2,345 tokens in and any length out"),
    ("throttled", {}, logging.INFO, "gpt-4o waits up to 1.5 s: 60 requests per minute (requests/gpt-4o)"),
    ("throttled", {"wait_ms": 30_000, "account": ""}, logging.WARNING, "gpt-4o waits up to 30.0 s: 60 requests per minute"),
    ("throttled", {"wait_ms": None}, logging.INFO, "gpt-4o waits until another call ends: 60 requests per minute (requests/gpt-4o)"),
    ("refused", {}, logging.INFO, "gpt-4o skipped: tokens/gpt-4o needs 400 and has 1,000, of which 700 used and 200 held"),
    (
        "refused",
        {"account": "usd/run/exp-42", "cap": 10**9, "settled": 9 * 10**8, "held": 0, "needed": 2 * 10**8},
        logging.INFO,
        "gpt-4o skipped: usd/run/exp-42 needs $0.20 and has $1.00, of which $0.90 used and $0.00 held",
    ),
    ("skipped", {}, logging.DEBUG, "local skipped: it lacks vision"),
    ("gave_up", {}, logging.DEBUG, "the call ends without an answer (NoModelAvailable) after 2 attempts; $0.0512 charged"),
    ("settled", {}, logging.INFO, "gpt-4o answered in 2.3 s: 2,348 tokens in (1,024 cached), 410 out, $0.0123"),
    (
        "settled",
        {"waited_ms": 65_000, "cache_read_tokens": 0, "billed": "assumed"},
        logging.INFO,
        "gpt-4o answered in 2.3 s after waiting 1 min 05 s: 1,324 tokens in, 410 out, $0.0123 assumed",
    ),
    ("settled", {"billed": "unpriced"}, logging.INFO, "gpt-4o answered in 2.3 s: 2,348 tokens in (1,024 cached), 410 out, cost unknown"),
    ("failed", {}, logging.INFO, "gpt-4o, attempt 2: throttled (HTTP 429) after 80 ms; retry after 20.0 s: slow down"),
    (
        "failed",
        {"failure": "timed_out", "status": None, "retry_after_ms": None, "cost_nanousd": 51_200_000},
        logging.WARNING,
        "gpt-4o, attempt 2: timed out after 80 ms; $0.0512 charged: slow down",
    ),
    (
        "failed",
        {
            "failure": "cancelled",
            "status": None,
            "retry_after_ms": None,
            "cost_nanousd": 300_000,
            "cost_basis": "12 prompt tokens as reported, at most 80 output tokens until the connection closed",
        },
        logging.INFO,
        (
            "gpt-4o, attempt 2: cancelled after 80 ms; $0.0003 charged (12 prompt tokens as reported, at most 80 output tokens until the "
            "connection closed): slow down"
        ),
    ),
    ("fallback", {}, logging.WARNING, "gpt-4o fell back to gemini-pro: throttled"),
    ("fallback", {"endpoint": "eu"}, logging.WARNING, "gpt-4o/eu fell back to gemini-pro: throttled"),
    ("endpoint_changed", {}, logging.INFO, "sonnet/eu gave the call to us: overloaded"),
    ("fallback", {"dropped_params": ("seed",)}, logging.WARNING, "gpt-4o fell back to gemini-pro: throttled, without seed"),
    ("budget_threshold", {}, logging.WARNING, "80 % of usd/run/exp-42 is spent: $4.0123 of $5.00"),
    (
        "budget_exceeded",
        {},
        logging.WARNING,
        "usd/run/exp-42 is over by $0.17, and the run goes on: $5.10 spent and $0.02 held of $5.00",
    ),
    ("budget_exceeded", {"hard": True}, logging.INFO, "usd/run/exp-42 stops the call: $5.10 spent and $0.02 held of $5.00, $0.05 needed"),
    ("unpriced", {}, logging.WARNING, "local has no price, so its cost is not counted. Add `price: free` to local."),
    ("breaker_opened", {}, logging.WARNING, "gpt-4o: circuit open for 30.0 s, for every worker: server error"),
    ("concurrency_lowered", {}, logging.INFO, "gpt-4o: concurrency limit lowered from 20 to 14 (throttled)"),
    ("prompt_undercounted", {}, logging.WARNING, f"{UNDERCOUNTED} bytes. Correct `tokenizer:` under local."),
    (
        "prompt_undercounted",
        {"percent_of_bytes": 170},
        logging.WARNING,
        f"{UNDERCOUNTED} 1.7 times its bytes. Correct `tokenizer:` under local.",
    ),
    ("breaker_closed", {}, logging.INFO, "gpt-4o: circuit closed, it answers again"),
    ("hold_lost", {}, logging.WARNING, "a worker died during a call to gpt-4o: its whole hold is charged, $0.0512"),
    (
        "settlement_failed",
        {},
        logging.ERROR,
        (
            "ledger unavailable, the cost of a call to gpt-4o is not recorded; $0.0512 stay held and are charged when the lease ends: "
            "the database is locked"
        ),
    ),
    (
        "settlement_failed",
        {"spooled": True},
        logging.ERROR,
        (
            "ledger unavailable, the cost of a call to gpt-4o is not recorded; it waits on disk until the ledger is available again: "
            "the database is locked"
        ),
    ),
    (
        "unbooked",
        {},
        logging.ERROR,
        "ledger unavailable, gpt-4o is called without it: $0.0512 are in no budget yet. the database is locked",
    ),
    (
        "settlement_posted",
        {},
        logging.WARNING,
        "ledger available again: $0.0512 of a call to gpt-4o, which waited on disk, are recorded",
    ),
    (
        "settlement_set_aside",
        {},
        logging.ERROR,
        "$0.0512 of a call to gpt-4o can't be recorded and is set aside, see `paymaster ledger status`: it is too large",
    ),
    (
        "settlement_set_aside",
        {"model": "", "reason": "no JSON"},
        logging.ERROR,
        "a line of the spool can't be recorded and is set aside, see `paymaster ledger status`: no JSON",
    ),
]


@pytest.mark.parametrize(("kind", "changes", "level", "text"), SENTENCES)
def test_an_event_reads_as_one_clear_sentence(kind, changes, level, text, events):
    event = replace(events[kind], **changes)
    assert sentence(event) == text
    assert logger_and_level(event)[1] == level


def test_there_is_a_sentence_for_every_event():
    assert {kind for kind, *_ in SENTENCES} == {event.kind for event in get_args(Event)}


def test_the_instance_of_a_batch_comes_first(events):
    event = replace(events["breaker_closed"], scope=Scope(run="r", instance="django-1"))
    assert sentence(event) == "django-1: gpt-4o: circuit closed, it answers again"


def test_text_from_outside_can_neither_break_the_line_nor_control_the_terminal(events):
    said = sentence(replace(events["failed"], message="one\n\tERROR forged\x1b[31m\x07 \N{RIGHT-TO-LEFT OVERRIDE}"))
    assert said.endswith(r": one ERROR forged\x1b[31m\x07 \u202e")
    assert printable_line("  a\r\nb  ") == "a b"


@pytest.mark.parametrize(
    ("time_ms", "text"),
    [(0, "0 ms"), (999, "999 ms"), (1_000, "1.0 s"), (59_999, "59.9 s"), (60_000, "1 min 00 s"), (3_723_000, "62 min 03 s")],
)
def test_durations_are_readable(time_ms, text):
    assert duration(time_ms) == text


def test_events_are_logged_by_the_logger_of_their_package(events, caplog):
    caplog.set_level(logging.DEBUG, "paymaster")
    log = EventLog()
    for event in events.values():
        log(event)
    assert {record.name for record in caplog.records} == {"paymaster.calls", "paymaster.routing", "paymaster.budgets"}
    assert len(caplog.records) == len(events)


def test_a_model_without_a_price_is_named_once(events, caplog):
    log = EventLog()
    for model in ("local", "local", "other", "local"):
        log(replace(events["unpriced"], model=model))
    assert [message.split()[0] for message in caplog.messages] == ["local", "other"]


HEARS_NOTHING = """
from paymaster.flow.ledger_events import HoldLost
from paymaster.scope import Scope
from paymaster.telemetry.logs import EventLog

EventLog()
EventLog()(HoldLost(at_ms=1, call_id="c-1", scope=Scope(run="r"), model="gpt-4o", cost_nanousd=51_200_000, hold_id="h-1"))
"""


def test_without_a_logging_setup_nothing_is_shown():
    # A process of its own, for in this one pytest has set up logging.
    run = subprocess.run([sys.executable, "-c", HEARS_NOTHING], capture_output=True, text=True, check=True)
    assert (run.stdout, run.stderr) == ("", "")


@pytest.mark.parametrize("terminal", [True, False], ids=["terminal", "pipe"])
@pytest.mark.parametrize("kind", [event.kind for event in get_args(Event)])
def test_no_secret_of_any_event_reaches_the_log(kind, terminal, events, filled):
    stream = Terminal(terminal=terminal)
    configure_logging(2, stream, Redactor([CANARY]))
    log = EventLog(Redactor([CANARY]))
    log(filled(events[kind], f"x {CANARY} Bearer abcdef-123456"))
    assert stream.shown
    unwrapped = "".join(stream.shown.split())
    assert "canary" not in unwrapped
    assert "abcdef-123456" not in unwrapped


@pytest.mark.parametrize("terminal", [True, False], ids=["terminal", "pipe"])
def test_no_secret_in_a_message_an_argument_or_a_traceback_reaches_the_log(terminal):
    stream = Terminal(terminal=terminal)
    configure_logging(2, stream, Redactor([CANARY]))
    logger = logging.getLogger("paymaster.providers")
    try:
        int(f"wrong key {CANARY}")
    except ValueError:
        logger.exception("with %s", CANARY, stack_info=True)
    logger.warning(f"plainly {CANARY}")  # noqa: G004 -- the careless way is the one to test
    unwrapped = "".join(stream.shown.split())
    assert "canary-5f0a" not in unwrapped
    assert "ValueError" in unwrapped
    assert unwrapped.count(MASK) >= 3


def test_a_stack_and_an_already_formatted_traceback_are_masked():
    record = logging.LogRecord("paymaster", logging.INFO, __file__, 1, "text", (), None)
    record.exc_text, record.stack_info = f"Traceback {CANARY}", f"Stack {CANARY}"
    assert RedactingFilter(Redactor([CANARY])).filter(record)
    assert (record.exc_text, record.stack_info) == (f"Traceback {MASK}", f"Stack {MASK}")


@pytest.mark.parametrize(
    ("verbosity", "shown"),
    [
        (-5, {"ERROR"}),
        (-1, {"ERROR"}),
        (0, {"ERROR", "WARNING"}),
        (1, {"ERROR", "WARNING", "INFO"}),
        (9, {"ERROR", "WARNING", "INFO", "DEBUG"}),
    ],
)
def test_verbosity_decides_what_is_shown(verbosity, shown):
    stream = Terminal()
    configure_logging(verbosity, stream)
    for level in ("ERROR", "WARNING", "INFO", "DEBUG"):
        logging.getLogger("paymaster.calls").log(getattr(logging, level), "hello")
    assert {line.split()[2] for line in stream.shown.splitlines()} == shown


def test_configuring_again_replaces_only_the_former_handler(own_logging):
    other = logging.NullHandler()
    own_logging.addHandler(other)
    first, second = Terminal(), Terminal()
    configure_logging(1, first)
    configure_logging(1, second)
    logging.getLogger("paymaster.calls").info("once")
    assert first.shown == ""
    assert second.shown.count("once") == 1
    assert other in own_logging.handlers


def test_a_pipe_gets_plain_lines_with_date_level_and_logger():
    stream = Terminal()
    configure_logging(1, stream)
    logging.getLogger("paymaster.calls").info("hello [bold]")
    assert stream.shown.endswith(" INFO paymaster.calls: hello [bold]\n")
    assert "\x1b" not in stream.shown


def test_square_brackets_are_not_markup_on_a_terminal():
    stream = Terminal(terminal=True)
    configure_logging(1, stream)
    logging.getLogger("paymaster.calls").info("hello [bold]there[/bold] [/nothing]")
    assert "[bold]there[/bold] [/nothing]" in stream.shown


@pytest.mark.parametrize("terminal", [True, False], ids=["terminal", "pipe"])
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_characters_that_the_stream_cannot_encode_are_replaced(encoding, terminal, capsys):
    stream = Terminal(encoding, terminal=terminal)
    configure_logging(1, stream)
    logging.getLogger("paymaster.calls").info("caf\xe9 \N{EM DASH} wait\N{HORIZONTAL ELLIPSIS} \N{SNOWMAN}")
    expected = {
        "ascii": r"caf\xe9 - wait... \u2603",
        "latin-1": r"café - wait... \u2603",
        "utf-8": "café \N{EM DASH} wait\N{HORIZONTAL ELLIPSIS} ☃",
    }
    assert expected[encoding] in stream.shown
    assert capsys.readouterr().err == ""


def test_a_lone_surrogate_is_escaped():
    assert encodable("\udce9", "utf-8") == r"\udce9"


def test_text_that_can_be_encoded_is_unchanged():
    assert encodable("caf\xe9 \N{EM DASH} \N{SNOWMAN}", "utf-8") == "café — ☃"
