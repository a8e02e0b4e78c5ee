"""Request parameters as one endpoint takes them: what it refuses is left out, what it names otherwise is translated; knows no provider."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from hashlib import sha256

from paymaster.dialects.chat.fitting.thinking import THINKING_WORDS, asks_for_the_least, asks_not_to_think, effort_in, without_thinking
from paymaster.dialects.chat.fitting.tool_names import fit_choice
from paymaster.jsontypes import JsonObject
from paymaster.registry.compat import Compat

EXTRA_BODY = "extra_body"

HARMLESS_PARAMS = frozenset(
    {
        "encoding_format", "frequency_penalty", "logit_bias", "metadata", "parallel_tool_calls", "prediction",
        "presence_penalty", "prompt_cache_key", "prompt_cache_retention", "reasoning_effort", "safety_identifier", "seed", "service_tier",
        "stop", "store", "temperature", "thinking", "top_k", "top_p", "user", "verbosity",
    }
)  # fmt: skip
"""Parameters without which an answer still answers the question; any other one that a model does not take rules the model out.

Vectors are converted to the requested encoding in any case.
"""

DROPS = frozenset({"drop_params", "additional_drop_params"})
"""litellm's words for what may be left out: everything that a model does not take (true), or these parameters (a list)."""

_TOOL_PARAMS = ("parallel_tool_calls", "tool_choice")
_USERS = ("user", "safety_identifier")
_HARMLESS_OF_GOOGLE = frozenset({"thinking_config", "safety_settings"})


_LOOKED_AT = DROPS | THINKING_WORDS | frozenset((*_TOOL_PARAMS, *_USERS))


@dataclass(frozen=True, slots=True)
class FittedParams:
    """The parameters to send, those that were dropped, and those that rule the model out."""

    params: JsonObject
    dropped: tuple[str, ...] = ()
    impossible: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Takes:
    """What a model takes of a request, beside the facts about its endpoint: it refuses the parameters `refused`.

    `reasons` is None if it isn't known. `effort`: it takes a reasoning effort. `tools`: the request has tools.
    """

    refused: frozenset[str] = frozenset()
    reasons: bool | None = None
    effort: bool = True
    tools: bool = False


def joined(params: JsonObject) -> JsonObject:
    """The parameters with the fields of an `extra_body` among them, as OpenAI's own client sends them.

    One inside of the other, as Google's guide writes it for that client (ai.google.dev/gemini-api/docs/openai), joins them too. An endpoint
    that reads some of them inside of a field `extra_body` gets those there: see `nested`.
    """
    while EXTRA_BODY in params:
        extra = params[EXTRA_BODY] or {}
        if not isinstance(extra, Mapping):
            break
        params = {**{name: value for name, value in params.items() if name != EXTRA_BODY}, **extra}
    return params


def nested(params: JsonObject, compat: Compat) -> JsonObject:
    """The parameters in the places where the endpoint reads them."""
    if compat.nested.isdisjoint(params):
        return params
    inner = {name: value for name, value in params.items() if name in compat.nested}
    return {**{name: value for name, value in params.items() if name not in compat.nested}, EXTRA_BODY: inner}


def are_plain(params: JsonObject, compat: Compat) -> bool:
    """Whether the endpoint takes the parameters as they are, at a glance: true for most calls."""
    return (_LOOKED_AT.isdisjoint(params) and compat.drop_params.isdisjoint(params)) and not (
        compat.exclusive_params and all(name in params for name in compat.exclusive_params)
    )


