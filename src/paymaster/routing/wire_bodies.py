"""The body of a request in the dialect of a model that does not speak chat completions: the client's own, or written anew. Pure."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from paymaster.dialects.chat.fitting.params import all_but_one, fit_users
from paymaster.dialects.formats import REQUESTS, RequestFormat
from paymaster.dialects.neutral import Conversation, Opaque, Role, ServerTool
from paymaster.dialects.objects import section
from paymaster.dialects.responses.requests import (
    REFERENCE,
    THOUGHTS_BY_ID,
    asks_for_summary,
    beside_house_form,
    declared_tools,
    refers_to_items,
    thoughts_by_id,
)
from paymaster.dialects.state import owner_of
from paymaster.jsontypes import JsonObject
from paymaster.registry.models import Dialect, Model
from paymaster.routing.betas import BETA_HEADER, known_betas
from paymaster.routing.requests import OUTPUT_LIMIT_NAMES, Request


class WireBody(NamedTuple):
    """A body in the model's dialect, what the dialect has no word for, and what rules the model out."""

    body: JsonObject
    dropped: tuple[str, ...]
    impossible: tuple[str, ...]


def wire_body(request: Request, model: Model, defaults: JsonObject, params: Mapping[str, object]) -> WireBody:
    """The body without the fields that the flow sets.

    `defaults` are the registry's parameters of the model, `params` those with the caller's, as the model takes them.
    """
    impossible: tuple[str, ...] = ()
    owner, form, source = owner_of(model.provider, model.model_id), REQUESTS[model.dialect], request.source
    if source is not None and source.dialect is model.dialect:
        written = form.passed(source.body, owner)
        body = {**_registry_fields(defaults, form), **written.body}
    else:
        if source is None or source.dialect is Dialect.CHAT:
            conversation = REQUESTS[Dialect.CHAT].read({"messages": list(request.messages), "tools": list(request.tools), **params})
            impossible = tuple(dict.fromkeys(_only_in_chat(conversation)))
        else:
            conversation = REQUESTS[source.dialect].read(source.body)
            conversation = replace(conversation, params={**defaults, **conversation.params})
            impossible = tuple(_forced(conversation))
        written = form.write(conversation, owner)
        body = written.body
    fitted = form.fit(fit_users(body, model.compat), model.model_id)
    body = fitted.body
    refused = [name for name in body if name in model.unsupported_params or name in model.compat.drop_params]
    refused += all_but_one(body, body, model.compat)
    refused += [name for name in body if name in OUTPUT_LIMIT_NAMES and name not in form.policy_fields]
    kept = {name: value for name, value in body.items() if name not in form.policy_fields and name not in refused}
    return WireBody(kept, (*written.dropped, *fitted.dropped, *refused), impossible)


def _forced(conversation: Conversation) -> Iterator[str]:
    """Anthropic's own tools that the request can't do without. A request of OpenAI's says that itself (`Request.only_in_source`)."""
    for tool in conversation.tools:
        if isinstance(tool, ServerTool) and tool.forced and tool.dialect is Dialect.MESSAGES:
            yield f"tools.{tool.value.get('type')}"


def _only_in_chat(conversation: Conversation) -> Iterator[str]:
    """What a user says that only chat completions have a word for: without it, the answer would be to another question."""
    for turn in conversation.turns:
        for part in turn.parts if turn.role is Role.USER else ():
            if isinstance(part, Opaque) and not part.text:
                yield (
                    f"a part of type {part.value['type']}" if isinstance(part.value.get("type"), str) else "a part or message of this form"
                )


_CONTENT = frozenset({"messages", "system", "tools", "input", "instructions", "reasoning"})
"""Fields of a body that are planned with in the house form."""
_SCHEMAS = frozenset({"output_config", "output_format", "text"})
_DATED = re.compile(r"\w+_20\d{6}")
"""The types of Anthropic's own tools end in a date."""


