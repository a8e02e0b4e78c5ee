"""What Paymaster wrote at bca1a69 is opened, brought up to date and read: files, servers, exports, archives, and what waited on disk."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from functools import cache
from itertools import pairwise

import pytest

from old_files import EXPECTED, FOLDER, READY, REGISTRY, command, file_ledger, imported_ledger, server_ledger
from paymaster import Client
from paymaster.options import registry_for

HELLO = [{"role": "user", "content": "Why is the sky blue?"}]
LEDGERS = {"": "ledger", "-open-breaker": "open-breaker", "-half-open": "half-open"}
EXPORT = {name: (FOLDER / f"export{name}.jsonl").read_bytes().splitlines(keepends=True) for name in LEDGERS}
# Whose calls are in a run; in all others they are ann's. The records of `warm-up` were archived, so it counts for both.
USERS = {"exp-2": ["ben"], "exp-4": ["ben"], "exp-6": ["ben"], "warm-up": ["ann", "ben"]}
TROUBLES = ["flaky", "house/broken", "single", "adaptive", "locked", "busy", "mixed", "merged"]


@pytest.fixture(params=["file", "server", "export into a file", "export onto a server"])
def open_old(request, tmp_path):
    """Opens one of the ledgers in each way that there is."""

    def open_it(name):
        match request.param:
            case "file":
                return file_ledger(name, tmp_path)
            case "server":
                return server_ledger(name, request.getfixturevalue("redis_url"))
            case "export into a file":
                return imported_ledger(name, f"sqlite:{tmp_path / 'imported.sqlite'}")
            case _:
                return imported_ledger(name, request.getfixturevalue("redis_url"))

    return open_it


@pytest.fixture(params=["file", "server"])
def open_as_it_was(request, tmp_path):
    """Opens one of the ledgers as it was written; an export makes the same ledger, without the callers in its queue."""

    def open_it(name):
        return file_ledger(name, tmp_path) if request.param == "file" else server_ledger(name, request.getfixturevalue("redis_url"))

    return open_it


def own_runs(name):
    """The accounts that bca1a69 did not have: since then a key's user has runs of their own, which begin with what the run came to.

    What a run held at that moment counts as spent there, whatever becomes of the hold.
    """
    runs = {account.removeprefix("usd/run/"): each for account, each in EXPECTED[name]["budgets"].items() if "/run/" in account}
    return {
        f"usd/~{user}/run/{run}": {"spent_nanousd": sum(each.values()), "held_nanousd": 0}
        for run, each in runs.items()
        for user in USERS.get(run, ["ann"])
    }


def with_own_runs(verified, name):
    """What `ledger verify` shows besides: no record is in the accounts of users' own runs, so each has an opening balance."""
    return {"adds_up": True, "differences": [], **verified, "openings": verified["openings"] + len(own_runs(name))}


@cache
def old_registry():
    return registry_for(REGISTRY, {"environ": {}})


def ask(ledger, model, faults=None):
    """One call through the public client, under the old registry; the models that were asked, in order, and their outcomes."""
    registry = old_registry()
    if faults is not None:
        registry = replace(registry, models={**registry.models, model: replace(registry.models[model], script=str(faults))})
    with Client(registry, ledger=ledger.url, run="today") as client:
        return [(attempt.model, attempt.outcome) for attempt in client.complete(HELLO, model=model).attempts]


@pytest.fixture
def failing(tmp_path):
    """A script of which every answer is an error."""
    path = tmp_path / "failing.yaml"
    path.write_text('models: {"*": {faults: [{kind: overloaded, always: true}]}}')
    return path


@pytest.mark.parametrize("name", LEDGERS)
def test_it_is_brought_up_to_date_and_adds_up(open_old, name):
    ledger, expected = open_old(name), EXPECTED[LEDGERS[name]]
    ledger.command("ledger", "migrate")
    shown = ledger.shown("ledger", "status")
    assert shown["version"] == shown["newest_version"]
    assert shown["clock_ms"] == expected["clock_ms"]
    assert ledger.verified() == with_own_runs(expected["verify"], LEDGERS[name])


@pytest.mark.parametrize("name", LEDGERS)
def test_its_budgets_limits_and_models_are_where_they_were(open_old, name):
    """By whatever command it is opened first."""
    ledger, expected = open_old(name), EXPECTED[LEDGERS[name]]
    assert ledger.budgets() == expected["budgets"] | own_runs(LEDGERS[name])
    assert ledger.limits() == expected["limits"]
    assert ledger.models() == expected["models"]


def test_a_budget_of_a_users_own_run_has_no_more_room_than_the_run_had(open_old):
    """ann had spent 6,709,000 of 20,000,000 under exp-1, and a key of hers may spend the rest."""
    ledger = open_old("")
    account, cap = "usd/~ann/run/exp-1", 20_000_000
    assert ledger.fits(account, cap - 6_709_000, cap)
    assert not ledger.fits(account, cap - 6_709_000 + 1, cap)


@pytest.mark.parametrize("name", LEDGERS)
def test_its_report_is_what_it_was(open_old, name):
    assert open_old(name).report() == EXPECTED[LEDGERS[name]]["report"]


