"""Asks each model of a registry one small question, through holds like any other call; knows no terminal."""

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from paymaster.client import Client
from paymaster.errors import NoModelAvailable, NoModelFits, PaymasterError
from paymaster.options import Settings
from paymaster.registry.models import Model, Registry
from paymaster.resources import Options

QUESTION: Mapping[str, object] = {"role": "user", "content": "Say ok."}
ANSWER_TOKENS = 16
"""Some endpoints refuse to be asked for fewer."""
PATIENCE_S = 20
AT_ONCE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """How one model answered, or what went wrong."""

    model: str
    is_good: bool
    problem: str
    cost_nanousd: int
    duration_ms: int


def ask_all(options: Options, settings: Settings) -> list[Answered]:
    """Ask every model by itself: no fallbacks, no second attempts."""
    named: Settings = {**settings, "run": options.scope.run}
    with Client(_one_attempt_each(options.registry), **named) as client, ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(lambda name: _ask(client, name), options.registry.models))


def _one_attempt_each(registry: Registry) -> Registry:
    models: dict[str, Model] = {name: replace(model, fallbacks=()) for name, model in registry.models.items()}
    policy = replace(registry.policy, retries_per_model=0, max_attempts=1, max_wait_ms=PATIENCE_S * 500)
    return replace(registry, models=models, policy=policy)


def _ask(client: Client, name: str) -> Answered:
    began = time.monotonic()
    problem, cost_nanousd = "", 0
    try:
        if client.registry.models[name].embeds:
            reply = client.embed(str(QUESTION["content"]), model=name, deadline_s=PATIENCE_S)
        else:
            reply = client.complete([QUESTION], model=name, max_tokens=ANSWER_TOKENS, deadline_s=PATIENCE_S)
        cost_nanousd = reply.cost_nanousd
    except (NoModelAvailable, NoModelFits) as error:
        problem = "; ".join(why for _, why in error.reasons)
    except PaymasterError as error:
        problem = " ".join(error.message.split())
    duration_ms = int((time.monotonic() - began) * 1000)
    return Answered(model=name, is_good=not problem, problem=problem, cost_nanousd=cost_nanousd, duration_ms=duration_ms)
