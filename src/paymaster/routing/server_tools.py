"""What a request makes its provider do by itself, read off the request by a table; knows no price, no window and no registry.

A provider searches, runs code, asks another model or summarises within one request, and bills it. A type of tool that no row names counts
as one of these: only tools that the caller runs are known to cost nothing more.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum

from paymaster.jsontypes import JsonObject

EXTRA_BODY = "extra_body"


class Fee(StrEnum):
    """Where the fee of one use comes from: there is none, it is the price's rate for searches, or nobody published one that holds."""

    NONE = "none"
    SEARCH = "search"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One thing that a provider may do by itself, as often as it likes if `uses` is None.

    `where` is the field that asks for it, `key` its name under `server_tools` in the registry. A use adds at most `tokens_per_use` to what
    the model reads (None: unknown). The results are in the prompt of the first pass (`before`), or the model reads everything once more
    after each use. `usd_per_use` is a published fee. `counted`: the usage says how often it was used. `asks` is a model that is asked, for
    at most `asks_tokens` of output. `summarises`: a pass of the same model that reads all, from `from_tokens` on, and writes a summary.
    `uses_field` is the request's own field for the most uses, empty if the provider knows none.
    """

    where: str
    key: str
    fee: Fee = Fee.UNKNOWN
    uses: int | None = None
    tokens_per_use: int | None = None
    before: bool = False
    usd_per_use: Decimal | None = None
    counted: bool = False
    asks: str | None = None
    asks_tokens: int | None = None
    summarises: bool = False
    from_tokens: int = 0
    uses_field: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolRow:
    """A type of tool that the provider runs. `pattern` matches the whole type, `uses_field` and `tokens_field` bound it in the request."""

    pattern: str
    key: str
    fee: Fee = Fee.UNKNOWN
    uses_field: str = ""
    tokens_field: str = ""
    counted: bool = False
    asks: bool = False


_RUN_BY_THE_CALLER = re.compile(
    r"function|custom|bash_\d+|text_editor_\d+|memory_\d+|computer(_?use)?(_preview)?(_\d+)?|local_shell|apply_patch|namespace",
    re.IGNORECASE,
)

TOOLS = (
    # platform.claude.com/docs/en/agents-and-tools/tool-use: web-search-tool, web-fetch-tool, advisor-tool (2026-11)
    ToolRow(pattern=r"web_search_\d{8}", key="web_search", fee=Fee.SEARCH, uses_field="max_uses", counted=True),
    ToolRow(pattern=r"web_fetch_\d{8}", key="web_fetch", fee=Fee.NONE, uses_field="max_uses", tokens_field="max_content_tokens"),
    ToolRow(pattern=r"advisor_\d{8}", key="advisor", fee=Fee.NONE, uses_field="max_uses", asks=True),
    ToolRow(pattern=r"tool_search(_tool)?(_\w+)?", key="tool_search", fee=Fee.NONE),
    # Everybody else's: how often the model uses them, and mostly what for, is the model's choice.
    ToolRow(pattern=r"openrouter:web_search", key="web_search"),
    ToolRow(
        pattern=r"web_search(_preview)?(_[\d_]+)?|web_search_premium|live_search|browser_search|builtin_function"
        r"|google_?search(_?retrieval)?|enterprise_?web_?search",
        key="web_search",
        fee=Fee.SEARCH,
    ),
    ToolRow(pattern=r"google_?maps", key="google_maps"),
    ToolRow(pattern=r"url_?context", key="web_fetch", fee=Fee.NONE),
    ToolRow(pattern=r"code_?execution(_\d{8})?|code_interpreter", key="code_execution"),
    ToolRow(pattern=r"file_?search", key="file_search"),
    ToolRow(pattern=r"(openrouter:)?image_generation", key="image_generation"),
    ToolRow(pattern=r"mcp(_toolset)?", key="mcp", fee=Fee.NONE),
)
"""Types of tools that the provider runs, most specific first. Any other type that the caller does not run has its own name for a key."""

_COMPILED = tuple((re.compile(row.pattern, re.IGNORECASE), row) for row in TOOLS)
_GEMINI = re.compile(
    r"google_?search(_?retrieval)?|enterprise_?web_?search|google_?maps|url_?context|code_?execution|file_?search", re.IGNORECASE
)
"""Gemini's tools have no type: the name of a field says what they are."""
_OWN_DECLARATIONS = frozenset({"function", "functionDeclarations", "function_declarations", "input_schema", "parameters", "computer_use"})