@pytest.mark.parametrize("name", LEDGERS)
def test_every_record_opening_and_budget_is_kept_to_the_byte(open_old, name):
    kept = [line for line in EXPORT[name] if line.startswith((b'{"record"', b'{"opening"', b'{"account":"usd'))]
    assert len(kept) > 50
    assert [line for line in open_old(name).lines() if line in kept] == kept


@pytest.mark.parametrize("name", LEDGERS)
def test_it_is_the_same_ledger_in_whichever_way_it_comes(open_old, tmp_path, name):
    (tmp_path / "other").mkdir()
    assert open_old(name).lines() == file_ledger(name, tmp_path / "other").lines()


def test_archived_records_are_counted_again(open_as_it_was):
    assert open_as_it_was("").report("--archive", FOLDER / "archive") == EXPECTED["ledger"]["report_with_archive"]


def test_holds_of_killed_workers_are_charged_when_their_leases_end(open_as_it_was):
    ledger, expected = open_as_it_was(""), EXPECTED["ledger"]["after_an_hour"]
    ledger.move_to(expected["clock_ms"])
    assert ledger.verified() == with_own_runs(expected["verify"], "ledger")
    assert ledger.budgets() == expected["budgets"] | own_runs("ledger")
    assert ledger.limits() == expected["limits"]
    assert ledger.models() == {}
    assert ledger.report() == expected["report"]


def test_callers_in_the_queue_stay_there(open_as_it_was):
    ledger = open_as_it_was("")
    assert ledger.waiting() == EXPECTED["ledger"]["in_line"] != []
    ledger.move_to(EXPECTED["ledger"]["clock_ms"] + 5_000)
    assert ledger.waiting() == []


def test_a_limit_that_was_found_out_is_kept(open_as_it_was):
    """It began at 4 and had grown to 8 when the provider had enough."""
    with Client(old_registry(), ledger=open_as_it_was("").url) as client:
        balances = client.balances()
    assert balances["parallel/elastic"].settled == -1  # 4 + 1 at once
    assert balances["overloads/elastic"].settled == 1
    of_a_minute = [balances[name] for name in ("unrest/elastic", "overloads-minute/elastic") if name in balances]
    assert [balance.live for balance in of_a_minute] == [1]


def test_a_correction_can_be_taken_back(open_as_it_was):
    ledger = open_as_it_was("")
    ledger.command("ledger", "adjust", "usd/run/exp-2", "--usd", "+0.0015", "--reason", "no refund after all")
    assert ledger.budgets()["usd/run/exp-2"]["spent_nanousd"] == 5 * 3_915_000  # five answers of sharp
    assert ledger.verified()["adds_up"]


def test_the_old_registry_says_the_caps(open_as_it_was):
    shown = open_as_it_was("").shown("status", "--model-registry", REGISTRY)
    caps = {each["account"]: each["cap_nanousd"] for each in shown["budgets"]}
    assert (caps["usd"], caps["usd/run/exp-1"], caps["usd/model/sharp/day/2040-02-01"]) == (20 * 10**9, 20_000_000, 10**9)


# ---------------------------------------------------------------------------------------------------- models in trouble


def moments(changes):
    """When a model's state changes, and the last millisecond before. Failures leave their window at other times, one by one."""
    pairs = [pair for known in changes.values() for pair in pairwise(known)]
    return sorted({after["from_ms"] - early for before, after in pairs if before["state"] != after["state"] for early in (0, 1)})


def at_moment(changes, at_ms):
    """What each model is at that is not simply ready, according to expected.json."""
    latest = {model: [change for change in known if change["from_ms"] <= at_ms][-1] for model, known in changes.items()}
    found = {model: {name: change[name] for name in READY} for model, change in latest.items()}
    return {model: now for model, now in found.items() if now != READY}


@pytest.mark.parametrize("name", ["-open-breaker", "-half-open"])
def test_each_model_changes_its_state_when_it_would_have(open_as_it_was, name):
    ledger, changes = open_as_it_was(name), EXPECTED[LEDGERS[name]]["changes"]
    states = {change["state"] for known in changes.values() for change in known}
    assert states == {"paused", "one at a time", "ready"}
    for at_ms in moments(changes):
        ledger.move_to(at_ms)
        assert ledger.models() == at_moment(changes, at_ms), at_ms - EXPECTED[LEDGERS[name]]["clock_ms"]
    assert ledger.verified()["adds_up"]


def test_all_of_them_are_paused_at_first(open_as_it_was):
    ledger = open_as_it_was("-open-breaker")
    models = ledger.models()
    assert [models[model]["state"] for model in TROUBLES] == ["paused"] * len(TROUBLES)
    assert [models[model]["failures"] for model in TROUBLES] == [5, 5, 5, 5, 0, 0, 5, 5]
    for model in TROUBLES:  # a call with a fallback does not ask them
        assert ask(ledger, model) == [("thrifty", "answered")]
    assert ledger.models() == models


