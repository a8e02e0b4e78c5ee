"""`status` and `report`: a ledger's balances and sums, and whether they agree."""

from __future__ import annotations

import csv
import io
import json
import os
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from paymaster.accounting.accounts import Balance, Post, Queued
from paymaster.cli.inputs import read_time
from paymaster.cli.status_tables import status_tables
from paymaster.errors import UsageMistake
from paymaster.ledgers.urls import open_ledger
from paymaster.registry.models import Budget, Limits, Model, Policy, Registry
from paymaster.runtime import BlockingRuntime, run
from paymaster.views.ledger_status import ledger_status
from paymaster.views.reports import GroupBy
from redis_servers import free_port


@pytest.fixture
def spent(paymaster, registry, own_state):
    """Three runs' calls in the ledger; gives its file."""
    paymaster("ask", "Why?", "--model-registry", registry, "--run-id", "one", "--batch-id", "night")
    paymaster("ask", "smile", "--model-registry", registry, "--run-id", "two", "--user", "ann")
    paymaster("ask", "Why?", "-m", "faulty", "--model-registry", registry, "--run-id", "two")
    paymaster("ask", "Why?", "-m", "cut", "--model-registry", registry, "--run-id", "three")
    return own_state / "ledger.sqlite3"


# -------------------------------------------------------------------------------------------------------------- report


def test_the_help_names_everything_that_attempts_are_grouped_by(paymaster):
    assert ", ".join(GroupBy) in " ".join(paymaster("report", "--help").out.split())


@pytest.mark.parametrize("by", [*GroupBy, "run,model", "day, model"])
@pytest.mark.usefixtures("spent")
def test_sums_agree_with_the_ledger_for_every_grouping(paymaster, by):
    ended = paymaster("report", "--by", by, "--json")
    shown = json.loads(ended.out)
    assert (ended.status, shown["ledger_agrees"]) == (0, True)
    assert shown["total"]["cost_nanousd"] == sum(row["cost_nanousd"] for row in shown["rows"]) > 0
    budgets = json.loads(paymaster("status", "--json").out)["budgets"]
    assert shown["total"]["cost_nanousd"] == sum(budget["spent_nanousd"] for budget in budgets)


@pytest.mark.usefixtures("spent")
def test_a_report_is_a_table_with_remarks(paymaster):
    ended = paymaster("report")
    assert ended.status == 0
    sums, _, inexact = ended.out.partition("\n\n")
    title, head, *rows = sums.splitlines()
    assert inexact.splitlines()[0] == "Charged without an exact figure"
    assert "the whole hold: " in inexact
    assert title == "Where the money went"
    assert head.split()[:3] == ["model", "calls", "failed"]
    assert {row.split()[0] for row in rows} == {"fast", "backup", "faulty", "cut", "total"}
    assert "agree with the ledger's 3 budgets to the nano-dollar" in ended.err
    assert "assumed" in ended.err


@pytest.mark.usefixtures("spent")
def test_a_report_lists_what_was_charged_without_an_exact_figure(paymaster):
    shown = json.loads(paymaster("report", "--json").out)
    listed, total = shown["inexact"], shown["total"]
    assert shown["inexact_count"] == len(listed) > 0
    assert {record["billed"] for record in listed} <= {"assumed", "estimated"}
    assert sum(record["cost_nanousd"] for record in listed) == total["assumed_nanousd"] + total["estimated_nanousd"]
    assert all(record["counted"] and record["call_id"] and record["held_nanousd"] for record in listed)


@pytest.mark.usefixtures("spent")
def test_a_report_as_csv_has_a_row_per_group(paymaster):
    rows = list(csv.DictReader(io.StringIO(paymaster("report", "--by", "run,model", "--csv").out)))
    assert list(rows[0])[:3] == ["run", "model", "cost_usd"]
    assert {row["run"] for row in rows} == {"one", "two", "three"}
    total = json.loads(paymaster("report", "--json").out)["total"]["cost_nanousd"]
    assert sum(int(row["cost_nanousd"]) for row in rows) == total


def test_an_empty_csv_still_has_its_header(paymaster):
    assert paymaster("report", "--by", "run", "--csv").out.startswith("run,cost_usd,")


