"""Which candidate is called first, by what each has room for."""

import pytest

from paymaster.routing.prospects import Prospect, first_asked

PATIENCE_MS = 10_000
NOW, LOST = Prospect("m"), Prospect("m", None, is_lost=True)
SOON, LATE, UNKNOWN = Prospect("m", 5_000), Prospect("m", 60_000), Prospect("m", None)
OUTAGE, HOME, LEFT = Prospect("m", 2_000, is_outage=True), Prospect("m", 5_000, wait_ms=6_000), Prospect("m", 60_000, is_left=True)
OTHER, OVER = Prospect("b"), Prospect("b", None, over_budget=True)


@pytest.mark.parametrize(
    ("prospects", "first"),
    [
        ([], None),
        ([LOST], None),
        ([NOW, NOW], 0),
        ([LOST, NOW], 1),
        ([LATE], 0),  # it is the only one
        ([SOON, OTHER], 0),  # within the patience
        ([UNKNOWN, OTHER], 0),
        ([LATE, OTHER], 1),
        ([OUTAGE, OTHER], 1),
        ([SOON, NOW], 1),  # an endpoint is not waited for while another is left
        ([HOME, NOW], 0),  # but that of the session is
        ([LATE, SOON, OTHER], 1),  # each endpoint once, then those that may serve soon
        ([LATE, OUTAGE, OTHER], 2),
        ([LATE, LATE, Prospect("b", 70_000)], 0),
        ([LATE, Prospect("b", 50_000)], 1),  # the one that is expected first
        ([LEFT, Prospect("m", 61_000), Prospect("b", 70_000)], 1),
        ([LATE, OVER], 0),
        ([OUTAGE, OVER], 1),
        ([OVER, LOST], 0),
    ],
)
def test_the_candidate_that_is_called_first(prospects: list[Prospect], first: int | None) -> None:
    assert first_asked(prospects, PATIENCE_MS) == first


def test_without_patience_nobody_is_waited_for() -> None:
    assert first_asked([UNKNOWN, OTHER], 0) == 1