@pytest.mark.parametrize("model", [model for model in TROUBLES if model not in {"single", "busy"}])
def test_a_probe_that_is_answered_closes_the_breaker(open_as_it_was, model):
    ledger = open_as_it_was("-open-breaker")
    half_open = next(change for change in EXPECTED["open-breaker"]["changes"][model] if change["state"] == "one at a time")
    ledger.move_to(half_open["from_ms"])
    assert ledger.model(model)["state"] == "one at a time"
    assert ask(ledger, model) == [(model, "answered")]
    assert ledger.model(model) == READY
    assert ledger.verified()["adds_up"]


@pytest.mark.parametrize("model", ["flaky", "house/broken", "adaptive"])
def test_a_probe_that_fails_opens_it_again(open_as_it_was, failing, model):
    ledger = open_as_it_was("-open-breaker")
    half_open = next(change for change in EXPECTED["open-breaker"]["changes"][model] if change["state"] == "one at a time")
    ledger.move_to(half_open["from_ms"])
    assert ask(ledger, model, failing) == [(model, "overloaded"), ("thrifty", "answered")]
    again = ledger.model(model)
    assert again["state"] == "paused"
    assert abs(again["until_ms"] - (half_open["from_ms"] + 15_000)) < 1_500  # the ledger's time went on
    ledger.move_to(again["until_ms"] + 1_500)
    assert ledger.model(model)["state"] == "one at a time"


@pytest.mark.parametrize("model", ["single", "busy"])
def test_a_pause_without_a_probe_behind_it_just_ends(open_as_it_was, model):
    """A model of one call at a time has no need of one; nor has one that asked for time itself."""
    ledger = open_as_it_was("-open-breaker")
    ready = next(change for change in EXPECTED["open-breaker"]["changes"][model] if change["state"] == "ready")
    ledger.move_to(ready["from_ms"] - 2_300)  # longer than this registry's patience
    assert ask(ledger, model) == [("thrifty", "answered")]
    ledger.move_to(ready["from_ms"])
    assert ask(ledger, model) == [(model, "answered")]


def test_a_model_that_was_half_open_is_probed_by_the_next_call(open_as_it_was):
    """Also where a probe of bca1a69 never ended: it was a slot then, and its worker was killed."""
    ledger = open_as_it_was("-half-open")
    assert ledger.model("flaky") == {"state": "one at a time", "until_ms": None, "failures": 5, "open_calls": 1}
    for model in ("flaky", "house/broken"):
        assert ask(ledger, model) == [(model, "answered")]
        assert ledger.model(model)["state"] == "ready"


def test_failures_that_were_counted_count_on(open_as_it_was, failing):
    """Three of five: two more open the breaker, within a call that would have tried three times."""
    ledger = open_as_it_was("")
    assert ledger.model("sharp") == {"state": "ready", "until_ms": None, "failures": 3, "open_calls": 0}
    assert ask(ledger, "sharp", failing) == [("sharp", "overloaded"), ("sharp", "overloaded"), ("thrifty", "answered")]
    assert ledger.model("sharp")["state"] == "paused"


# -------------------------------------------------------------------------------------------------- what waited on disk


def test_what_a_dead_process_left_is_posted_once(open_as_it_was):
    """One settlement of a hold that the ledger has, one of a hold that it never saw, and one hold of which nothing more was heard."""
    ledger, expected = open_as_it_was(""), EXPECTED["ledger"]["after_posting"]
    shutil.copytree(FOLDER / "spool", ledger.shown("status")["waiting"]["folder"])
    waiting = ledger.shown("status")["waiting"]
    assert {name: waiting[name] for name in EXPECTED["ledger"]["waiting"]} == EXPECTED["ledger"]["waiting"]
    assert [(file["process"], file["is_running"]) for file in waiting["files"]] == [(4242, False)]
    ledger.command("ledger", "post")
    assert ledger.shown("status")["waiting"]["files"] == []
    assert ledger.verified() == with_own_runs(expected["verify"], "ledger")
    assert ledger.budgets() == expected["budgets"] | own_runs("ledger")
    assert ledger.limits() == expected["limits"]
    assert ledger.models() == expected["models"]
    assert ledger.report() == expected["report"]
    shutil.copytree(FOLDER / "spool", ledger.shown("status")["waiting"]["folder"], dirs_exist_ok=True)
    ledger.command("ledger", "post")
    assert ledger.report() == expected["report"]


def test_the_next_call_posts_it_as_well(open_as_it_was):
    ledger = open_as_it_was("")
    shutil.copytree(FOLDER / "spool", ledger.shown("status")["waiting"]["folder"])
    ask(ledger, "thrifty")
    spent = {account: figures for account, figures in ledger.budgets().items() if account.startswith("usd/run/exp-")}
    assert spent == {account: EXPECTED["ledger"]["after_posting"]["budgets"][account] for account in spent}


def test_an_archive_is_an_export_of_records_alone():
    (path,) = (FOLDER / "archive").iterdir()
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    assert lines[0]["archive"] is True
    assert lines[-1]["end"]["record"] == len(lines) - 2 == 14
    assert command("report", "--archive", path)
