"""Who is skipped, and why, in as few lines as can be read."""

from paymaster.routing.skipped import SkipCause, Skipped, by_reason


def skipped(model: str, endpoint: str, detail: str) -> Skipped:
    """An endpoint that failed."""
    return Skipped(model, SkipCause.FAILED, detail, endpoint=endpoint)


def test_endpoints_with_one_reason_are_named_together_and_each_once() -> None:
    found = [
        skipped("m", "x", "down"),
        skipped("m", "y", "full"),
        skipped("b", "", "down"),
        skipped("m", "z", "down"),
        skipped("m", "x", "down"),
    ]
    assert by_reason(found) == [("m/x, z", "down"), ("m/y", "full"), ("b", "down")]
