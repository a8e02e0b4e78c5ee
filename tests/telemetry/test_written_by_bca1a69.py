"""Events that Paymaster wrote at bca1a69, in version 1 of their format, are read: why calls went where they went."""

from __future__ import annotations

import json
import shutil
from collections import Counter

import pytest

from old_files import EXPECTED, FOLDER, file_ledger, server_ledger

LINES = [json.loads(line) for line in (FOLDER / "events.jsonl").read_text(encoding="utf-8").splitlines()]
OF_THE_SECOND_DAY = [line for line in LINES if line["at"] > "2040-02"]


@pytest.fixture(params=["file", "server"])
def latest_calls(request, tmp_path):
    """The rows of `top` for the calls of the ledger that these events belong to; those of the first day have left it."""
    (tmp_path / "state" / "events").mkdir(parents=True)
    shutil.copy(FOLDER / "events.jsonl", tmp_path / "state" / "events")
    ledger = file_ledger("", tmp_path) if request.param == "file" else server_ledger("", request.getfixturevalue("redis_url"))
    said = ledger.command("top", "--once", "--calls", 200, "--state-dir", tmp_path / "state").decode()
    return said.partition("Recent calls")[2].splitlines()


def shown(kind):
    return [line for line in OF_THE_SECOND_DAY if line["event"] == kind]


def test_the_file_has_every_kind_of_event_that_there_was():
    assert {line["v"] for line in LINES} == {1}
    assert Counter(line["event"] for line in LINES) == EXPECTED["events"]
    assert len(EXPECTED["events"]) == 18


def test_models_that_were_not_asked_are_named_with_the_reason(latest_calls):
    assert {line["against"] for line in shown("passed_over")} == {"capability", "key", "unpriced", "wait"}
    for line in shown("passed_over"):
        assert any(f"{line['model']} " in row and line["reason"][:180] in row and line["run"] in row for row in latest_calls), line


def test_budgets_and_limits_without_room_are_named(latest_calls):
    assert {line["account"] for line in shown("refused")} == {"usd/run/exp-2", "usd/run/exp-4"}
    for line in shown("refused"):
        assert any(f"{line['model']} " in row and line["account"] in row for row in latest_calls), line
    waited_for = [line for line in shown("throttled") if line["account"] and line["run"] != "exp-8"]
    assert {line["account"] for line in waited_for} == {"pause/busy"}
    for line in waited_for:
        assert any(f"{line['model']} " in row and line["reason"] in row for row in latest_calls), line


def test_a_call_that_ended_without_an_attempt_is_listed(latest_calls):
    (gave_up,) = [line for line in shown("gave_up") if not line["attempts"]]
    assert gave_up["error"] == "BudgetExceeded"
    (row,) = [row for row in latest_calls if "budget exceeded" in row]
    assert gave_up["run"] in row
