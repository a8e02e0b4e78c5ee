"""What the generations of Claude take of Anthropic's format: one row each, and a body fitted to it; knows no HTTP and no registry.

Sources: platform.claude.com/docs, 2026-11: adaptive and extended thinking, effort, mid-conversation system messages, migration guide.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from paymaster.dialects.messages.cache_points import with_markers
from paymaster.dialects.messages.wishes import BUDGETS, effort_of
from paymaster.dialects.neutral import Written
from paymaster.dialects.objects import section
from paymaster.jsontypes import JsonObject

LEAST_BUDGET = 1_024
"""The smallest thinking budget."""
_SAMPLING = ("temperature", "top_k")
_THINKS = ("enabled", "adaptive")
_PLAIN, _ALL = frozenset({"low", "medium", "high"}), frozenset({"low", "medium", "high", "xhigh", "max"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """What the models from the version `since` on take; `family` narrows it.

    `budgets` and `adaptive` are the ways to ask for thinking, `efforts` the words for an effort. `system_anywhere`: instructions may follow
    a user's turn. What it takes of parameters for sampling is with the other parameters (`registry/compat_facts.py`).
    """

    since: tuple[int, int]
    family: str = ""
    budgets: bool = True
    adaptive: bool = False
    efforts: frozenset[str] = frozenset()
    system_anywhere: bool = False


GENERATIONS = (
    Generation(since=(4, 8), budgets=False, adaptive=True, efforts=_ALL, system_anywhere=True),
    Generation(since=(4, 7), budgets=False, adaptive=True, efforts=_ALL),
    Generation(since=(4, 6), adaptive=True, efforts=_PLAIN | {"max"}),
    Generation(since=(4, 5), family="opus", efforts=_PLAIN),
    Generation(since=(3, 7)),
    Generation(since=(0, 0), budgets=False),
)
"""The newest first: a version that nobody has described is taken for the newest."""

_NAME = re.compile(r"claude-(?:([a-z]+)-)?(?:(\d+)(?:[-.](\d{1,2}))?(?!\d))?")


def generation_of(model_id: str) -> Generation | None:
    """The row of a model; None if it is no Claude."""
    found = _NAME.search(model_id.lower())
    if found is None:
        return None
    family, major, minor = found.groups()
    version = (int(major), int(minor or 0)) if major else (99, 0)
    if family == "instant":
        version = (1, 0)
    rows = (row for row in GENERATIONS if row.since <= version and row.family in ("", family))
    return next(rows, GENERATIONS[-1])


def signs_thoughts(model_id: str) -> bool:
    """Whether the model signs its thoughts, and another of its makers knows that they are not its own."""
    return generation_of(model_id) is not None


def fit_body(body: JsonObject, model_id: str) -> Written:
    """The body with what the model takes, and what that loses. A model of which nothing is known takes everything."""
    row, body = generation_of(model_id), with_markers(body)
    if row is None:
        return Written(body=dict(body))
    dropped: dict[str, None] = {}
    fitted = {**body, "messages": list(_fit_messages(body.get("messages"), row, dropped))}
    _fit_effort(fitted, row, dropped)
    _fit_thinking(fitted, dropped)
    _fit_sampling(fitted, dropped)
    if "thinking" in dropped:
        fitted = without_thinking(fitted)
    return Written(body=fitted, dropped=tuple(dropped))


def without_thinking(body: JsonObject) -> dict[str, object]:
    """The body without thinking, and without edits of the history's thoughts, which the API refuses where a model doesn't think."""
    kept = {name: value for name, value in body.items() if name != "thinking"}
    management = section(body.get("context_management"))
    edits = management.get("edits")
    if not isinstance(edits, list):
        return kept
    left = [edit for edit in edits if not str(section(edit).get("type")).startswith(_THOUGHT_EDITS)]
    if left:
        return {**kept, "context_management": {**management, "edits": left}}
    return {name: value for name, value in kept.items() if name != "context_management"}


_THOUGHT_EDITS = "clear_thinking_"
"""How the types of these edits begin; Claude Code sends one with every request."""


def _fit_effort(body: dict[str, object], row: Generation, dropped: dict[str, None]) -> None:
    """The effort in the model's words; a thinking in the other way takes over what it says."""
    config = section(body.get("output_config"))
    thinking = section(body.get("thinking"))
    effort = config.get("effort")
    if thinking.get("type") == "adaptive" and not row.adaptive:
        if row.budgets and not _is_short(body):
            shown = {"display": thinking["display"]} if "display" in thinking else {}
            budget = _budget(str(effort), body.get("max_tokens"))
            body["thinking"] = {"type": "enabled", "budget_tokens": budget, **shown}
        else:
            del body["thinking"]
            dropped["thinking"] = None
    elif thinking.get("type") == "enabled" and not row.budgets:
        _to_adaptive(body, thinking, row, dropped)
        config = section(body.get("output_config"))
        effort = config.get("effort")
    if effort is None or str(effort) in row.efforts:
        return
    rest = {name: value for name, value in config.items() if name != "effort"}
    if row.efforts:
        rest["effort"] = "high"
    if thinking.get("type") != "adaptive" or row.adaptive or not row.budgets:
        dropped["output_config.effort"] = None
    body["output_config"] = rest
    if not rest:
        del body["output_config"]