@pytest.mark.parametrize(
    ("words", "runs"),
    [
        (("--run-id", "one"), {"one"}),
        (("--batch-id", "night"), {"one"}),
        (("--since", "1h"), {"one", "two", "three"}),
        (("--until", "1h"), set()),
        (("--until", "2099-01-01"), {"one", "two", "three"}),
        (("--since", "2099-01-01"), set()),
    ],
)
@pytest.mark.usefixtures("spent")
def test_a_report_can_be_filtered(paymaster, words, runs):
    shown = json.loads(paymaster("report", "--by", "run", "--json", *words).out)
    assert {row["run"] for row in shown["rows"]} == runs
    assert shown["ledger_agrees"] is True


@pytest.mark.usefixtures("spent")
def test_an_empty_report_says_that_no_calls_match(paymaster):
    assert "No calls that match" in paymaster("report", "--run-id", "nobody").out


@pytest.mark.parametrize("command", ["report", "status"])
def test_reading_without_a_ledger_shows_nothing_and_creates_none(paymaster, own_state, command):
    ended = paymaster(command)
    assert ended.status == 0
    assert str(own_state) in ended.out
    assert not own_state.exists()


@pytest.mark.parametrize("command", ["report", "status"])
@pytest.mark.parametrize(
    ("ledger", "expected"),
    [("sqlite:nowhere.db", "no ledger at nowhere.db"), ("memory:", "in memory"), ("sqlite:text.db", "is not a ledger")],
)
def test_a_missing_or_invalid_ledger_is_a_mistake(paymaster, tmp_path, command, ledger, expected):
    (tmp_path / "text.db").write_text("this is a text and no database, and longer than its header")
    ended = paymaster(command, "--ledger", ledger)
    assert (ended.status, ended.out) == (2, "")
    assert expected in ended.err
    assert not (tmp_path / "nowhere.db").exists()


@pytest.mark.parametrize(
    ("words", "expected"),
    [(("--by", "modle"), "model"), (("--by", ","), "names nothing"), (("--since", "yesterday"), "--since yesterday: not a time")],
)
def test_invalid_report_arguments_are_mistakes(paymaster, words, expected):
    ended = paymaster("report", *words)
    assert ended.status == 2
    assert expected in ended.err


def test_sums_that_differ_from_the_ledger_are_listed_with_status_1(paymaster, spent):
    with sqlite3.connect(spent) as database:
        database.execute("UPDATE account SET settled = settled + 1 WHERE name = 'usd/run/one'")
    database.close()
    ended = paymaster("report")
    assert ended.status == 1
    assert "usd/run/one: its calls add up to $" in ended.err
    assert "agree" not in ended.err
    assert json.loads(paymaster("report", "--json").out)["ledger_agrees"] is False


def test_a_ledger_from_a_newer_version_is_a_mistake(paymaster, spent):
    with sqlite3.connect(spent) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    ended = paymaster("report")
    assert ended.status == 2
    assert "later Paymaster" in ended.err


# -------------------------------------------------------------------------------------------------------------- status


@pytest.mark.usefixtures("spent")
def test_status_shows_what_is_spent_and_left(paymaster, registry):
    ended = paymaster("status", "--model-registry", registry)
    assert ended.status == 0
    for words in ("Budgets", "run one", "$0.05", "Limits", "rpm", "600", "Models", "faulty"):
        assert words in ended.out, words


@pytest.mark.usefixtures("spent")
def test_status_of_one_run(paymaster, registry):
    shown = json.loads(paymaster("status", "--run-id", "two", "--model-registry", registry, "--json").out)
    (budget,) = shown["budgets"]
    assert (budget["account"], budget["of"], budget["cap_nanousd"]) == ("usd/run/two", {"run": "two"}, 50_000_000)
    assert budget["left_nanousd"] == 50_000_000 - budget["spent_nanousd"]


@pytest.mark.usefixtures("spent")
def test_status_without_a_registry_knows_no_caps(paymaster):
    assert {budget["cap_nanousd"] for budget in json.loads(paymaster("status", "--json").out)["budgets"]} == {None}


KILLED = """
import os, sys, time
from pathlib import Path
from paymaster.accounting.accounts import Charge, Hold
from paymaster.ledgers.sqlite.ledger import SqliteLedger
from paymaster.runtime import BlockingRuntime, run
charges = (Charge("usd/run/two", 180_000_000, None), Charge("usd", 180_000_000, None), Charge("slots/m", 1, None, 0))
run(SqliteLedger(Path(sys.argv[1]), BlockingRuntime().sleep).reserve(Hold("h", charges, 600_000), time.time_ns() // 1_000_000))
os.kill(os.getpid(), 9)
"""


