"""`check --live`: asks each model of a registry one small question, paid for like any other call; knows no terminal."""

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from paymaster.client import Client
from paymaster.errors import NoModelAvailable, NoModelFits, PaymasterError
from paymaster.options import ClientSettings
from paymaster.registry.models import Model, Registry
from paymaster.resources import Options

QUESTION: Mapping[str, object] = {"role": "user", "content": "Say ok."}
ANSWER_TOKENS = 16
"""Some endpoints refuse a smaller limit."""
DEADLINE_S = 20
MAX_PARALLEL = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveCheck:
    """Whether one model answered, or what went wrong."""

    model: str
    is_good: bool
    problem: str
    cost_nanousd: int
    duration_ms: int


def check_models(options: Options, settings: ClientSettings) -> list[LiveCheck]:
    """Ask every model once, without fallbacks and retries."""
    with_run: ClientSettings = {**settings, "run": options.scope.run}
    with Client(_one_attempt_each(options.registry), **with_run) as client, ThreadPoolExecutor(MAX_PARALLEL) as pool:
        return list(pool.map(lambda name: _ask(client, name), options.registry.models))


def _one_attempt_each(registry: Registry) -> Registry:
    models: dict[str, Model] = {name: replace(model, fallbacks=()) for name, model in registry.models.items()}
    policy = replace(registry.policy, retries_per_model=0, max_attempts=1, max_wait_ms=DEADLINE_S * 500)
    return replace(registry, models=models, policy=policy)


def _ask(client: Client, name: str) -> LiveCheck:
    began = time.monotonic()
    problem, cost_nanousd = "", 0
    try:
        if client.registry.models[name].embeds:
            reply = client.embed(str(QUESTION["content"]), model=name, deadline_s=DEADLINE_S)
        else:
            reply = client.complete([QUESTION], model=name, max_tokens=ANSWER_TOKENS, deadline_s=DEADLINE_S)
        cost_nanousd = reply.cost_nanousd
    except (NoModelAvailable, NoModelFits) as error:
        problem = "; ".join(reason for _, reason in error.reasons)
    except PaymasterError as error:
        problem = " ".join(error.message.split())
    duration_ms = int((time.monotonic() - began) * 1000)
    return LiveCheck(model=name, is_good=not problem, problem=problem, cost_nanousd=cost_nanousd, duration_ms=duration_ms)
