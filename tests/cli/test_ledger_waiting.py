"""The backlog of an unavailable ledger: every command that reads the ledger shows it, and `ledger post` posts it once."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from contextlib import closing, contextmanager

import pytest

from paymaster.accounting.accounts import Charge, Hold, Settlement
from paymaster.accounting.records import AttemptRecord
from paymaster.ledgers.spool.files import Spool
from paymaster.ledgers.urls import open_ledger, spool_folder
from paymaster.runtime import BlockingRuntime, run
from redis_servers import free_port

T = 1_700_000_000_000
"""2023-11-14 22:13:20 UTC"""
READING = ("status", "report", "ledger status", "ledger verify", "top --once")


@pytest.fixture(autouse=True)
def own_state(tmp_path, monkeypatch):
    monkeypatch.setenv("PAYMASTER_STATE_DIR", str(tmp_path / "state"))


@contextmanager
def opened(url):
    """The ledger as a process of its own would open it: nothing of it stays open afterwards."""
    ledger = open_ledger(url, BlockingRuntime().sleep)
    try:
        yield ledger
    finally:
        run(ledger.close())


@pytest.fixture(params=["sqlite", "redis"])
def ledger(request, tmp_path):
    """The URL of a ledger of each kind, with an open hold whose lease is over in a moment."""
    url = f"sqlite:{tmp_path / 'books.sqlite3'}" if request.param == "sqlite" else request.getfixturevalue("redis_url")
    with opened(url) as books:
        run(books.reserve(hold("first", lease_ms=20), T))
    return url


def hold(name, cost=3_000_000, lease_ms=60_000):
    return Hold(name, (Charge("usd/run/r1", cost, None), Charge("requests/m", 1, 60, 61_000)), lease_ms, record(cost, "lost"))


def record(cost, outcome="answered"):
    return AttemptRecord(
        call_id="c1",
        attempt=1,
        at_ms=T,
        model="m",
        provider="p",
        model_id="m",
        outcome=outcome,
        billed="exact",
        cost_nanousd=cost,
        held_nanousd=cost,
        cost_source="registry",
        run="r1",
    ).to_json()


def spool_for(url, tmp_path, location="the location"):
    unopened = open_ledger(url, BlockingRuntime().sleep, state_dir=tmp_path / "state")
    return Spool(spool_folder(unopened, tmp_path / "state"), location)


@pytest.fixture
def with_backlog(ledger, tmp_path):
    """Two settlements and one unsettled hold of an ended process, and one settlement of this process, which is running."""
    ended, running = spool_for(ledger, tmp_path), spool_for(ledger, tmp_path)
    for number in range(2):
        ended.keep_hold(hold(f"h{number}"), T + number)
        ended.keep_settlement(Settlement(hold(f"h{number}"), T + number, (1_000_000, 1), record(1_000_000)))
    ended.keep_hold(hold("unsettled"), T + 5)
    ended.close()
    running.keep_settlement(Settlement(hold("mine"), T + 7, (500_000, 1), record(500_000)))
    yield ledger
    running.empty()


@pytest.mark.parametrize("words", READING)
def test_commands_that_read_a_ledger_show_its_backlog(paymaster, with_backlog, tmp_path, words):
    ended = paymaster(*words.split(), "--ledger", with_backlog)
    assert ended.status == 0
    text = ended.out + ended.err
    folder = next((tmp_path / "state" / "spool").iterdir())
    if words != "top --once":
        assert "3 settlements and 1 unbooked hold of $0.0055, since 2023-11-14 22:13:20 UTC, wait" in text
        assert str(folder) in text
        assert "1 process still running will post its own." in text
        assert "1 process ended: `paymaster ledger post` posts its settlements" in text
    if words in {"status", "ledger status", "top --once"}:
        assert f"{os.getpid()} (running)" in ended.out
        assert f"{os.getpid()} (ended)" in ended.out


@pytest.mark.parametrize("words", READING[:4])
def test_json_output_has_the_backlog(paymaster, with_backlog, words):
    shown = json.loads(paymaster(*words.split(), "--json", "--ledger", with_backlog).out)["waiting"]
    assert (shown["settlements"], shown["unbooked"], shown["cost_nanousd"], shown["oldest_at_ms"]) == (3, 1, 5_500_000, T)
    assert sorted((file["is_running"], file["settlements"], file["unbooked"]) for file in shown["files"]) == [(False, 2, 1), (True, 1, 0)]


def test_reading_does_not_change_the_backlog(paymaster, with_backlog, tmp_path):
    files = {path: path.read_bytes() for path in (tmp_path / "state" / "spool").rglob("*.jsonl")}
    for words in READING:
        paymaster(*words.split(), "--ledger", with_backlog)
    assert {path: path.read_bytes() for path in (tmp_path / "state" / "spool").rglob("*.jsonl")} == files


def test_the_backlog_of_ended_processes_is_posted_once(paymaster, with_backlog):
    first = paymaster("ledger", "post", "--ledger", with_backlog)
    assert first.status == 0
    assert "Posted 3 calls of $0.005 to" in first.out  # with the full hold of the unsettled call
    assert "1 settlement of $0.0005" in first.out
    assert "1 process still running will post its own." in first.out
    again = paymaster("ledger", "post", "--ledger", with_backlog)
    assert "There was nothing to post" in again.out
    report = json.loads(paymaster("report", "--json", "--ledger", with_backlog).out)
    assert report["total"]["cost_nanousd"] == 5_000_000 + 3_000_000  # and the one whose lease is over
    assert paymaster("ledger", "verify", "--ledger", with_backlog).status == 0


def test_verify_does_not_count_posted_settlements_as_waiting(paymaster, ledger, tmp_path):
    """A process that died between posting and removing its file."""
    settlement = Settlement(hold("first"), T, (1_000_000, 1), record(1_000_000))
    with opened(ledger) as books:
        run(books.settle(settlement, T + 1))
    spool = spool_for(ledger, tmp_path)
    spool.keep_settlement(settlement)
    spool.close()
    shown = json.loads(paymaster("ledger", "verify", "--json", "--ledger", ledger).out)
    assert (shown["adds_up"], shown["waiting"]["settlements"]) == (True, 0)


def test_a_lost_call_with_a_waiting_settlement_is_not_yet_posted(paymaster, ledger, tmp_path):
    time.sleep(0.05)
    with opened(ledger) as books:
        run(books.sweep(T + 10**9))
    spool = spool_for(ledger, tmp_path)
    spool.keep_settlement(Settlement(hold("first"), T, (1_000_000, 1), record(1_000_000)))
    spool.close()
    shown = json.loads(paymaster("ledger", "verify", "--json", "--ledger", ledger).out)
    assert (shown["adds_up"], shown["waiting"]["settlements"]) == (True, 1)
    assert paymaster("ledger", "post", "--ledger", ledger).status == 0
    shown = json.loads(paymaster("ledger", "verify", "--json", "--ledger", ledger).out)
    assert (shown["adds_up"], shown["waiting"]["settlements"]) == (True, 0)
    assert json.loads(paymaster("report", "--json", "--ledger", ledger).out)["total"]["cost_nanousd"] == 1_000_000


@pytest.mark.parametrize("words", READING)
def test_an_unavailable_ledger_is_reported_with_its_backlog(paymaster, tmp_path, words):
    url = f"redis://127.0.0.1:{free_port()}/0?timeout_ms=100"
    spool = spool_for(url, tmp_path)
    spool.keep_settlement(Settlement(hold("h"), T, (1_000_000, 1), record(1_000_000)))
    spool.close()
    ended = paymaster(*words.split(), "--ledger", url)
    assert ended.status == 2
    assert "did not answer" in ended.err
    assert "1 settlement of $0.001, since 2023-11-14 22:13:20 UTC, waits on disk for this ledger" in ended.err
    assert ended.out == ""
    if words != "top --once":
        ended = paymaster(*words.split(), "--json", "--ledger", url)
        shown = json.loads(ended.out)
        assert ended.status == 2
        assert "did not answer" in shown["error"]
        assert shown["waiting"]["settlements"] == 1


def test_a_missing_ledger_file_is_reported_with_its_backlog(paymaster, tmp_path):
    url = f"sqlite:{tmp_path / 'mount' / 'books.sqlite3'}"
    spool = spool_for(url, tmp_path)
    spool.keep_hold(hold("h"), T)
    spool.close()
    for words in ("status", "ledger post"):
        ended = paymaster(*words.split(), "--ledger", url)
        assert ended.status == 2
        assert "there is no ledger at" in ended.err
        assert "1 unbooked hold of $0.003" in ended.err


def test_status_shows_backlogs_of_other_ledgers(paymaster, tmp_path):
    spool = spool_for("redis://cache:6379/0", tmp_path, "redis://cache:6379")
    spool.keep_settlement(Settlement(hold("h"), T, (1_000_000, 1), record(1_000_000)))
    spool.close()
    ended = paymaster("status")
    assert "For another ledger, redis://cache:6379: 1 settlement of $0.001" in ended.err
    [shown] = json.loads(paymaster("status", "--json").out)["waiting_elsewhere"]
    assert (shown["ledger"], shown["settlements"]) == ("redis://cache:6379", 1)


def test_the_backlog_of_a_locked_file_is_posted_when_it_is_unlocked(paymaster, tmp_path):
    url = f"sqlite:{tmp_path / 'books.sqlite3'}"
    with opened(url) as books:
        run(books.reserve(hold("first"), T))
    spool = spool_for(url, tmp_path)
    spool.keep_settlement(Settlement(hold("first"), T, (1_000_000, 1), record(1_000_000)))
    spool.close()
    with closing(sqlite3.connect(tmp_path / "books.sqlite3", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        shown = json.loads(paymaster("ledger", "status", "--json", "--ledger", url).out)
        assert shown["waiting"]["settlements"] == 1
        other.execute("ROLLBACK")
    assert "Posted 1 call of $0.001" in paymaster("ledger", "post", "--ledger", url).out


@pytest.fixture
def with_refused(ledger, tmp_path):
    """An ended process's settlement that can be posted, one that never fits, and a line that can't be read."""
    spool = spool_for(ledger, tmp_path)
    spool.keep_settlement(Settlement(hold("good"), T, (1_000_000, 1), record(1_000_000)))
    spool.keep_settlement(Settlement(hold("huge"), T, (2**62 + 1, 1), record(2_000_000)))
    spool.close()
    [path] = (tmp_path / "state" / "spool").rglob("*.jsonl")
    with path.open("ab") as file:
        file.write(b"nonsense\n")
    return ledger


def test_what_cannot_be_posted_is_set_aside_shown_and_dropped(paymaster, with_refused, tmp_path):
    ended = paymaster("ledger", "post", "--ledger", with_refused)
    assert ended.status == 0
    assert "Posted 1 call of $0.001" in ended.out
    said = "1 settlement and 1 unreadable line of $0.002, in "
    for words in ("ledger post", *READING):
        shown = paymaster(*words.split(), "--ledger", with_refused)
        assert shown.status == 0
        if words != "top --once":
            assert said in shown.out + shown.err
            assert "`paymaster ledger post --set-aside` posts it" in shown.out + shown.err
    aside = json.loads(paymaster("ledger", "status", "--json", "--ledger", with_refused).out)["waiting"]["set_aside"]
    assert (aside["settlements"], aside["unreadable"], aside["cost_nanousd"]) == (1, 1, 2_000_000)
    assert any("2**62" in reason for reason in aside["reasons"])
    again = paymaster("ledger", "post", "--set-aside", "--ledger", with_refused)
    assert (again.status, said in again.out) == (0, True)
    dropped = paymaster("ledger", "post", "--drop-set-aside", "--ledger", with_refused)
    assert "Dropped 2 lines of $0.002: no budget counts them." in dropped.out
    assert "Nothing was set aside." in paymaster("ledger", "post", "--drop-set-aside", "--ledger", with_refused).out
    assert list((tmp_path / "state" / "spool").rglob("*.*")) == []
    assert json.loads(paymaster("ledger", "status", "--json", "--ledger", with_refused).out)["waiting"]["set_aside"] is None


def test_post_takes_one_word_about_what_was_set_aside(paymaster, ledger):
    ended = paymaster("ledger", "post", "--set-aside", "--drop-set-aside", "--ledger", ledger)
    assert ended.status == 2
    assert "exclude each other" in ended.err