def fit_params(wanted: JsonObject, asked: JsonObject, compat: Compat, takes: Takes) -> FittedParams:
    """The wanted parameters as the endpoint takes them. `asked` are those of the caller, which come before the registry's."""
    lenient, named = _drops(wanted)
    never = compat.drop_params | named
    params, off = _thinking(wanted, compat, takes, never)
    with_text = _with_text(params)
    out = {*takes.refused.intersection(params), *(never.intersection(params) - with_text), *all_but_one(params, asked, compat)}
    gone = [name for name, value in params.items() if name in out and not _asks_nothing(name, value)]
    impossible = tuple(name for name in gone if not (lenient or name in never - with_text or name in HARMLESS_PARAMS))
    dropped = [name for name in gone if name not in impossible]
    if not takes.tools and not compat.tool_choice_without_tools:
        idle = [name for name in _TOOL_PARAMS if name in params and name not in out]
        out.update(idle)
        dropped += idle
    kept: JsonObject = {name: value for name, value in params.items() if name not in out and name not in DROPS}
    return FittedParams(_shaped(without_thinking(kept, off) if off else kept, compat), tuple(dropped), impossible)


def _asks_nothing(name: str, value: object) -> bool:
    """Whether a parameter says only what holds without it, as many clients write it: an endpoint without the parameter does it anyway."""
    return value is None or (name in _DEFAULTS and type(value) is type(_DEFAULTS[name]) and value == _DEFAULTS[name])


_DEFAULTS: JsonObject = {"n": 1, "best_of": 1, "logprobs": False, "modalities": ["text"], "response_format": {"type": "text"}}


def _drops(params: JsonObject) -> tuple[bool, frozenset[str]]:
    """Whether all that the model does not take may be left out, and what is to be left out in any case."""
    if DROPS.isdisjoint(params):
        return False, frozenset()
    lists = [params.get(name) for name in sorted(DROPS)]
    return params.get("drop_params") is True, frozenset(str(name) for each in lists if isinstance(each, list | tuple) for name in each)


def _thinking(params: JsonObject, compat: Compat, takes: Takes, never: Collection[str]) -> tuple[JsonObject, JsonObject]:
    """The parameters with an effort, where the endpoint takes that for what is asked; and its words for no thinking, if that is asked.

    Those replace all others about thinking. A model that does not reason needs none.
    """
    off = compat.thinking_off
    if asks_not_to_think(params) or (off is not None and asks_for_the_least(params, off)):
        if takes.reasons is False:
            return without_thinking(params, {}), {}
        return (params, {}) if off is None else (without_thinking(params, {}), off)
    foreign = [name for name in ("thinking", "reasoning") if name in params and name in never]
    if not foreign or not takes.effort or takes.reasons is False or (effort := effort_in(params)) is None:
        return params, {}
    return {"reasoning_effort": effort, **{name: value for name, value in params.items() if name not in foreign}}, {}


def all_but_one(params: JsonObject, asked: JsonObject, compat: Compat) -> list[str]:
    """Of parameters that exclude one another all but the caller's, else all but the first."""
    given = [name for name in compat.exclusive_params if params.get(name) is not None]
    chosen = next((name for name in given if asked.get(name) is not None), given[0]) if given else ""
    return [name for name in given if name != chosen]


def _with_text(params: JsonObject) -> frozenset[str]:
    """The section `google`, if it has more than settings: without its text the answer would be another, so it is sent all the same."""
    google = params.get("google")
    return frozenset({"google"} if isinstance(google, Mapping) and not google.keys() <= _HARMLESS_OF_GOOGLE else ())


def _shaped(params: JsonObject, compat: Compat) -> JsonObject:
    """The parameters within the limits of the endpoint."""
    params = fit_users(params, compat)
    if compat.tool_name_limit is not None and "tool_choice" in params:
        return {**params, "tool_choice": fit_choice(params["tool_choice"], compat)}
    return params


def fit_users(params: JsonObject, compat: Compat) -> JsonObject:
    """The parameters with the names of users within the endpoint's limit; the very same object where they are."""
    changed: dict[str, object] = {}
    for name in _USERS:
        value = params.get(name)
        if compat.user_limit is not None and isinstance(value, str) and len(value) > compat.user_limit:
            changed[name] = sha256(value.encode("utf-8", "surrogatepass")).hexdigest()[: compat.user_limit]
    return {**params, **changed} if changed else params
