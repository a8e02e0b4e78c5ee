"""Whether what a request makes its provider do can be held for, and how much that is. Pure; knows the registry, and no single tool.

Under a hard budget every way to a higher bill has a bound, or the model is not asked: tools of the provider, other models that may answer,
betas. A soft budget holds for what is known.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from paymaster.jsontypes import JsonObject
from paymaster.registry.models import Model, Registry, ServerTool
from paymaster.routing.named_models import ANSWERING, HOLDING, answering, asked, resolve
from paymaster.routing.request_terms import BETA_HOLDERS, unknown_betas
from paymaster.routing.server_tools import FIELDS, NESTS, is_plain_tool, read_tasks, row_of
from paymaster.routing.server_work import NO_WORK, UNPRICED, OtherModel, Setting, Work, bound_work

_NOTHING_STATED = ServerTool()
_FIELDS = frozenset({*FIELDS, *ANSWERING, *HOLDING, *NESTS, *BETA_HOLDERS})


def forbidden_model(tools: Sequence[object], params: JsonObject, model: Model, registry: Registry) -> str | None:
    """Why a request that names other models is refused: the caller may use those of the registry only. None if it is not."""
    if not registry.policy.only_models:
        return None
    for field, name in (*answering(params), *asked(tools, params)):
        if resolve(registry, name, model) is None:
            return f"{field} names {name!r}, which this key may not use"
    if "preset" in params:
        return "preset may name another model, and this key may use its own only"
    return None


def is_plain(tools: Sequence[object], params: JsonObject, model: Model) -> bool:
    """Whether a request has nothing that could make the provider do more than answer; on the path of every call."""
    if model.extra_headers or not _FIELDS.isdisjoint(params):
        return False
    return all(map(is_plain_tool, tools)) and not _works_unasked(model.model_id)


def may_read_more(tools: Sequence[object], params: JsonObject, model: Model) -> bool:
    """Whether the bill may count more input than the prompt: what the provider found by itself, or what another model counts."""
    return not is_plain(tools, params, model) and bool(read_tasks(tools, params, model.model_id) or answering(params))


def request_work(tools: Sequence[object], params: JsonObject, setting: Setting) -> tuple[Work, tuple[str, ...]]:
    """The work of a request, and why a hard budget can't bound it: a sentence for each reason, with what would."""
    model = setting.model
    if setting.is_free and not setting.counts_tokens:
        return NO_WORK, ()
    unbounded = [_beta_detail(beta, model) for beta in unknown_betas(params, model)] if setting.hard and not setting.is_free else []
    others, unknown = _others(params, setting)
    windows = [window for each in (model, *others) if (window := each.max_input_tokens or each.context_window) is not None]
    setting = replace(setting, window_tokens=max(windows) if len(windows) > len(others) else None)
    work, reasons = bound_work(read_tasks(tools, params, model.model_id), setting)
    priced = tuple(
        OtherModel(model_id=each.model_id, price=price, prompt_tokens=setting.prompt_of(each))
        for each in others
        for price in setting.prices_of(each) or (UNPRICED,)
    )
    return replace(work, others=priced), (*unbounded, *(unknown if setting.hard else ()), *reasons)


def unbounded_tools(tools: Sequence[JsonObject], setting: Setting) -> list[JsonObject]:
    """Those of the tools whose cost nothing bounds by itself."""
    return [tool for tool in tools if request_work((tool,), {}, setting)[1]]


def bounded_tools(tools: Sequence[JsonObject], model: Model) -> Sequence[JsonObject]:
    """The tools as they are sent: with the registry's most uses, where a tool has a field for it and the request leaves it out."""
    if not model.server_tools or all(map(is_plain_tool, tools)):
        return tools
    return [_bounded_tool(tool, model) for tool in tools]


def most_calls(tools: Sequence[JsonObject], asked: object, model: Model) -> int | None:
    """OpenAI's `max_tool_calls`, which counts the uses of all its tools together: no tool is used more often than the registry says.

    `asked` is the request's own. None if the registry does not bound it.
    """
    rows = [row for tool in tools if (row := row_of(str(tool.get("type")))) is not None]
    stated = [uses for row in rows if (uses := model.server_tools.get(row.key, _NOTHING_STATED).max_uses) is not None]
    if not stated:
        return None
    return min(*stated, asked) if isinstance(asked, int) and not isinstance(asked, bool) else min(stated)


def _bounded_tool(tool: JsonObject, model: Model) -> JsonObject:
    row = row_of(str(tool.get("type")))
    stated = None if row is None else model.server_tools.get(row.key)
    if row is None or stated is None or not row.uses_field or stated.max_uses is None or tool.get(row.uses_field) is not None:
        return tool
    return {**tool, row.uses_field: stated.max_uses}


@lru_cache(maxsize=1_024)
def _works_unasked(model_id: str) -> bool:
    return bool(read_tasks((), {}, model_id))


def _others(params: JsonObject, setting: Setting) -> tuple[list[Model], list[str]]:
    """The other models that may answer, and a sentence for each whose price is not known."""
    found: dict[str, Model] = {}
    unknown: list[str] = []
    for field, name in answering(params):
        other = setting.resolve(name)
        if other is None or not (setting.is_free or setting.prices_of(other)):
            unknown.append(
                f"{field} names {name!r}, which may answer, and the registry has no price for it; add a model with `model_id: {name}` and "
                f"`provider: {setting.model.provider}` to the registry, or leave it out of the request"
            )
        elif other is not setting.model:
            found[other.name] = other
    return list(found.values()), unknown


def _beta_detail(beta: str, model: Model) -> str:
    return f"the beta {beta!r} may change the price; if it does not, add `at_list_price: [{beta}]` under {model.name} in the registry"
