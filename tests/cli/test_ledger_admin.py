"""`paymaster ledger`: administering a ledger, in a file and on a server alike, and mistakes of the user."""

from __future__ import annotations

import csv
import io
import json
import signal
import sqlite3
import sys
import time
from types import SimpleNamespace

import pytest

from cli.programs import start
from identity_names import account
from old_schema import make_first_version
from paymaster.accounting.accounts import Charge, Hold, Post, Record, Settlement
from paymaster.accounting.corrections import Correction
from paymaster.accounting.records import AttemptRecord
from paymaster.ledgers.admin.export_format import AccountSums, ExportHead, write_lines
from paymaster.ledgers.urls import open_ledger
from paymaster.runtime import BlockingRuntime, run
from redis_servers import free_port

DAY_MS = 86_400_000
OLD_MS = 1_600_000_000_000


@pytest.fixture(params=["sqlite", "redis"])
def ledger(request, tmp_path):
    """The URL of a new ledger of each kind."""
    return f"sqlite:{tmp_path / 'books.sqlite3'}" if request.param == "sqlite" else request.getfixturevalue("redis_url")


def old_books(count=50, cost=1_000_000, calls="h"):
    """An export of a ledger that was last used long ago: calls of two runs, a millisecond apart."""
    records = []
    for number in range(count):
        name = f"usd/run/{'ab'[number % 2]}"
        body = AttemptRecord(
            call_id=f"c{number}",
            attempt=1,
            at_ms=OLD_MS + number,
            model="fast",
            provider="p",
            model_id="fast",
            outcome="answered",
            billed="exact",
            cost_nanousd=cost,
            held_nanousd=cost,
            cost_source="registry",
            run=name[-1],
        )
        records.append(
            Record(f"{calls}{number}", OLD_MS + number, lost=False, amounts={name: cost, "requests/fast": 1}, body=body.to_json())
        )
    halves = [(count + 1) // 2 * cost, count // 2 * cost]
    sums = [AccountSums(f"usd/run/{name}", half, 0, 0) for name, half in zip("ab", halves, strict=True) if half]
    return b"".join(write_lines([ExportHead(OLD_MS + count), *sums, *records]))


@pytest.fixture
def filled(paymaster, ledger, tmp_path):
    (tmp_path / "old.jsonl").write_bytes(old_books())
    assert paymaster("ledger", "import", "old.jsonl", "--ledger", ledger).status == 0
    return ledger


def test_a_ledger_is_created_and_described(paymaster, ledger):
    made = paymaster("ledger", "init", "--ledger", ledger)
    again = paymaster("ledger", "init", "--ledger", ledger)
    assert (made.status, again.status) == (0, 0)
    assert made.out.startswith("Created a ledger at ")
    assert again.out.startswith("There is already a ledger at ")
    assert again.out.endswith(" (0 records).\n")
    shown = paymaster("ledger", "status", "--ledger", ledger)
    assert shown.status == 0
    for words in ("kind", "schema version", "accounts", "open holds", "oldest record"):
        assert words in shown.out
    shown = json.loads(paymaster("ledger", "status", "--json", "--ledger", ledger).out)
    assert (shown["records"], shown["oldest_ms"], shown["version"]) == (0, None, shown["newest_version"])
    assert "is up to date" in paymaster("ledger", "migrate", "--ledger", ledger).out


def test_status_counts_accounts_and_records(paymaster, filled):
    shown = json.loads(paymaster("ledger", "status", "--json", "--ledger", filled).out)
    assert (shown["accounts"], shown["records"], shown["oldest_ms"], shown["newest_ms"]) == (2, 50, OLD_MS, OLD_MS + 49)
    assert "2020-09-13 12:26:40 UTC" in paymaster("ledger", "status", "--ledger", filled).out


def test_an_older_file_keeps_its_schema_until_it_is_migrated(paymaster, tmp_path, registry):
    paymaster("ask", "Why?", "--model-registry", registry, "--ledger", "sqlite:old.db")
    make_first_version(tmp_path / "old.db")
    assert "1 (this Paymaster writes 6;" in paymaster("ledger", "status", "--ledger", "sqlite:old.db").out
    assert "from schema version 1 to 6" in paymaster("ledger", "migrate", "--ledger", "sqlite:old.db").out
    assert paymaster("ledger", "verify", "--ledger", "sqlite:old.db").status == 0
    with sqlite3.connect(tmp_path / "old.db") as database:
        database.execute("PRAGMA user_version = 9")
    database.close()
    for command in ("status", "migrate", "verify", "init"):
        ended = paymaster("ledger", command, "--ledger", "sqlite:old.db")
        assert (ended.status, ended.out) == (2, "")
        assert "later Paymaster" in ended.err


# ------------------------------------------------------------------------------------------------------ export and import


def test_calls_move_from_a_file_to_a_server_and_back(paymaster, registry, redis_url, tmp_path):
    for run_id in ("one", "two"):
        paymaster("ask", "Why?", "--model-registry", registry, "--run-id", run_id)
    assert paymaster("ledger", "export", "first.jsonl").status == 0
    assert paymaster("ledger", "import", "first.jsonl", "--ledger", redis_url).status == 0
    assert paymaster("ledger", "verify", "--ledger", redis_url).status == 0
    assert paymaster("ledger", "export", "second.jsonl", "--ledger", redis_url).status == 0
    assert paymaster("ledger", "import", "second.jsonl", "--ledger", "sqlite:back.db").status == 0
    assert paymaster("ledger", "export", "-", "--ledger", "sqlite:back.db").out == (tmp_path / "first.jsonl").read_text()
    assert (tmp_path / "first.jsonl").read_bytes() == (tmp_path / "second.jsonl").read_bytes()
    on_server = json.loads(paymaster("report", "--json", "--ledger", redis_url).out)
    assert on_server["ledger_agrees"] is True
    assert on_server["rows"] == json.loads(paymaster("report", "--json", "--ledger", "sqlite:back.db").out)["rows"]
    # Calls go on where they were: the run's budget has what was spent before.
    paymaster("ask", "Why?", "--model-registry", registry, "--run-id", "one", "--ledger", redis_url)
    assert json.loads(paymaster("report", "--json", "--ledger", redis_url).out)["total"]["calls"] == 3
    assert paymaster("ledger", "verify", "--ledger", redis_url).status == 0


def test_an_import_reads_standard_input(paymaster, ledger, monkeypatch):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(old_books())))
    assert "2 accounts, 0 open holds, 50 records" in paymaster("ledger", "import", "-", "--ledger", ledger).out


