"""What one seed means for the provider: models, answers and how their requests are spoiled. Pure: it starts nothing."""

from random import Random

from paymaster.providers.scripted.script import Answer, FaultKind, FaultPlan, ScriptedModel, ScriptedPrices

MODELS = ("alpha", "beta", "gamma")
USD_PER_1M_INPUT, USD_PER_1M_OUTPUT = 10, 30
LONGEST_ANSWER_TOKENS = 100
FIRST_TOKEN_MS, BETWEEN_CHUNKS_MS = 800, 400

ABSURD_WAITS = (
    "0",
    "-5",
    "Thu, 01 Jan 1970 00:00:00 GMT",
    "Fri, 31 Dec 2999 23:59:59 GMT",
    "1000000000",
    "1e9",
    "NaN",
    "9" * 400,
)
"""Retry-After that nobody can mean. The usual backoff is expected after each."""

MOST_THROTTLES = 30
"""How many requests in a row may get an absurd wait: more than the attempts of one call."""

ABSURD_FIGURES = ("1e30", "-1", "NaN", "9" * 400, "1.5", "true", '"many"', "9223372036854775807", "-0.0", "Infinity", "null", "[]")
"""Counts of tokens that no answer can have, as JSON text; some of them are no JSON."""

METERED_CHUNK_MS = 25
"""The time between chunks of a model that stops when its connection closes: at most 500 tokens a second, as fast as real ones."""

_CLOSING = (FaultKind.QUOTA, FaultKind.AUTH, FaultKind.PERMISSION, FaultKind.UNKNOWN_MODEL)
"""These open the model's circuit for longer than a run lasts."""

_TRANSIENT = tuple(kind for kind in FaultKind if kind not in _CLOSING)

_SLOW = (FaultKind.SILENCE, FaultKind.STALL)


def make_models(dice: Random, requests: int, *, fails: bool) -> dict[str, ScriptedModel]:
    """Models whose answers have any length. If it `fails`, some of the expected `requests` do; only one of the first two fails for good."""
    texts = ["x" * dice.randint(4, 4 * LONGEST_ANSWER_TOKENS) for _ in range(5)]
    closing = dice.choice((*MODELS[:-1], None))
    models = {}
    for name in MODELS:
        stops = fails and dice.random() < 0.4
        models[name] = ScriptedModel(
            prices=ScriptedPrices.model_validate({"usd_per_1m_input": USD_PER_1M_INPUT, "usd_per_1m_output": USD_PER_1M_OUTPUT}),
            answers=[Answer(text=text) for text in dice.sample(texts, len(texts))],
            latency_ms=dice.randint(5, 80),
            chunk_ms=METERED_CHUNK_MS if stops else dice.choice((0, 0, 5)),
            stops_on_disconnect=stops,
            faults=_faults(dice, requests, closes=name == closing) if fails else [],
        )
    return models


def _faults(dice: Random, requests: int, *, closes: bool) -> list[FaultPlan]:
    """Faults for about one request in six. Slow ones are rarer, as each costs a caller a second."""
    faults = []
    for _ in range(max(6, requests // 6)):
        kind = dice.choice(_TRANSIENT)
        if kind in _SLOW and dice.random() < 0.5:
            kind = FaultKind.CUT
        faults.append(_fault(dice, kind, dice.randrange(requests)))
    if closes:
        faults.append(_fault(dice, dice.choice(_CLOSING), dice.randrange(max(1, requests // 2))))
    return sorted(faults, key=lambda fault: fault.after)


def _fault(dice: Random, kind: FaultKind, after: int) -> FaultPlan:
    return FaultPlan(
        kind=kind,
        after=after,
        times=dice.randint(1, MOST_THROTTLES) if kind is FaultKind.ABSURD_WAIT else None,
        retry_after_s=dice.choice((0.05, 0.2)) if kind in {FaultKind.THROTTLE, FaultKind.OVERLOADED} else None,
        retry_after=dice.choice(ABSURD_WAITS),
        figure=dice.choice(ABSURD_FIGURES),
        delay_ms=dice.choice((100, BETWEEN_CHUNKS_MS - 100, FIRST_TOKEN_MS + 100)),
        after_chunks=dice.randint(0, 6),
        # A server may fail after it did the work and billed it.
        billed=True if kind is FaultKind.SERVER_ERROR and dice.random() < 0.5 else None,
    )