def test_status_shows_what_a_process_that_ended_holds(paymaster, spent):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    with subprocess.Popen([sys.executable, "-c", KILLED, str(spent)], env=environment) as killed:
        killed.wait()
    for _ in range(2):  # it only looks
        shown = paymaster("status")
        assert f"$0.18 is held by a process that ended (pid {killed.pid}); charged by the next call." in " ".join(
            f"{shown.out} {shown.err}".split()
        )
    (holder,) = json.loads(paymaster("status", "--json").out)["ended_holders"]
    assert (holder["pid"], holder["holds"]) == (killed.pid, 1)
    assert holder["held"] == {"usd/run/two": 180_000_000, "usd": 180_000_000, "slots/m": 1}
    (holder,) = json.loads(paymaster("status", "--run-id", "two", "--json").out)["ended_holders"]
    assert holder["held"] == {"usd/run/two": 180_000_000, "slots/m": 1}
    assert f"$0.18 is held by a process that ended (pid {killed.pid})" in " ".join(paymaster("top", "--once").out.split())
    paymaster("report")
    assert json.loads(paymaster("status", "--json").out)["ended_holders"] == []


def test_status_of_an_unknown_run(paymaster):
    assert "of run nobody" in paymaster("status", "--run-id", "nobody").out


def make_registry(*budgets: Budget, **models: tuple[Limits, tuple[Budget, ...]]) -> Registry:
    known = {
        name: Model(name=name, provider="p", model_id=name, adapter="scripted", tokenizer="bytes", limits=limits, budgets=own)
        for name, (limits, own) in models.items()
    }
    return Registry(default="m", models=known, policy=Policy(budgets=budgets))


@pytest.mark.parametrize(
    ("account", "of"),
    [
        ("usd", {}),
        ("usd/run/a/b", {"run": "a/b"}),
        ("usd/run/r/day/2026-11-22", {"run": "r", "day": "2026-11-22"}),
        ("usd/model/m/day/2026-11-22", {"model": "m", "day": "2026-11-22"}),
        ("usd/models/m+n/month/2026-11", {"models": "m+n", "month": "2026-11"}),
        ("usd/instance/night:task-1", {"instance": "night:task-1"}),
        ("usd/~ann/run/r", {"run": "r"}),
    ],
)
def test_an_accounts_name_has_its_dimensions(account, of):
    (state,) = ledger_status({account: Balance(settled=1)}).budgets
    assert dict(state.of) == of


@pytest.mark.parametrize(
    ("run", "accounts"),
    [
        ("r", {"usd/run/r", "usd/~ann/run/r", "usd/~ben/run/r", "usd/~ben/instance/r:t"}),
        ("ben/r", {"usd/~ben/run/r", "usd/~ben/instance/r:t"}),
        ("ann/r", {"usd/~ann/run/r", "usd/run/ann/r"}),
        ("ann", set()),
    ],
)
def test_a_run_is_found_with_and_without_its_owner(run, accounts):
    names = ("usd/run/r", "usd/run/ann/r", "usd/~ann/run/r", "usd/~ben/run/r", "usd/~ben/instance/r:t", "usd/user/ann")
    status = ledger_status({name: Balance(settled=1) for name in names}, run=run)
    assert {budget.account for budget in status.budgets} == accounts


@pytest.mark.parametrize(
    ("account", "cap"),
    [
        ("usd/run/x", 10),
        ("usd/~ann/run/x", 10),
        ("usd/model/m/day/2026-11-22", 20),
        ("usd/model/n/day/2026-11-22", None),
        ("usd/models/m+n/month/2026-11", 30),
        ("usd/models/m/month/2026-11", None),
        ("usd/month/2026-11", None),
        ("usd/model/m/month/2026-11", 40),
        ("usd", 50),
    ],
)
def test_an_account_finds_its_cap(account, cap):
    registry = make_registry(
        Budget(cap=10, per=("run",)),
        Budget(cap=11, per=("run",)),
        Budget(cap=20, per=("model", "day"), models=("m",)),
        Budget(cap=30, per=("month",), models=("n", "m")),
        Budget(cap=50, per=()),
        m=(Limits(), (Budget(cap=40, per=("model", "month"), models=("m",)),)),
        n=(Limits(), ()),
    )
    assert ledger_status({account: Balance(settled=1)}, registry).budgets[0].cap == cap