def _is_short(body: JsonObject) -> bool:
    """Whether the answer is too short for the smallest thinking budget."""
    limit = body.get("max_tokens")
    return isinstance(limit, int) and limit <= LEAST_BUDGET


def _budget(effort: str, output_tokens: object) -> int:
    """The thinking budget for an effort, which leaves room for the answer."""
    budget = BUDGETS.get(effort, BUDGETS["medium"])
    most = output_tokens // 2 if isinstance(output_tokens, int) else budget
    return max(LEAST_BUDGET, min(budget, most))


def _to_adaptive(body: dict[str, object], thinking: JsonObject, row: Generation, dropped: dict[str, None]) -> None:
    """A thinking budget for a model that decides itself how much it thinks."""
    if not row.adaptive:
        del body["thinking"]
        dropped["thinking"] = None
        return
    budget, config = thinking.get("budget_tokens"), section(body.get("output_config"))
    body["thinking"] = {"type": "adaptive", **{name: value for name, value in thinking.items() if name not in ("type", "budget_tokens")}}
    if isinstance(budget, int) and "effort" not in config:
        body["output_config"] = {**config, "effort": effort_of(budget)}


def _fit_thinking(body: dict[str, object], dropped: dict[str, None]) -> None:
    """Thinking by a budget needs a thought before the calls that it goes on from, and no tool that must be called."""
    if section(body.get("thinking")).get("type") != "enabled":
        return
    forced = section(body.get("tool_choice")).get("type") in ("any", "tool")
    if forced or _acts_without_thought(body["messages"]):
        del body["thinking"]
        dropped["thinking"] = None


def _acts_without_thought(messages: object) -> bool:
    """Whether the last answer called tools, and has no thought."""
    for message in reversed(messages if isinstance(messages, list) else []):
        if isinstance(message, Mapping) and message.get("role") == "assistant":
            content = message.get("content")
            kinds = [section(block).get("type") for block in content] if isinstance(content, list) else []
            return "tool_use" in kinds and not {"thinking", "redacted_thinking"}.intersection(kinds)
    return False


def _fit_sampling(body: dict[str, object], dropped: dict[str, None]) -> None:
    """Beside thinking the API takes no temperature but 1, and no top_k."""
    if section(body.get("thinking")).get("type") not in _THINKS:
        return
    for name in _SAMPLING:
        if name in body and not (name == "temperature" and body[name] == 1):
            del body[name]
            dropped[name] = None


def _fit_messages(messages: object, row: Generation, dropped: dict[str, None]) -> Iterable[object]:
    """Messages without thoughts that nobody signed, and with instructions where the model takes them."""
    before = ""
    for message in messages if isinstance(messages, list) else ():
        role, content = section(message).get("role"), section(message).get("content")
        fitted = message
        if role == "system" and not (row.system_anywhere and before == "user"):
            fitted = _as_user(content)
            role = "user"
        elif role == "assistant" and isinstance(content, list) and any(map(_is_unsigned, content)):
            dropped["messages.thinking"] = None
            kept = [block for block in content if not _is_unsigned(block)]
            fitted = {**section(message), "content": kept} if kept else None
        if fitted is not None:
            yield fitted
            before = str(role)


def _is_unsigned(block: object) -> bool:
    return section(block).get("type") == "thinking" and not section(block).get("signature")


def _as_user(content: object) -> JsonObject | None:
    """Instructions as a user's turn, marked as what they are."""
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content if isinstance(content, list) else []
    texts = [block for block in blocks if section(block).get("type") == "text"]
    marked = [{**section(block), "text": f"<system>\n{section(block).get('text')}\n</system>"} for block in texts]
    return {"role": "user", "content": marked} if marked else None
