"""What waits on disk for a ledger that is away: every command that looks at the ledger says so, and one posts it, once."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from contextlib import closing

import pytest

from paymaster.accounting.accounts import Charge, Hold, Settlement
from paymaster.accounting.records import AttemptRecord
from paymaster.ledgers.spool.files import Spool
from paymaster.ledgers.urls import open_ledger, spool_folder
from paymaster.runtime import BlockingRuntime, run
from redis_servers import free_port

T = 1_700_000_000_000
"""2023-11-14 22:13:20 UTC"""
LOOKING = ("status", "report", "ledger status", "ledger verify", "top --once")


@pytest.fixture(autouse=True)
def own_state(tmp_path, monkeypatch):
    monkeypatch.setenv("PAYMASTER_STATE_DIR", str(tmp_path / "state"))


@pytest.fixture(params=["sqlite", "redis"])
def ledger(request, tmp_path):
    """The URL of a ledger of each kind, with an open hold whose lease is over in a moment."""
    url = f"sqlite:{tmp_path / 'books.sqlite3'}" if request.param == "sqlite" else request.getfixturevalue("redis_url")
    run(open_ledger(url, BlockingRuntime().sleep).reserve(hold("first", lease_ms=20), T))
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


def spool_for(url, tmp_path, place="the place"):
    opened = open_ledger(url, BlockingRuntime().sleep, state_dir=tmp_path / "state")
    return Spool(spool_folder(opened, tmp_path / "state"), place)


@pytest.fixture
def left(ledger, tmp_path):
    """Two settlements and one hold that a process left which is gone, and one settlement of this process, which runs."""
    gone, running = spool_for(ledger, tmp_path), spool_for(ledger, tmp_path)
    for number in range(2):
        gone.keep_hold(hold(f"h{number}"), T + number)
        gone.keep_settlement(Settlement(hold(f"h{number}"), T + number, (1_000_000, 1), record(1_000_000)))
    gone.keep_hold(hold("unheard"), T + 5)
    gone.close()
    running.keep_settlement(Settlement(hold("mine"), T + 7, (500_000, 1), record(500_000)))
    yield ledger
    running.empty()


@pytest.mark.parametrize("words", LOOKING)
def test_who_looks_at_a_ledger_is_told_what_waits_for_it(paymaster, left, tmp_path, words):
    ended = paymaster(*words.split(), "--ledger", left)
    assert ended.status == 0
    said = ended.out + ended.err
    folder = next((tmp_path / "state" / "spool").iterdir())
    if words != "top --once":
        assert "3 settlements and 1 unbooked hold of $0.0055, since 2023-11-14 22:13:20 UTC, wait" in said
        assert str(folder) in said
        assert "1 process that is running will post" in said
        assert "1 process ended before: `paymaster ledger post`" in said
    if words in {"status", "ledger status", "top --once"}:
        assert f"{os.getpid()} (running)" in ended.out
        assert f"{os.getpid()} (ended)" in ended.out


@pytest.mark.parametrize("words", LOOKING[:4])
def test_a_program_is_told_in_json(paymaster, left, words):
    told = json.loads(paymaster(*words.split(), "--json", "--ledger", left).out)["waiting"]
    assert (told["settlements"], told["unbooked"], told["cost_nanousd"], told["oldest_at_ms"]) == (3, 1, 5_500_000, T)
    assert sorted((file["is_running"], file["settlements"], file["unbooked"]) for file in told["files"]) == [(False, 2, 1), (True, 1, 0)]


def test_looking_leaves_everything_where_it_is(paymaster, left, tmp_path):
    files = {path: path.read_bytes() for path in (tmp_path / "state" / "spool").rglob("*.jsonl")}
    for words in LOOKING:
        paymaster(*words.split(), "--ledger", left)
    assert {path: path.read_bytes() for path in (tmp_path / "state" / "spool").rglob("*.jsonl")} == files


def test_what_ended_processes_left_is_posted_once_and_the_ledger_adds_up(paymaster, left):
    first = paymaster("ledger", "post", "--ledger", left)
    assert first.status == 0
    assert "Posted 3 calls of $0.005 to" in first.out  # the full hold of the one of which nothing more was heard
    assert "1 settlement of $0.0005" in first.out
    assert "1 process that is running will post what is theirs" in first.out
    again = paymaster("ledger", "post", "--ledger", left)
    assert "Nothing was left to post" in again.out
    report = json.loads(paymaster("report", "--json", "--ledger", left).out)
    assert report["total"]["cost_nanousd"] == 5_000_000 + 3_000_000  # and the one whose lease is over
    assert paymaster("ledger", "verify", "--ledger", left).status == 0


def test_what_the_ledger_has_already_is_not_counted_as_waiting_by_verify(paymaster, ledger, tmp_path):
    """A process that died between posting and removing its file."""
    settlement = Settlement(hold("first"), T, (1_000_000, 1), record(1_000_000))
    run(open_ledger(ledger, BlockingRuntime().sleep).settle(settlement, T + 1))
    spool = spool_for(ledger, tmp_path)
    spool.keep_settlement(settlement)
    spool.close()
    told = json.loads(paymaster("ledger", "verify", "--json", "--ledger", ledger).out)
    assert (told["adds_up"], told["waiting"]["settlements"]) == (True, 0)


def test_a_call_charged_as_lost_whose_settlement_waits_is_not_yet_posted(paymaster, ledger, tmp_path):
    time.sleep(0.05)
    run(open_ledger(ledger, BlockingRuntime().sleep).sweep(T + 10**9))
    spool = spool_for(ledger, tmp_path)
    spool.keep_settlement(Settlement(hold("first"), T, (1_000_000, 1), record(1_000_000)))
    spool.close()
    told = json.loads(paymaster("ledger", "verify", "--json", "--ledger", ledger).out)
    assert (told["adds_up"], told["waiting"]["settlements"]) == (True, 1)
    assert paymaster("ledger", "post", "--ledger", ledger).status == 0
    told = json.loads(paymaster("ledger", "verify", "--json", "--ledger", ledger).out)
    assert (told["adds_up"], told["waiting"]["settlements"]) == (True, 0)
    assert json.loads(paymaster("report", "--json", "--ledger", ledger).out)["total"]["cost_nanousd"] == 1_000_000


@pytest.mark.parametrize("words", LOOKING)
def test_a_ledger_that_does_not_answer_is_told_with_what_waits_for_it(paymaster, tmp_path, words):
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
        told = json.loads(ended.out)
        assert ended.status == 2
        assert "did not answer" in told["error"]
        assert told["waiting"]["settlements"] == 1


def test_a_file_that_was_named_and_is_gone_is_told_with_what_waits_for_it(paymaster, tmp_path):
    url = f"sqlite:{tmp_path / 'mount' / 'books.sqlite3'}"
    spool = spool_for(url, tmp_path)
    spool.keep_hold(hold("h"), T)
    spool.close()
    for words in ("status", "ledger post"):
        ended = paymaster(*words.split(), "--ledger", url)
        assert ended.status == 2
        assert "there is no ledger at" in ended.err
        assert "1 unbooked hold of $0.003" in ended.err


def test_who_looks_at_one_ledger_is_told_what_waits_for_another(paymaster, tmp_path):
    spool = spool_for("redis://cache:6379/0", tmp_path, "redis://cache:6379")
    spool.keep_settlement(Settlement(hold("h"), T, (1_000_000, 1), record(1_000_000)))
    spool.close()
    ended = paymaster("status")
    assert "For another ledger, redis://cache:6379: 1 settlement of $0.001" in ended.err
    [told] = json.loads(paymaster("status", "--json").out)["waiting_elsewhere"]
    assert (told["ledger"], told["settlements"]) == ("redis://cache:6379", 1)


def test_a_locked_file_is_away_and_what_waits_is_posted_when_it_is_free(paymaster, tmp_path):
    url = f"sqlite:{tmp_path / 'books.sqlite3'}"
    run(open_ledger(url, BlockingRuntime().sleep).reserve(hold("first"), T))
    spool = spool_for(url, tmp_path)
    spool.keep_settlement(Settlement(hold("first"), T, (1_000_000, 1), record(1_000_000)))
    spool.close()
    with closing(sqlite3.connect(tmp_path / "books.sqlite3", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        told = json.loads(paymaster("ledger", "status", "--json", "--ledger", url).out)
        assert told["waiting"]["settlements"] == 1
        other.execute("ROLLBACK")
    assert "Posted 1 call of $0.001" in paymaster("ledger", "post", "--ledger", url).out
