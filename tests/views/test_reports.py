"""Reports: rows add up to the total to the nano-dollar, calls count once, days are UTC."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paymaster.accounting.records import AttemptRecord
from paymaster.views.reports import MOST_INEXACT, GroupBy, RecordFilter, Report

DAY_MS = 86_400_000
NOON = 20_000 * DAY_MS + DAY_MS // 2  # 2024-10-04

ANSWERED = AttemptRecord(
    call_id="c-1",
    attempt=1,
    at_ms=NOON,
    model="gpt-4o",
    provider="openai",
    model_id="gpt-4o",
    outcome="answered",
    billed="exact",
    cost_nanousd=12_300_001,
    held_nanousd=51_200_000,
    cost_source="registry",
    run="exp-42",
    batch="b-1",
    instance="django-1",
    user="ada",
    role="main",
    input_tokens=100,
    cache_read_tokens=20,
    cache_write_tokens=3,
    output_tokens=40,
    reasoning_tokens=7,
    waited_ms=250,
)
NOTHING_USED = dict.fromkeys(
    ["cost_nanousd", "input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens", "waited_ms"], 0
)
THROTTLED = replace(ANSWERED, outcome="throttled", billed="none", **NOTHING_USED)
TIMED_OUT = replace(THROTTLED, attempt=2, outcome="timed_out", billed="assumed", cost_nanousd=51_200_000, at_ms=NOON + 1)
TAKEN_OVER = replace(ANSWERED, attempt=3, model="gemini-pro", fallback_from="gpt-4o", cost_nanousd=5, at_ms=NOON + 2)
LOST = replace(THROTTLED, call_id="c-2", outcome="lost", billed="assumed", cost_nanousd=7, instance=None, at_ms=NOON + DAY_MS)
UNPRICED = replace(ANSWERED, call_id="c-3", model="local", billed="unpriced", cost_nanousd=0, user=None)
RECORDS = (THROTTLED, TIMED_OUT, TAKEN_OVER, LOST, UNPRICED)


def report(*keys: GroupBy, only: RecordFilter | None = None, records=RECORDS) -> Report:
    made = Report(keys, only)
    made.extend(records)
    return made


def test_rows_by_model_have_all_sums():
    gemini, gpt, local = report(GroupBy.MODEL).rows()
    assert (gemini.group, gpt.group, local.group) == (("gemini-pro",), ("gpt-4o",), ("local",))
    assert (gpt.calls, gpt.attempts, gpt.answered, gpt.failed, gpt.lost) == (2, 3, 0, 2, 1)
    assert (gpt.exact_nanousd, gpt.assumed_nanousd, gpt.cost_nanousd) == (0, 51_200_007, 51_200_007)
    assert (gpt.tokens, gpt.waits, gpt.waited_ms, gpt.fallbacks) == (0, 0, 0, 0)
    assert (gpt.first_at_ms, gpt.last_at_ms) == (NOON, NOON + DAY_MS)
    assert (gemini.calls, gemini.attempts, gemini.answered, gemini.fallbacks) == (1, 1, 1, 1)
    assert (gemini.exact_nanousd, gemini.assumed_nanousd) == (5, 0)
    assert (gemini.input_tokens, gemini.cache_read_tokens, gemini.cache_write_tokens) == (100, 20, 3)
    assert (gemini.output_tokens, gemini.reasoning_tokens, gemini.tokens) == (40, 7, 163)
    assert (gemini.waits, gemini.waited_ms) == (1, 250)
    assert (local.unpriced, local.cost_nanousd) == (1, 0)


def test_the_total_counts_a_call_of_two_models_once():
    made = report(GroupBy.MODEL)
    assert [row.calls for row in made.rows()] == [1, 2, 1]
    assert made.total().calls == 3
    assert made.total().group == ()


@pytest.mark.parametrize(
    ("key", "values"),
    [
        (GroupBy.MODEL, ["gemini-pro", "gpt-4o", "local"]),
        (GroupBy.ENDPOINT, ["gemini-pro", "gpt-4o", "local"]),
        (GroupBy.RUN, ["exp-42"]),
        (GroupBy.BATCH, ["b-1"]),
        (GroupBy.INSTANCE, [None, "django-1"]),
        (GroupBy.USER, [None, "ada"]),
        (GroupBy.ROLE, ["main"]),
        (GroupBy.DAY, ["2024-10-04", "2024-10-05"]),
        (GroupBy.TIER, [None]),
    ],
)
def test_rows_group_by_each_key_with_a_missing_value_first(key, values):
    assert [row.group for row in report(key).rows()] == [(value,) for value in values]


def test_every_key_has_a_test():
    assert len(GroupBy) == 9


def test_rows_by_several_keys_are_sorted_in_their_order():
    made = report(GroupBy.DAY, GroupBy.MODEL)
    assert [row.group for row in made.rows()] == [
        ("2024-10-04", "gemini-pro"),
        ("2024-10-04", "gpt-4o"),
        ("2024-10-04", "local"),
        ("2024-10-05", "gpt-4o"),
    ]


def test_a_report_without_keys_is_its_total():
    made = report()
    assert made.rows() == (made.total(),)


def test_an_empty_report_has_no_row_and_a_zero_total():
    made = report(GroupBy.MODEL, records=())
    assert made.rows() == ()
    total = made.total()
    assert (total.calls, total.cost_nanousd, total.first_at_ms, total.last_at_ms) == (0, 0, None, None)


def test_the_most_expensive_inexact_charges_are_kept():
    made = report(GroupBy.MODEL)
    assert (made.inexact(), made.inexact_count) == ((TIMED_OUT, LOST), 2)
    many = [replace(LOST, call_id=f"c-{number}", cost_nanousd=number) for number in range(1, 2 * MOST_INEXACT)]
    found = report(records=[*many, LOST, LOST])
    assert found.inexact_count == len(many) + 2
    assert [record.cost_nanousd for record in found.inexact()] == list(range(2 * MOST_INEXACT - 1, MOST_INEXACT - 1, -1))
    assert report(records=[LOST], only=RecordFilter(run="other")).inexact() == ()


def test_two_attempts_at_a_fallback_count_as_one_fallback():
    again = replace(TAKEN_OVER, attempt=4)
    assert report(GroupBy.MODEL, records=(TAKEN_OVER, again)).rows()[0].fallbacks == 1


def test_a_report_can_be_read_while_records_are_added():
    made = Report([GroupBy.MODEL])
    made.add(TAKEN_OVER)
    assert made.total().attempts == 1
    made.add(UNPRICED)
    assert made.total().attempts == 2


def test_a_day_ends_at_midnight_utc():
    records = [replace(ANSWERED, at_ms=at_ms) for at_ms in (20_001 * DAY_MS - 1, 20_001 * DAY_MS)]
    assert [row.group for row in report(GroupBy.DAY, records=records).rows()] == [("2024-10-04",), ("2024-10-05",)]


@pytest.mark.parametrize(
    ("only", "count"),
    [
        (RecordFilter(), 5),
        (RecordFilter(run="exp-42", batch="b-1"), 5),
        (RecordFilter(run="other"), 0),
        (RecordFilter(batch="other"), 0),
        (RecordFilter(since_ms=NOON + 1), 3),
        (RecordFilter(since_ms=NOON, until_ms=NOON + 1), 2),
        (RecordFilter(until_ms=NOON), 0),
    ],
)
def test_a_filter_includes_its_start_and_excludes_its_end(only, count):
    assert report(GroupBy.MODEL, only=only).total().attempts == count


def test_own_runs_of_the_same_name_stay_apart():
    records = [replace(ANSWERED, user=user, run_owner=owner) for user, owner in (("ada", "ada"), ("ben", "ben"), ("ben", None))]
    assert [row.group for row in report(GroupBy.RUN, records=records).rows()] == [("ada/exp-42",), ("ben/exp-42",), ("exp-42",)]
    for run, count in (("exp-42", 3), ("ben/exp-42", 1), ("cy/exp-42", 0)):
        assert report(GroupBy.RUN, only=RecordFilter(run=run), records=records).total().attempts == count


MONEY = st.integers(min_value=0, max_value=10**15)
ATTEMPTS = st.builds(
    AttemptRecord,
    call_id=st.sampled_from(["c-1", "c-2", "c-3", "c-4"]),
    attempt=st.integers(1, 5),
    at_ms=st.integers(0, 5 * DAY_MS),
    model=st.sampled_from(["a", "b", "c"]),
    provider=st.just("p"),
    model_id=st.just("m"),
    outcome=st.sampled_from(["answered", "lost", "throttled", "timed_out"]),
    billed=st.sampled_from(["exact", "estimated", "assumed", "none", "unpriced"]),
    cost_nanousd=MONEY,
    held_nanousd=MONEY,
    cost_source=st.just("registry"),
    run=st.sampled_from(["r", "s"]),
    batch=st.none() | st.just("b"),
    user=st.none() | st.just(""),
    input_tokens=st.integers(0, 10**6),
    output_tokens=st.integers(0, 10**6),
    waited_ms=st.integers(0, 10**6),
    fallback_from=st.none() | st.sampled_from(["a", "b"]),
)
SUMMED = (
    "attempts",
    "answered",
    "failed",
    "lost",
    "unpriced",
    "exact_nanousd",
    "estimated_nanousd",
    "assumed_nanousd",
    "cost_nanousd",
    "tokens",
    "waits",
    "waited_ms",
)


@given(st.lists(ATTEMPTS, max_size=30), st.lists(st.sampled_from(GroupBy), unique=True))
def test_rows_add_up_to_the_total_and_the_total_to_the_records(records, keys):
    made = report(*keys, records=records)
    rows, total = made.rows(), made.total()
    for name in SUMMED:
        assert sum(getattr(row, name) for row in rows) == getattr(total, name), name
    assert total.cost_nanousd == sum(record.cost_nanousd for record in records)
    assert total.attempts == len(records)
    assert total.calls == len({record.call_id for record in records})
    assert total.first_at_ms == min((record.at_ms for record in records), default=None)
    assert total.last_at_ms == max((record.at_ms for record in records), default=None)
    assert len({row.group for row in rows}) == len(rows)


@given(st.lists(ATTEMPTS, max_size=20), st.randoms())
def test_the_order_of_records_does_not_matter(records, random):
    shuffled = records[:]
    random.shuffle(shuffled)
    assert report(GroupBy.MODEL, GroupBy.DAY, records=shuffled).rows() == report(GroupBy.MODEL, GroupBy.DAY, records=records).rows()


def test_a_row_of_an_endpoint_has_the_name_of_its_model_too():
    made = Report([GroupBy.ENDPOINT])
    made.extend([replace(ANSWERED, model="sonnet", endpoint=endpoint) for endpoint in ("eu", "us", "eu")])
    assert [(row.group, row.attempts) for row in made.rows()] == [(("sonnet/eu",), 2), (("sonnet/us",), 1)]