def test_nothing_is_imported_twice(paymaster, filled):
    before = paymaster("ledger", "export", "-", "--ledger", filled).out
    ended = paymaster("ledger", "import", "old.jsonl", "--ledger", filled)
    assert ended.status == 2
    assert "is not empty: 2 accounts, 50 records. Nothing was changed." in ended.err
    assert "Import into a ledger of its own" in ended.err
    assert paymaster("ledger", "export", "-", "--ledger", filled).out == before


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (lambda text: text[:-20], "bad.jsonl:54: it is not JSON; the file may have been cut off there"),
        (lambda text: text[: text.index(b'{"end"')], "bad.jsonl: it ends after line 53 without its last line: it was cut off"),
        (lambda text: text.replace(b'"lost":false', b'"lost":0', 1), "bad.jsonl:4: lost is true or false"),
        (lambda _text: b"this is no export\n", "bad.jsonl:1: it is not JSON"),
        (lambda _text: b'{"usage": 1}\n', "bad.jsonl:1: it is no line of a ledger's export"),
    ],
)
def test_a_broken_file_is_named_with_its_line_and_nothing_is_imported(paymaster, ledger, tmp_path, spoil, text):
    (tmp_path / "bad.jsonl").write_bytes(spoil(old_books()))
    ended = paymaster("ledger", "import", "bad.jsonl", "--ledger", ledger)
    assert (ended.status, ended.out) == (2, "")
    assert text in ended.err
    (tmp_path / "good.jsonl").write_bytes(old_books())
    assert paymaster("ledger", "import", "good.jsonl", "--ledger", ledger).status == 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_import_can_be_repeated(paymaster, ledger, tmp_path, number):
    text = old_books(3_000)
    with start("ledger", "import", "-", "--ledger", ledger) as process:
        # A pipe holds 64 kB: when all of this is written, most of it has been read.
        process.stdin.buffer.write(text[: len(text) // 2])
        process.stdin.flush()
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert out == ""
    if number == signal.SIGINT:
        assert (process.returncode, "stopped by Ctrl-C" in err) == (130, True)
    (tmp_path / "books.jsonl").write_bytes(text)
    ended = paymaster("ledger", "import", "books.jsonl", "--ledger", ledger)
    assert (ended.status, ended.err) == (0, "")
    assert paymaster("ledger", "export", "-", "--ledger", ledger).out.encode() == text


def test_an_export_replaces_a_file_only_with_force(paymaster, filled, tmp_path):
    ended = paymaster("ledger", "export", "old.jsonl", "--ledger", filled)
    assert (ended.status, "old.jsonl already exists" in ended.err) == (2, True)
    assert paymaster("ledger", "export", "old.jsonl", "--force", "--ledger", filled).status == 0
    assert (tmp_path / "old.jsonl").read_bytes() == old_books()
    ended = paymaster("ledger", "export", "nowhere/old.jsonl", "--ledger", filled)
    assert (ended.status, "cannot write nowhere/old.jsonl" in ended.err) == (2, True)


# -------------------------------------------------------------------------------------------------------------- verify


def test_verify_lists_every_sum_that_differs(paymaster, tmp_path):
    (tmp_path / "old.jsonl").write_bytes(old_books())
    paymaster("ledger", "import", "old.jsonl", "--ledger", "sqlite:books.db")
    assert "adds up to the nano-dollar: 2 accounts, 50 records" in paymaster("ledger", "verify", "--ledger", "sqlite:books.db").out
    with sqlite3.connect("books.db") as database:
        database.execute("UPDATE account SET settled = settled + 1, held = 7 WHERE name = 'usd/run/a'")
        database.execute("INSERT INTO account VALUES ('requests/fast', 0, 3, 0)")
    database.close()
    ended = paymaster("ledger", "verify", "--ledger", "sqlite:books.db")
    assert ended.status == 1
    settled = "usd/run/a: settled is $0.025000001, but its records and opening balance add up to $0.025 (difference $0.000000001)"
    assert settled in ended.err
    assert "usd/run/a: held is $0.000000007, but its open holds add up to $0.00" in ended.err
    assert "requests/fast: live is 3, but its window's entries add up to 0" in ended.err
    assert "3 sums differ" in ended.out


def test_open_holds_and_windows_add_up_too(paymaster, ledger):
    opened = open_ledger(ledger, BlockingRuntime().sleep)
    now_ms = time.time_ns() // 1_000_000
    charges = (Charge("usd/run/a", 40, None), Charge("requests/m", 1, 9, 60_000), Charge("slots/m", 1, 4, 0))
    for number in range(3):
        hold = Hold(f"h{number}", charges, 60_000)
        held = run(opened.reserve(hold, now_ms))
        if number:
            run(opened.settle(Settlement(hold, held.at_ms, (3, 1, 1), "{}", (Post("pause/m", 1, 5_000),)), now_ms))
    run(opened.close())
    ended = paymaster("ledger", "verify", "--ledger", ledger)
    assert (ended.status, ended.err) == (0, "")
    assert "2 records, 1 open holds" in ended.out


# --------------------------------------------------------------------------------------------------- adjust and reset


def test_csv_rows_with_corrections_add_up_to_the_balances(paymaster, filled, tmp_path):
    for name, usd in (("usd/run/a", "-0.002"), ("usd/run/b", "+1"), ("usd/run/b/model/fast", "+3"), ("usd/user/-", "+2")):
        words = ("--usd", usd, "--reason", "a refund, in part", "--user", "ann", "--new")
        assert paymaster("ledger", "adjust", name, *words, "--ledger", filled).status == 0
    assert paymaster("ledger", "reset", "usd/run/a", "--yes", "--ledger", filled).status == 0
    rows = list(csv.DictReader(io.StringIO(paymaster("report", "--by", "run,user,day", "--csv", "--ledger", filled).out)))
    [first, *_] = [row for row in rows if row["account"]]
    assert (first["run"], first["user"], first["calls"], first["cost_usd"]) == ("a", "", "0", "-0.002")
    assert (first["correction"], first["corrected_by"], first["reason"]) == ("adjust", "ann", "a refund, in part")
    assert first["day"] == first["first_at"][:10]
    paymaster("ledger", "export", "all.jsonl", "--ledger", filled)
    lines = map(json.loads, (tmp_path / "all.jsonl").read_text().splitlines())
    balances = {line["account"]: line["settled"] for line in lines if "settled" in line}

    def of(run, account):
        return sum(int(row["cost_nanousd"]) for row in rows if row["account"] == account or (not row["account"] and row["run"] == run))

    assert {f"usd/run/{run}": of(run, f"usd/run/{run}") for run in "ab"} == {"usd/run/a": 0, "usd/run/b": balances["usd/run/b"]}
    assert balances["usd/run/b"] == 1_025_000_000
    of_one = list(csv.DictReader(io.StringIO(paymaster("report", "--run-id", "a", "--by", "run", "--csv", "--ledger", filled).out)))
    assert [(row["run"], row["correction"]) for row in of_one] == [("a", ""), ("a", "adjust"), ("a", "reset")]
    assert sum(int(row["cost_nanousd"]) for row in of_one) == 0  # as its balance


def test_an_adjustment_is_a_record_with_its_reason(paymaster, filled):
    ended = paymaster("ledger", "adjust", "usd/run/a", "--usd", "-0.000000001", "--reason", "refund", "--user", "ann", "--ledger", filled)
    assert (ended.status, ended.out) == (0, "usd/run/a: $0.025 → $0.024999999\n")
    report = paymaster("report", "--ledger", filled)
    assert report.status == 0
    for words in ("Corrected by hand", "usd/run/a", "-$0.000000001", "adjust", "ann", "refund"):
        assert words in report.out
    shown = json.loads(paymaster("report", "--json", "--ledger", filled).out)
    assert shown["ledger_agrees"] is True
    assert [(each["account"], each["amount"]) for each in shown["corrections"]] == [("usd/run/a", -1)]
    assert "Corrected by hand" not in paymaster("report", "--run-id", "b", "--ledger", filled).out
    assert "Corrected by hand" in paymaster("report", "--run-id", "a", "--ledger", filled).out
    assert paymaster("ledger", "verify", "--ledger", filled).status == 0
    ended = paymaster("ledger", "adjust", "usd/run/a", "--usd", "-1", "--reason", "too much", "--ledger", filled)
    assert (ended.status, "below zero" in ended.err) == (0, True)
    ended = paymaster("ledger", "adjust", "usd/month/2026-11", "--usd", "+20", "--reason", "elsewhere", "--new", "--ledger", filled)
    assert ended.out == "usd/month/2026-11: $0.00 → $20.00\n"
    assert paymaster("ledger", "verify", "--ledger", filled).status == 0


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("usd/run/a", "--usd", "1"), "needs a reason"),
        (("usd/run/a", "--usd", "1", "--reason", " "), "needs a reason"),
        (("usd/run/a", "--reason", "x"), "needs an amount"),
        (("usd/run/a", "--usd", "0", "--reason", "x"), "nothing would change"),
        (("usd/run/a", "--usd", "1e-10", "--reason", "x"), "not an amount that can be posted exactly"),
        (("usd/run/a", "--usd", "much", "--reason", "x"), "not an amount"),
        (("usd/run/a", "--usd", "nan", "--reason", "x"), "not an amount"),
        (("usd/run/a", "--usd", "1e12", "--reason", "x"), "too large"),
        (("usd/rnu/a", "--usd", "1", "--reason", "x"), "did you mean usd/run/a?"),
        (("b", "--usd", "1", "--reason", "x"), "did you mean usd/run/b?"),
        (("requests/fast", "--usd", "1", "--reason", "x", "--new"), "no account requests/fast"),
    ],
)
def test_an_invalid_adjustment_changes_nothing(paymaster, filled, words, text):
    ended = paymaster("ledger", "adjust", *words, "--ledger", filled)
    assert (ended.status, ended.out) == (2, "")
    assert text in ended.err
    assert paymaster("ledger", "export", "-", "--ledger", filled).out.encode() == old_books()