def test_status_shows_limits_pauses_and_open_calls():
    registry = make_registry(m=(Limits(rpm=60, max_parallel=8), ()))
    now = ledger_status(
        {
            "requests/m": Balance(live=3, held=1, free_at=((5_000, 1), (6_000, 3))),
            "tokens/m": Balance(),
            "slots/m": Balance(held=2),
            "pause/m": Balance(live=2, free_at=((3_000, 1), (9_000, 1))),
            "failures/m": Balance(live=4),
            "breaker/k": Balance(live=1, free_at=((9_000, 1),)),
            "breaker/key": Balance(live=1, free_at=((90_000, 1),)),
            "probe/key": Balance(live=1, free_at=((9_000, 1),)),
            "operator-quota-exhausted/key": Balance(live=1, free_at=((6_000, 1),)),
            "operator-authentication/key": Balance(live=1, free_at=((9_000, 1),)),
            "operator-authentication/key/endpoint/3f": Balance(live=1, free_at=((9_000, 1),)),
            "operator-permission/k": Balance(live=1, free_at=((3_000, 1),)),
            "slots/gone": Balance(held=1),
            "something/else": Balance(live=1),
        },
        registry,
    )
    (limit,) = now.limits
    assert (limit.model, limit.limit, limit.used, limit.cap, limit.free_at_ms) == ("m", "rpm", 4, 60, 5_000)
    removed, half_open, needs_key, paused = now.models
    assert (paused.open_calls, paused.cap, paused.failures, paused.paused_until_ms) == (2, 8, 4, 9_000)
    assert half_open.half_open
    assert removed.cap is None
    assert (needs_key.operator_reason, half_open.operator_reason) == ("authentication", None)
    shown = [[getattr(cell, "text", cell) for cell in row] for table in status_tables(now, 4_000) for row in table.rows]
    assert ["m", "rpm", "4", "60", "1.0 s"] in shown
    assert ["m", "2", "8", "4", "paused for 5.0 s"] in shown
    assert ["k", "0", "-", "0", "circuit half open: one call at a time"] in shown
    assert ["key", "0", "-", "0", "circuit open for 5.0 s: authentication; requires operator action"] in shown
    assert ["gone", "1", "-", "0", "in use"] in shown


def test_status_shows_the_queue_by_model():
    queue = [
        Queued("h1", ("slots/m", "usd/run/r"), {"m": 3, "k": 1}, 2_000),
        Queued("h2", ("requests/m",), {"m": 1}, 1_000),
        Queued("h3", ("pause/old",), {}, 4_500),
        Queued("h4", ("parallel/k",), {"k": 2}, 4_000),
    ]
    now = ledger_status({}, None, queue=queue)
    assert [(waits.model, waits.calls, waits.since_ms) for waits in now.queue] == [("m", 4, 1_000), ("k", 3, 2_000), ("", 1, 4_500)]
    *_, shown = status_tables(now, 4_000)
    assert [[getattr(cell, "text", cell) for cell in row] for row in shown.rows] == [
        ["m", "4", "3.0 s", "max_parallel, usd/run/r, rpm"],
        ["k", "3", "2.0 s", "max_parallel, usd/run/r"],
        ["-", "1", "0 ms", "the end of a pause"],
    ]
    many = ledger_status({}, None, queue=[Queued(f"h{number}", ("pause/x",), {f"m{number}": 1}, number) for number in range(30)])
    *_, shown = status_tables(many, 100)
    assert (len(shown.rows), shown.title) == (20, "Waiting calls (20 of 30 models)")


def test_status_shows_an_exceeded_budget():
    registry = make_registry(Budget(cap=10_000_000, per=("run",)))
    budgets, *_ = status_tables(ledger_status({"usd/run/r": Balance(settled=15_000_000)}, registry), 0)
    assert [getattr(cell, "text", cell) for cell in budgets.rows[0]] == ["run r", "$0.015", "$0.00", "$0.01", "-$0.005", "over by $0.0050"]