def planned_params(request: Request, model: Model, params: JsonObject, body: JsonObject) -> JsonObject:
    """What planning reads: the parameters, with those that only the model's dialect knows, and the betas of the client's headers."""
    counted = _SCHEMAS if "response_format" in params else frozenset()
    own = {name: value for name, value in body.items() if name not in _CONTENT and name not in counted}
    source = request.source
    passed = {} if source is None or source.dialect is not model.dialect else source.headers
    known = known_betas(passed[BETA_HEADER], model) if BETA_HEADER in passed else []
    betas = {"anthropic_beta": known} if known else {}
    return {**params, **own, **betas, **(_in_items(body) if model.dialect is Dialect.RESPONSES else {})}


def _in_items(body: JsonObject) -> JsonObject:
    """What items of OpenAI's responses ask for, and what they have that only the endpoint can read."""
    found = {"compaction": asks_for_summary(body), REFERENCE: refers_to_items(body), THOUGHTS_BY_ID: thoughts_by_id(body)}
    return {name: value for name, value in found.items() if value}


def counted_body(dialect: Dialect, body: JsonObject, request: Request) -> tuple[Sequence[JsonObject], Sequence[JsonObject]]:
    """The messages and tools to count: what is sent, where the counter knows the form, else the request in the house form."""
    if dialect is Dialect.RESPONSES:
        source = request.source
        beside = beside_house_form(body) if source is not None and source.dialect is dialect else []
        return [*request.messages, *beside], declared_tools(body)
    system, messages, tools = body.get("system"), body.get("messages"), body.get("tools")
    first = [{"role": "system", "content": system}] if system else []
    return [*first, *(messages if isinstance(messages, list) else ())], tools if isinstance(tools, list) else []


@dataclass(frozen=True, slots=True)
class OtherTools:
    """Tools that another dialect's provider runs: those that are left out, and those that the request can't do without."""

    dropped: tuple[str, ...] = ()
    impossible: tuple[str, ...] = ()


def own_tools(request: Request, params: JsonObject, model: Model) -> tuple[Sequence[JsonObject], OtherTools]:
    """The tools without those that a provider of its client's dialect runs, which this model does not speak; else the very same list."""
    tools, source = request.tools, request.source
    is_other = None if source is None else _OTHERS.get(source.dialect)
    if is_other is None or (is_other is _is_anthropics and "thinking_blocks" in model.compat.reads):
        return tools, OtherTools()
    if not any(map(is_other, tools)):
        return tools, OtherTools()
    others = [tool for tool in tools if is_other(tool)]
    names = tuple(f"tools.{tool.get('type')}" for tool in others)
    forced = section(section(params.get("tool_choice")).get("function")).get("name")
    if forced is not None and any(tool.get("name") == forced for tool in others):
        return tools, OtherTools(impossible=names)
    return [tool for tool in tools if not is_other(tool)], OtherTools(dropped=names)


def _is_anthropics(tool: JsonObject) -> bool:
    kind = tool.get("type")
    return isinstance(kind, str) and kind != "function" and _DATED.fullmatch(kind) is not None


def _is_openais(tool: JsonObject) -> bool:
    """Tools that run at the client are functions by now."""
    return tool.get("type") != "function"


_OTHERS: Mapping[Dialect, Callable[[JsonObject], bool]] = {Dialect.MESSAGES: _is_anthropics, Dialect.RESPONSES: _is_openais}
"""Which tools of the house form are a provider's own, by the dialect of the client."""


def _registry_fields(defaults: JsonObject, form: RequestFormat) -> JsonObject:
    """The registry's parameters, which have the names of chat completions, in the model's dialect."""
    if not defaults:
        return defaults
    written = form.write(REQUESTS[Dialect.CHAT].read({"messages": [], **defaults}), "").body
    return {name: value for name, value in written.items() if name not in _CONTENT - {"reasoning"}}
