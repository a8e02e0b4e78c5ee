"""How the failure of a call ends an agent's task: what will pass is asked again, what won't is the result."""

from __future__ import annotations

import pytest

from paymaster.agents.call_endings import PERMANENT, Ending, Tally, all_went_well, ending_of, failure_lines, listed, summary_lines
from paymaster.errors import (
    BudgetExceeded,
    DeadlineExceeded,
    KeyMissing,
    LedgerReplaced,
    LedgerUnavailable,
    LimitReached,
    MixRefused,
    NoModelAvailable,
    NoModelFits,
    PaymasterError,
    RequestInvalid,
    RequestRefused,
    StreamBroken,
)
from paymaster.routing.failures import FailureKind
from paymaster.routing.skipped import SkipCause

PASSING = [kind for kind in FailureKind if kind not in {FailureKind.CONTEXT_TOO_LONG, FailureKind.CONTENT_POLICY, FailureKind.BAD_REQUEST}]


def budget() -> BudgetExceeded:
    return BudgetExceeded("b", account="usd/run/r", cap=1, spent=1, held=0, needed=1)


@pytest.mark.parametrize(
    ("error", "ending"),
    [
        (budget(), Ending.BUDGET),
        (RequestRefused("r", kind="content_policy"), Ending.CONTENT_POLICY),
        (RequestRefused("r", kind="bad_request"), Ending.BAD_REQUEST),
        (RequestInvalid("r"), Ending.BAD_REQUEST),
        (NoModelFits("n", [], too_long=True), Ending.TOO_LONG),
        (KeyMissing("k"), Ending.NO_ANSWER),
        (LedgerUnavailable("l"), Ending.NO_ANSWER),
        (LedgerReplaced("l"), Ending.NO_ANSWER),
        (StreamBroken("s"), Ending.NO_ANSWER),
        (DeadlineExceeded("d"), Ending.NO_ANSWER),
        (MixRefused("m", [], instance="task-1", model="a"), Ending.MIXED),
        (NoModelAvailable("n", []), Ending.NO_ANSWER),
        (LimitReached("n", []), Ending.NO_ANSWER),
    ],
)
def test_an_error_says_by_itself_how_it_ends_a_task(error: PaymasterError, ending: Ending) -> None:
    assert ending_of(error, Tally()) is ending


@pytest.mark.parametrize(
    ("obstacles", "ending"),
    [
        (["context_too_long"], Ending.TOO_LONG),
        (["context_too_long", "context"], Ending.TOO_LONG),
        (["capability", "context_too_long"], Ending.TOO_LONG),
        (["content_policy"], Ending.CONTENT_POLICY),
        (["capability"], Ending.UNFIT),
        (["parameter", "limit", "vectors"], Ending.UNFIT),
        # A model that could serve no call of this run counts as absent.
        (["context_too_long", "key"], Ending.TOO_LONG),
        (["unpriced", "context"], Ending.TOO_LONG),
        (["key"], Ending.NO_ANSWER),
        (["unpriced"], Ending.NO_ANSWER),
        # A larger model that can't be asked just now may serve later.
        (["context_too_long", "overloaded"], Ending.NO_ANSWER),
        (["context_too_long", "authentication"], Ending.NO_ANSWER),
        (["context_too_long", "paused"], Ending.NO_ANSWER),
        (["context_too_long", "wait"], Ending.NO_ANSWER),
        (["budget", "context_too_long"], Ending.NO_ANSWER),
        *(([kind.value], Ending.NO_ANSWER) for kind in PASSING),
    ],
)
@pytest.mark.parametrize("error", [NoModelAvailable("n", []), NoModelFits("n", [])])
def test_a_call_without_an_answer_ends_a_task_for_good_only_if_no_model_could_ever_serve_it(
    error: PaymasterError, obstacles: list[str], ending: Ending
) -> None:
    tally = Tally(obstacles={f"m{number}": obstacle for number, obstacle in enumerate(obstacles)})
    assert ending_of(error, tally) is ending


def test_every_obstacle_has_a_meaning() -> None:
    for obstacle in [*FailureKind, *SkipCause]:
        ending = ending_of(NoModelAvailable("n", []), Tally(obstacles={"m": obstacle.value}))
        assert ending in PERMANENT | {Ending.NO_ANSWER}


@pytest.mark.parametrize(
    ("endings", "answers", "well"),
    [
        ({}, 0, True),
        ({"a": Ending.DONE}, 3, True),
        ({"a": Ending.DONE}, 0, True),
        ({"a": Ending.DONE, "b": Ending.TOO_LONG}, 3, True),
        ({"a": Ending.TOO_LONG}, 0, False),
        ({"a": Ending.DONE, "b": Ending.NO_ANSWER}, 3, False),
        ({"a": Ending.DONE, "b": Ending.MIXED}, 3, False),
        ({"a": Ending.NOT_BEGUN}, 0, False),
        ({"a": Ending.CUT_OFF}, 3, False),
        ({"a": Ending.FAILED}, 0, False),
        ({"a": Ending.FAILED, "b": Ending.DONE}, 1, True),
    ],
)
def test_a_batch_went_well_if_nothing_is_to_be_asked_again_and_something_was_answered(
    endings: dict[str, Ending], answers: int, *, well: bool
) -> None:
    assert all_went_well(endings, answers=answers) is well


def test_a_summary_counts_what_is_not_done_and_names_what_is_not_asked_again() -> None:
    assert list(summary_lines({"a": Ending.DONE})) == []
    assert list(summary_lines({"a": Ending.DONE, "c": Ending.TOO_LONG, "b": Ending.TOO_LONG, "d": Ending.NO_ANSWER})) == [
        "Instances: 1 done, 2 context too long, 1 no model answered.",
        "Context too long, with the work so far as the result: b, c.",
    ]


def test_long_lists_of_names_are_shortened() -> None:
    assert listed([f"i{number}" for number in range(25)]).endswith("i19 and 5 more")


def test_each_kind_of_failure_is_explained_once() -> None:
    wrong_key, down = (NoModelAvailable(f"m: {kind}", [], advice="Ask.", failure=kind) for kind in ("authentication", "server_error"))
    failures = {
        "b": wrong_key,
        "a": NoModelAvailable("m: circuit open", [], failure="authentication"),
        "c": down,
        "d": LedgerUnavailable("the ledger is locked"),
        "e": RequestRefused("m: no tools", kind="bad_request"),
        "f": RequestRefused("m: refused", kind="bad_request"),
        "g": down,  # it was answered after all
        "h": MixRefused("instance h: another model", [], instance="h", model="a"),
    }
    endings = {
        **dict.fromkeys("abcd", Ending.NO_ANSWER),
        **dict.fromkeys("ef", Ending.BAD_REQUEST),
        "g": Ending.DONE,
        "h": Ending.MIXED,
    }
    expected = ["b: m: authentication", "c: m: server_error", "d: the ledger is locked", "e: m: no tools", "h: instance h: another model"]
    assert list(failure_lines(failures, endings)) == expected
    assert not list(failure_lines({}, endings))