APPROXIMATE_PART = 4
"""Anthropic's `max_content_tokens` is approximate: a quarter more is held for."""

WEB_PLUGIN_RESULTS = 5
WEB_PLUGIN_USD = Decimal("0.004")
"""OpenRouter's web plugin with Exa: $4 for 1,000 results, five results unless `max_results` says more (openrouter.ai/docs/web-search)."""
LIVE_SEARCH_SOURCES = 20
"""xAI's live search reads 20 sources unless `max_search_results` says otherwise, and bills each (docs.x.ai, live search)."""

COMPACTION_TOKENS = 150_000
"""Anthropic's compaction happens from this input on, unless its `trigger` says otherwise (platform.claude.com/docs, compaction)."""

_SEARCHES_NATIVELY = re.compile(r"~?(openai|anthropic|perplexity|x-ai|openrouter)/", re.IGNORECASE)
"""Makers whose own search OpenRouter's web plugin uses by default."""
_FREE_PLUGINS = frozenset({"response-healing", "context-compression", "moderation"})
_FREE_PDF_ENGINES = frozenset({"pdf-text", "cloudflare-ai"})
_FREE_EDITS = re.compile(r"clear_\w+")
_COMPACTION = re.compile(r"compact(ion)?(_\d{8})?")
_INCLUDES_SEARCH = re.compile(r"sonar(-pro|-reasoning|-reasoning-pro)?")
"""Perplexity's own fee for a request includes its searches, but for `search_type: pro`; a router bills them apart."""
_BY_MODEL_ID: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r".*:online(:.*)?"), "online"),
    (re.compile(r".*-search-(preview|api)(-.*)?"), "web_search"),
    (re.compile(r".*deep-research.*|~?perplexity/sonar.*"), "web_search"),
    (re.compile(r"(groq/)?compound(-.*)?"), "compound"),
)


def read_tasks(tools: Sequence[object], params: JsonObject, model_id: str) -> list[Task]:
    """Everything that these tools and parameters, or the model itself, make the provider do."""
    fields, found = flat(params), list[Task]()
    nested = fields.get("tools")
    for index, tool in enumerate((*tools, *(nested if isinstance(nested, list | tuple) else ()))):
        found += _in_tool(tool, f"tools[{index}]")
    for name in fields.keys() & FIELDS.keys():
        value = fields[name]
        if value is not None and value is not False:
            found += FIELDS[name](name, value, model_id)
    if not any(task.key == "web_search" and not task.where.startswith("tools") for task in found):
        found += _in_model_id(model_id)
    return found


def flat(params: JsonObject) -> JsonObject:
    """The parameters with those of a nested `extra_body`, and of Google's section in it: a provider reads them all."""
    if not NESTS.isdisjoint(params):
        for name in (EXTRA_BODY, "google"):
            inner = params.get(name)
            if isinstance(inner, Mapping):
                params = {**params, **inner}
    return params


NESTS = frozenset({EXTRA_BODY, "google"})
"""Fields with more of the request's fields in them."""


_PLAIN_KEYS = frozenset({"type", "function", "cache_control"})


def is_plain_tool(tool: object) -> bool:
    """Whether a tool is one that the caller runs; quick, as most are."""
    # The first test is many times faster, and nearly always enough.
    if not (type(tool) is dict or isinstance(tool, Mapping)) or tool.get("type") != "function":
        return False
    return (len(tool) == 2 and "function" in tool) or tool.keys() <= _PLAIN_KEYS