def test_a_reset_sets_one_account_to_nothing_and_is_recorded(paymaster, filled):
    ended = paymaster("ledger", "reset", "usd/run/a", "--yes", "--ledger", filled)
    assert (ended.status, ended.out) == (0, "usd/run/a: $0.025 → $0.00.\n")
    assert "has nothing to reset" in paymaster("ledger", "reset", "usd/run/a", "--yes", "--ledger", filled).out
    budgets = json.loads(paymaster("status", "--json", "--ledger", filled).out)["budgets"]
    assert [(budget["account"], budget["spent_nanousd"]) for budget in budgets] == [("usd/run/a", 0), ("usd/run/b", 25_000_000)]
    assert paymaster("ledger", "verify", "--ledger", filled).status == 0
    assert json.loads(paymaster("report", "--json", "--ledger", filled).out)["corrections"][0]["correction"] == "reset"


def test_a_pause_can_be_reset(paymaster, ledger):
    opened = open_ledger(ledger, BlockingRuntime().sleep)
    run(opened.post((Post("pause/fast", 1, 600_000),), (), time.time_ns() // 1_000_000))
    run(opened.close())
    assert "paused for" in paymaster("status", "--ledger", ledger).out
    ended = paymaster("ledger", "adjust", "pause/fast", "--usd", "1", "--reason", "x", "--ledger", ledger)
    assert (ended.status, "is no budget" in ended.err) == (2, True)
    assert paymaster("ledger", "reset", "pause/fast", "--yes", "--ledger", ledger).out == "pause/fast: 1 → 0.\n"
    assert "paused for" not in paymaster("status", "--ledger", ledger).out
    assert paymaster("ledger", "verify", "--ledger", ledger).status == 0


def test_the_pause_of_a_tier_is_shown_and_reset_with_its_count(paymaster, ledger):
    opened = open_ledger(ledger, BlockingRuntime().sleep)
    posts = (Post("tier-pause-flex/fast", 1, 600_000), Post("tier-refusals-flex/fast", 3, 900_000))
    run(opened.post(posts, (), time.time_ns() // 1_000_000))
    run(opened.close())
    assert "flex paused for" in paymaster("status", "--ledger", ledger).out
    ended = paymaster("ledger", "reset", "tier-pause-flex/fast", "--yes", "--ledger", ledger)
    assert ended.out == "tier-pause-flex/fast: 1 → 0.\ntier-refusals-flex/fast: 3 → 0.\n"
    assert "paused for" not in paymaster("status", "--ledger", ledger).out


def test_a_reset_circuit_forgets_its_failures_too(paymaster, ledger):
    opened = open_ledger(ledger, BlockingRuntime().sleep)
    now_ms = time.time_ns() // 1_000_000
    circuit = (Post("failures/fast", 1, 600_000), Post("failures/fast", 1, 600_000), Post("probe/fast", 1, 60_000))
    others = (Post("failures/slow", 1, 600_000), Post("slots/fast", 1, 600_000))
    run(opened.post((*circuit, Post("breaker/fast", 1, 120_000), *others), (), now_ms))
    run(opened.close())
    ended = paymaster("ledger", "reset", "breaker/fast", "--yes", "--reason", "it works again", "--ledger", ledger)
    assert (ended.status, ended.out) == (0, "breaker/fast: 1 → 0.\nprobe/fast: 1 → 0.\nfailures/fast: 2 → 0.\n")
    ended = paymaster("ledger", "reset", "breaker/fast", "--yes", "--ledger", ledger)
    assert ended.out == "breaker/fast has nothing to reset.\n"
    assert paymaster("ledger", "reset", "failures/slow", "--yes", "--ledger", ledger).out == "failures/slow: 1 → 0.\n"
    assert paymaster("ledger", "verify", "--ledger", ledger).status == 0


@pytest.mark.parametrize(
    ("account", "hint"),
    [
        ("pause/fast", " (did you mean breaker/fast?)"),  # a circuit that is open, not a provider that asked to wait
        ("fast", " (did you mean breaker/fast?)"),
        ("failures/slwo", " (did you mean failures/slow?)"),
        ("pause/slow", ""),  # no other kind of account is offered
        ("tokens/slow", ""),
    ],
)
def test_an_unknown_reset_offers_the_same_kind_or_the_circuit(paymaster, ledger, account, hint):
    opened = open_ledger(ledger, BlockingRuntime().sleep)
    posts = [Post(name, 1, 600_000) for name in ("breaker/fast", "failures/slow", "slots/slow", "requests/slow", "input-tokens/slow")]
    run(opened.post(posts, (), time.time_ns() // 1_000_000))
    run(opened.close())
    ended = paymaster("ledger", "reset", account, "--yes", "--ledger", ledger)
    assert (ended.status, f"the ledger has no account {account}{hint}\n" in ended.err) == (2, True), ended.err


def test_an_unknown_or_unconfirmed_reset_changes_nothing(paymaster, filled, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    ended = paymaster("ledger", "reset", "usd/run/x", "--yes", "--ledger", filled)
    assert (ended.status, "no account usd/run/x (did you mean usd/run/" in ended.err) == (2, True)
    ended = paymaster("ledger", "reset", "usd/run/a", "--ledger", filled)
    assert (ended.status, "--yes" in ended.err) == (2, True)
    assert paymaster("ledger", "export", "-", "--ledger", filled).out.encode() == old_books()


class Person(io.StringIO):
    """A user at a terminal, who answers or presses Ctrl-C."""

    def isatty(self):
        return True

    def readline(self, *_):
        if self.getvalue() == "Ctrl-C":
            raise KeyboardInterrupt
        return super().readline()


@pytest.mark.parametrize(("answer", "status", "text"), [("y\n", 0, "→ $0.00"), ("\n", 1, "Nothing was changed"), ("Ctrl-C", 130, "Ctrl-C")])
def test_a_reset_asks_for_confirmation(paymaster, filled, monkeypatch, answer, status, text):
    monkeypatch.setattr(sys, "stdin", Person(answer))
    ended = paymaster("ledger", "reset", "usd/run/a", "--ledger", filled)
    assert (ended.status, text in ended.out + ended.err) == (status, True)
    assert "Reset usd/run/a from $0.025 to zero? [y/N]" in ended.out
    assert (paymaster("ledger", "export", "-", "--ledger", filled).out.encode() == old_books()) == (status != 0)


# ------------------------------------------------------------------------------------------------------------- archive


def test_archived_records_leave_the_ledger_and_all_sums_still_agree(paymaster, filled, tmp_path):
    paymaster("ledger", "adjust", "usd/run/a", "--usd", "1", "--reason", "young", "--ledger", filled)
    whole = json.loads(paymaster("report", "--json", "--by", "run", "--ledger", filled).out)
    ended = paymaster("ledger", "archive", "--older-than", "30d", "--to", "kept", "--ledger", filled)
    assert ended.status == 0
    assert "50 records left" in ended.out
    (file,) = (tmp_path / "kept").iterdir()
    assert len(file.read_bytes().splitlines()) == 52
    assert "No record in" in paymaster("ledger", "archive", "--older-than", "30d", "--to", "kept", "--ledger", filled).out
    verified = paymaster("ledger", "verify", "--ledger", filled)
    assert (verified.status, "1 records" in verified.out, "opening balances of" in verified.out) == (0, True, True)
    partial = paymaster("report", "--ledger", filled)
    assert (partial.status, "name their folder with --archive" in partial.err) == (0, True)
    for archive in ("kept", file):
        again = json.loads(paymaster("report", "--json", "--by", "run", "--ledger", filled, "--archive", archive).out)
        assert {**again, "corrections": 0} == {**whole, "corrections": 0}
    assert paymaster("ledger", "export", "moved.jsonl", "--ledger", filled).status == 0
    assert paymaster("ledger", "import", "moved.jsonl", "--ledger", "sqlite:moved.db").status == 0
    assert paymaster("ledger", "verify", "--ledger", "sqlite:moved.db").status == 0


KILLED = """
import os, signal, sys
from paymaster.ledgers.admin import archiving, redis_admin, sqlite_admin
for module in (redis_admin, sqlite_admin):
    module.DROPPED_AT_ONCE = 7
at = int(sys.argv.pop(1))
archiving.FILE_RECORDS = 20
def stop(*_):
    os.kill(os.getpid(), signal.SIGKILL)
def die_in_dropping(admin, until):
    real = admin._drop_some if hasattr(admin, "_drop_some") else None
    if at:
        real(until.at_ms << 20 | until.number) if real else admin._ask("drop", {"last": f"{until.at_ms}-{until.number}", "count": 7})
    stop()
redis_admin.RedisAdmin.drop_records = sqlite_admin.SqliteAdmin.drop_records = die_in_dropping
from paymaster.cli import main
sys.exit(main())
"""


@pytest.mark.parametrize("at", [0, 1], ids=["before records are dropped", "when some are dropped"])
def test_a_killed_archive_run_is_completed_by_the_next_without_loss(paymaster, filled, tmp_path, at):
    words = ("ledger", "archive", "--older-than", "30d", "--to", "kept", "--ledger", filled)
    with start(*words, program=[sys.executable, "-c", KILLED, str(at)]) as process:
        process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert paymaster("ledger", "verify", "--ledger", filled).status == 0
    ended = paymaster(*words)
    assert (ended.status, "written by an earlier run" in ended.out) == (0, True)
    lines = [json.loads(line) for file in (tmp_path / "kept").iterdir() for line in file.read_bytes().splitlines()]
    kept = [line["record"] for line in lines if "record" in line]
    assert sorted(kept) == sorted(f"h{number}" for number in range(50))
    assert json.loads(paymaster("ledger", "status", "--json", "--ledger", filled).out)["records"] == 0
    assert paymaster("ledger", "verify", "--ledger", filled).status == 0
    assert json.loads(paymaster("report", "--json", "--ledger", filled, "--archive", "kept").out)["total"]["calls"] == 50


def test_two_ledgers_may_share_an_archive(paymaster, filled, tmp_path):
    (tmp_path / "other.jsonl").write_bytes(old_books(cost=7, calls="x"))
    assert paymaster("ledger", "import", "other.jsonl", "--ledger", "sqlite:other.db").status == 0
    for url in (filled, "sqlite:other.db"):
        assert "50 records left" in paymaster("ledger", "archive", "--older-than", "1d", "--to", "kept", "--ledger", url).out
    assert len(list((tmp_path / "kept").iterdir())) == 2


def test_invalid_archive_arguments_are_mistakes(paymaster, filled, tmp_path):
    ended = paymaster("ledger", "archive", "--older-than", "5s", "--ledger", filled)
    assert (ended.status, "at least 1h" in ended.err) == (2, True)
    ended = paymaster("ledger", "archive", "--older-than", "soon", "--ledger", filled)
    assert (ended.status, "not a time" in ended.err) == (2, True)
    (tmp_path / "kept").write_text("a file")
    ended = paymaster("ledger", "archive", "--older-than", "1d", "--to", "kept", "--ledger", filled)
    assert (ended.status, "cannot write to kept" in ended.err) == (2, True)
    for archive, message in (("nothing", "cannot read nothing"), (tmp_path, "there is no archive in"), ("kept", "kept:1: it is not JSON")):
        ended = paymaster("report", "--archive", archive, "--ledger", filled)
        assert (ended.status, message in ended.err) == (2, True)
    paymaster("ledger", "archive", "--older-than", "1d", "--to", "good", "--ledger", filled)
    (file,) = (tmp_path / "good").iterdir()
    ended = paymaster("ledger", "import", file, "--ledger", "sqlite:new.db")
    assert (ended.status, "is an archive of old records" in ended.err) == (2, True)


# ------------------------------------------------------------------------------------------------------------ mistakes


@pytest.mark.parametrize(
    "command", [("status",), ("migrate",), ("verify",), ("export", "-"), ("reset", "usd", "--yes"), ("archive", "--older-than", "1d")]
)
def test_ledger_commands_need_an_existing_ledger(paymaster, own_state, tmp_path, command):
    ended = paymaster("ledger", *command)
    assert (ended.status, ended.out) == (2, "")
    assert "there is no ledger at" in ended.err
    assert not own_state.exists()
    (tmp_path / "text.db").write_text("this is a text and no database, and longer than its header")
    ended = paymaster("ledger", *command, "--ledger", "sqlite:text.db")
    assert (ended.status, "is not a ledger" in ended.err) == (2, True)
    ended = paymaster("ledger", *command, "--ledger", f"redis://:s3cret@127.0.0.1:{free_port()}?timeout_ms=30")
    assert (ended.status, "did not answer" in ended.err, "s3cret" in ended.err) == (2, True, False)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a /proc, where not even root makes files")
def test_an_unwritable_directory_is_a_mistake(paymaster):
    for command in (("init",), ("import", "old.jsonl")):
        ended = paymaster("ledger", *command, "--ledger", "sqlite:///proc/none/books.db")
        assert (ended.status, ended.out) == (2, "")
        assert "cannot be written" in ended.err or "cannot read old.jsonl" in ended.err


def test_a_correction_is_parsed_and_anything_else_is_refused():
    made = Correction(correction="adjust", at_ms=1, account="usd", amount=-5, reason="ü")
    assert Correction.from_json(made.to_json()) == made
    assert Correction.from_json('{"correction":"reset","at_ms":1,"account":"a","amount":0,"reason":"r","later":1}').amount == 0
    for text in ("{}", "[]", "x", '{"correction":"adjust"}'):
        with pytest.raises(ValueError, match=r"correction|Expecting"):
            Correction.from_json(text)


def test_a_circuit_is_reset_by_the_name_that_a_registry_has_for_it(paymaster, ledger, tmp_path):
    known = tmp_path / "known.yaml"
    known.write_text("models: {mine: {provider: openai_compatible, model_id: m, base_url: http://127.0.0.1:1/v1, price: free}}\n")
    opened, now_ms = open_ledger(ledger, BlockingRuntime().sleep), time.time_ns() // 1_000_000
    circuit = account(known, "breaker/mine")
    run(opened.post((Post(circuit, 1, 600_000),), (), now_ms))
    run(opened.close())
    shown = paymaster("status", "--ledger", ledger, "--model-registry", str(known))
    assert "\nmine " in shown.out
    ended = paymaster("ledger", "reset", "breaker/mine", "--yes", "--ledger", ledger)
    assert (ended.status, ended.out) == (2, "")
    ended = paymaster("ledger", "reset", "breaker/mine", "--yes", "--ledger", ledger, "--model-registry", str(known))
    assert (ended.status, ended.out) == (0, f"{circuit}: 1 → 0.\n")
