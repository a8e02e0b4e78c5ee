"""Names the time limit that ended an attempt, by its key in the registry, and what to do; knows no clock and no transport."""

from enum import StrEnum

from paymaster.registry.models import Timeouts


class TimeLimit(StrEnum):
    """The time limits of an attempt, by their keys in `timeouts`."""

    CONNECT = "connect_s"
    FIRST_TOKEN = "first_token_s"  # noqa: S105 - the name of a key
    BETWEEN_CHUNKS = "between_chunks_s"
    TOTAL = "total_s"


def describe_limit(limit: TimeLimit, own: Timeouts, used: Timeouts) -> str:
    """One clause about a limit that was exceeded. `own` are the model's limits, `used` those of the attempt.

    A call that is near its deadline lowers `total_s`, which then bounds the other limits too.
    """
    if used.total_ms < {TimeLimit.CONNECT: used.connect_ms, TimeLimit.FIRST_TOKEN: used.first_token_ms}.get(limit, 0):
        limit = TimeLimit.TOTAL
    if limit is TimeLimit.TOTAL and used.total_ms < own.total_ms:
        return f"the call's deadline left {used.total_ms / 1_000:,g} s; allow it more time, or raise policies.deadline_s"
    limit_ms = {
        TimeLimit.CONNECT: used.connect_ms,
        TimeLimit.FIRST_TOKEN: used.first_token_ms,
        TimeLimit.BETWEEN_CHUNKS: used.between_chunks_ms,
        TimeLimit.TOTAL: used.total_ms,
    }[limit]
    return f"timeouts.{limit} of the model is {limit_ms / 1_000:,g} s; raise it in the registry if the model may need longer"
