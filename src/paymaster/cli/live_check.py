"""`check --live`: asks each endpoint of a registry one small question, paid for like any other call; knows no terminal."""

import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

from paymaster.client import Client
from paymaster.errors import NoModelAvailable, NoModelFits, PaymasterError
from paymaster.options import ClientSettings
from paymaster.registry.families import is_family
from paymaster.registry.models import Model, Registry
from paymaster.resources import Options

QUESTION: Mapping[str, object] = {"role": "user", "content": "Say ok."}
ANSWER_TOKENS = 16
"""Some endpoints refuse a smaller limit."""
DEADLINE_S = 20
MAX_PARALLEL = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveCheck:
    """Whether one model, or one endpoint of it, answered, or what went wrong. `model` has the endpoint's name, as `sonnet/eu`."""

    model: str
    is_good: bool
    problem: str
    cost_nanousd: int
    duration_ms: int


def check_models(options: Options, settings: ClientSettings) -> list[LiveCheck]:
    """Ask every endpoint once, without fallbacks and retries. A family is not asked: which model of it would be?"""
    with_run: ClientSettings = {**settings, "run": options.scope.run}
    models, found = [model for name, model in options.registry.models.items() if not is_family(name)], dict[str, LiveCheck]()
    # A client asks one endpoint of each model: as many clients as the model with the most endpoints has.
    for index in range(max((len(model.places) for model in models), default=0)):
        asked = [model.places[index] for model in models if index < len(model.places)]
        with Client(_one_attempt_each(options.registry, asked), **with_run) as client, ThreadPoolExecutor(MAX_PARALLEL) as pool:
            found |= {check.model: check for check in pool.map(partial(_ask, client), asked)}
    return [found[place.place] for model in models for place in model.places]


def _one_attempt_each(registry: Registry, places: Iterable[Model]) -> Registry:
    models = {**registry.models, **{place.name: replace(place, fallbacks=()) for place in places}}
    policy = replace(registry.policy, retries_per_model=0, max_attempts=1, max_wait_ms=DEADLINE_S * 500)
    return replace(registry, models=models, policy=policy)


def _ask(client: Client, place: Model) -> LiveCheck:
    began = time.monotonic()
    problem, cost_nanousd = "", 0
    try:
        if place.embeds:
            reply = client.embed(str(QUESTION["content"]), model=place.name, deadline_s=DEADLINE_S)
        else:
            reply = client.complete([QUESTION], model=place.name, max_tokens=ANSWER_TOKENS, deadline_s=DEADLINE_S)
        cost_nanousd = reply.cost_nanousd
    except (NoModelAvailable, NoModelFits) as error:
        problem = "; ".join(reason for _, reason in error.reasons)
    except PaymasterError as error:
        problem = " ".join(error.message.split())
    duration_ms = int((time.monotonic() - began) * 1000)
    return LiveCheck(model=place.place, is_good=not problem, problem=problem, cost_nanousd=cost_nanousd, duration_ms=duration_ms)