def _in_tool(tool: object, where: str) -> Iterator[Task]:
    if not isinstance(tool, Mapping):
        yield _of_type(str(tool), {}, f"{where} ({tool})")  # some providers take a name alone
        return
    if is_plain_tool(tool):
        return
    kind = tool.get("type")
    if isinstance(kind, str) and _RUN_BY_THE_CALLER.fullmatch(kind):
        inner = tool.get("tools")
        for index, each in enumerate(inner if isinstance(inner, list | tuple) else ()):
            yield from _in_tool(each, f"{where}.tools[{index}]")
    elif isinstance(kind, str) and not _is_the_callers(kind, tool):
        yield _of_type(kind, tool, f"{where} ({kind})")
    for name in tool:
        if _GEMINI.fullmatch(str(name)):
            yield _of_type(str(name), {}, f"{where}.{name}")
    if not isinstance(kind, str) and _OWN_DECLARATIONS.isdisjoint(tool):
        for name in tool:
            if not _GEMINI.fullmatch(str(name)) and not _RUN_BY_THE_CALLER.fullmatch(str(name)):
                yield Task(where=f"{where}.{name}", key=str(name))


def _is_the_callers(kind: str, tool: JsonObject) -> bool:
    """Whether a tool that the provider may run says that the caller does."""
    environment = tool.get("environment")
    in_shell = kind == "shell" and isinstance(environment, Mapping) and environment.get("type") == "local"
    return in_shell or (kind.startswith("tool_search") and tool.get("execution") == "client")