# --------------------------------------------------------------------------------------------------------------- times

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-20", datetime(2026, 11, 20, tzinfo=UTC)),
        ("2026-11-20T12:00", NOON),
        ("2026-11-20T13:00+01:00", NOON),
        ("2026-11-20T12:00:00Z", NOON),
        ("1d", datetime(2026, 11, 19, 12, tzinfo=UTC)),
        ("90 min", datetime(2026, 11, 20, 10, 30, tzinfo=UTC)),
        ("2W", datetime(2026, 11, 6, 12, tzinfo=UTC)),
        ("999999999999w", datetime(1970, 1, 1, tzinfo=UTC)),
        ("0001-01-01T00:00+23:59", datetime(1970, 1, 1, tzinfo=UTC)),
    ],
)
def test_a_time_is_parsed(text, expected):
    assert read_time(text, int(NOON.timestamp() * 1000), "--since") == int(expected.timestamp() * 1000)


def test_a_date_as_an_end_includes_the_whole_day():
    assert read_time("2026-11-20", 0, "--until", end_of_day=True) == int(datetime(2026, 11, 21, tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize("text", ["", "soon", "2026-13-01", "9999-12-31", "5 years", "9" * 5_000 + "d"])
def test_an_invalid_time_is_refused(text):
    with pytest.raises(UsageMistake, match="not a time"):
        read_time(text, 0, "--until", end_of_day=True)


# ---------------------------------------------------------------------------------------------------------- on a server


def spend(paymaster, registry, *words):
    """Three calls of two runs, one of which falls back."""
    paymaster("ask", "Why?", "--model-registry", registry, "--run-id", "one", *words)
    paymaster("ask", "smile", "--model-registry", registry, "--run-id", "two", *words)
    paymaster("ask", "Why?", "-m", "faulty", "--model-registry", registry, "--run-id", "two", *words)


def test_status_and_report_are_the_same_for_a_server_and_a_file(paymaster, registry, redis_url):
    spend(paymaster, registry)
    spend(paymaster, registry, "--ledger", redis_url)
    on_file = json.loads(paymaster("report", "--by", "run,model", "--json").out)
    on_server = json.loads(paymaster("report", "--by", "run,model", "--json", "--ledger", redis_url).out)
    assert on_server["ledger_agrees"] is True
    assert [(row["run"], row["model"], row["cost_nanousd"]) for row in on_server["rows"]] == [
        (row["run"], row["model"], row["cost_nanousd"]) for row in on_file["rows"]
    ]
    status = json.loads(paymaster("status", "--json", "--ledger", redis_url, "--model-registry", registry).out)
    assert status["ledger"] == redis_url.replace("/0", "")
    assert status["budgets"] == json.loads(paymaster("status", "--json", "--model-registry", registry).out)["budgets"]


def test_an_empty_server_stays_empty_when_it_is_read(paymaster, redis_url, redis_server):
    import redis

    for command in ("report", "status"):
        ended = paymaster(command, "--ledger", redis_url)
        assert (ended.status, redis_url.partition("name=")[2] in ended.out) == (0, True)
    with redis.Redis(port=redis_server.port) as client:
        assert not list(client.scan_iter(f"*{redis_url.partition('name=')[2]}}}*"))


@pytest.mark.parametrize("command", ["report", "status"])
def test_an_unavailable_server_is_one_message_without_the_password(paymaster, command):
    ended = paymaster(command, "--ledger", f"redis://ann:s3cret@127.0.0.1:{free_port()}/0?timeout_ms=60")
    assert (ended.status, ended.out) == (2, "")
    assert "did not answer" in ended.err
    assert "s3cret" not in ended.err


def test_status_says_whose_prompts_count_as_their_bytes(paymaster, tmp_path):
    url = f"sqlite:{tmp_path / 'books.sqlite3'}"
    books = open_ledger(url, BlockingRuntime().sleep)
    run(books.post((Post("undercount/fast", 170, None), Post("undercount/slow", 100, None)), (), BlockingRuntime().now_ms()))
    run(books.close())
    shown = paymaster("status", "--ledger", url)
    words = " ".join((shown.out + shown.err).split())
    assert "fast: a prompt counts as 1.7 times its bytes, because its own count was too low." in words
    assert "paymaster ledger reset undercount/slow" in words
    assert json.loads(paymaster("status", "--ledger", url, "--json").out)["percent_of_bytes"] == {"fast": 170, "slow": 100}
    assert paymaster("ledger", "reset", "undercount/fast", "--yes", "--ledger", url).status == 0
    assert json.loads(paymaster("status", "--ledger", url, "--json").out)["percent_of_bytes"] == {"slow": 100}