def _of_type(kind: str, tool: JsonObject, where: str) -> Task:
    row = row_of(kind)
    if row is None:
        return Task(where=where, key=kind)
    tokens = _count(tool, row.tokens_field)
    asked = tool.get("model")
    return Task(
        where=where,
        key=row.key,
        fee=row.fee,
        uses=_count(tool, row.uses_field),
        tokens_per_use=0 if row.key == "tool_search" else None if tokens is None else tokens + -(-tokens // APPROXIMATE_PART),
        counted=row.counted,
        asks=(asked if isinstance(asked, str) else "") if row.asks else None,
        asks_tokens=_count(tool, "max_tokens") if row.asks else None,
        uses_field=row.uses_field,
    )


def row_of(kind: str) -> ToolRow | None:
    """The row of a type of tool; None for a type that nobody has described."""
    return next((row for pattern, row in _COMPILED if pattern.fullmatch(kind)), None)


def _count(holder: JsonObject, name: str) -> int | None:
    value = holder.get(name) if name else None
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _search_options(name: str, value: object, model_id: str) -> Iterator[Task]:
    dearer = isinstance(value, Mapping) and value.get("search_type") not in (None, "fast")
    if dearer or not _INCLUDES_SEARCH.fullmatch(model_id):
        yield Task(where=name, key="web_search", fee=Fee.SEARCH)


def _search(name: str, value: object, model_id: str) -> Iterator[Task]:
    del value, model_id
    yield Task(where=name, key="web_search")


def _live_search(name: str, value: object, model_id: str) -> Iterator[Task]:
    del model_id
    holder = value if isinstance(value, Mapping) else {}
    if holder.get("mode") != "off":
        sources = _count(holder, "max_search_results")
        most = LIVE_SEARCH_SOURCES if holder.get("max_search_results") is None else sources
        yield Task(where=name, key="web_search", fee=Fee.SEARCH, uses=most, before=True, uses_field="max_search_results")


def _plugins(name: str, value: object, model_id: str) -> Iterator[Task]:
    for index, plugin in enumerate(value if isinstance(value, list | tuple) else (value,)):
        holder = plugin if isinstance(plugin, Mapping) else {"id": plugin}
        where, plugin_id = f"{name}[{index}] ({holder.get('id')})", str(holder.get("id"))
        pdf = holder.get("pdf")
        if holder.get("enabled") is False or plugin_id in _FREE_PLUGINS:
            continue
        if plugin_id == "web":
            yield _web_plugin(where, holder, model_id)
        elif plugin_id != "file-parser" or not isinstance(pdf, Mapping) or pdf.get("engine") not in _FREE_PDF_ENGINES:
            yield Task(where=where, key=plugin_id)


def _web_plugin(where: str, plugin: JsonObject, model_id: str) -> Task:
    """Exa is asked once and bills each result; a maker's own search is used as often as its model likes."""
    engine = plugin.get("engine") or ("native" if _SEARCHES_NATIVELY.match(model_id) else "exa")
    if engine != "exa":
        return Task(where=where, key="web_search")
    results = WEB_PLUGIN_RESULTS if plugin.get("max_results") is None else _count(plugin, "max_results")
    return Task(where=where, key="web_search", uses=results, before=True, usd_per_use=WEB_PLUGIN_USD, uses_field="max_results")


def _edits(name: str, value: object, model_id: str) -> Iterator[Task]:
    """Anthropic's `context_management` has a list of edits, OpenAI's is one."""
    del model_id
    edits = value.get("edits") if isinstance(value, Mapping) else value
    for index, edit in enumerate(edits if isinstance(edits, list | tuple) else ()):
        kind = str(edit.get("type")) if isinstance(edit, Mapping) else str(edit)
        where = f"{name}[{index}] ({kind})"
        if _COMPACTION.fullmatch(kind):
            yield Task(where=where, key="compaction", fee=Fee.NONE, summarises=True, from_tokens=_trigger_tokens(edit))
        elif not _FREE_EDITS.fullmatch(kind):
            yield Task(where=where, key=kind)


def _compaction(name: str, value: object, model_id: str) -> Iterator[Task]:
    """The whole request is a summary, which no output limit is known to bound."""
    del value, model_id
    yield Task(where=name, key="compaction", fee=Fee.NONE, summarises=True)


def _trigger_tokens(edit: object) -> int:
    """The input from which a compaction happens, as the edit sets it."""
    trigger = edit.get("trigger") if isinstance(edit, Mapping) else None
    if trigger is None and isinstance(edit, Mapping) and edit.get("type") != "compaction":
        return COMPACTION_TOKENS
    is_plain = isinstance(trigger, Mapping) and trigger.get("type") == "input_tokens"
    return (_count(trigger, "value") or 0) if is_plain and isinstance(trigger, Mapping) else 0


def _servers(name: str, value: object, model_id: str) -> Iterator[Task]:
    del model_id
    for index, _ in enumerate(value if isinstance(value, list | tuple) else ()):
        yield Task(where=f"{name}[{index}]", key="mcp", fee=Fee.NONE)


def _other(name: str, value: object, model_id: str) -> Iterator[Task]:
    del value, model_id
    yield Task(where=name, key=name)


FIELDS: Mapping[str, Callable[[str, object, str], Iterator[Task]]] = {
    "web_search_options": _search_options,
    "search_parameters": _live_search,
    "plugins": _plugins,
    "context_management": _edits,
    "compaction": _compaction,
    "mcp_servers": _servers,
    **dict.fromkeys(("enable_search", "enable_web_search", "web_search", "connectors"), _search),
    **dict.fromkeys(("enable_code_interpreter", "compound_custom", "preset", "data_sources", "dataSources"), _other),
}
"""Parameters that make a provider do something by itself."""


def _in_model_id(model_id: str) -> Iterator[Task]:
    """What a model does unasked, by its name."""
    name = model_id.lower()
    key = next((key for pattern, key in _BY_MODEL_ID if pattern.fullmatch(name)), None)
    where = f"what the model {model_id} does by itself"
    if key == "online":
        yield replace(_web_plugin(where, {}, name), uses_field="")  # no field of the request has its results
    elif key is not None:
        counted = "sonar" in name  # Perplexity's usage has `num_search_queries`
        yield Task(where=where, key=key, fee=Fee.SEARCH if key == "web_search" else Fee.UNKNOWN, counted=counted)
