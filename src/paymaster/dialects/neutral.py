"""The form between dialects: the parts of conversations and answers; knows no wire format.

What only one dialect has a word for is kept in `extras` of the part, tool or conversation that has it, under the name of that dialect:
another dialect leaves it out, and says so.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from paymaster.jsontypes import JsonObject
from paymaster.registry.models import Dialect

Extras: TypeAlias = Mapping[Dialect, JsonObject]
"""Fields that only one dialect knows, by dialect."""

SHAPE = "$shape"
"""The key in a dialect's extras under which it notes how it wrote what it can write in several ways. Nothing is lost with it elsewhere."""


class Role(StrEnum):
    """Who says a turn. A tool's results are parts of a user's turn."""

    SYSTEM = "system"
    DEVELOPER = "developer"
    USER = "user"
    ASSISTANT = "assistant"


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A text. `refusal`: the model says with it that it will not answer.

    `cache` is Anthropic's marker, on any part: the prompt up to here is cached.
    """

    text: str
    refusal: bool = False
    cache: JsonObject | None = None
    extras: Extras = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image: its address, or `data` in base64 with its `media_type`. `file_id`: the provider has it. `detail` is OpenAI's word."""

    url: str = ""
    data: str = ""
    media_type: str = ""
    file_id: str = ""
    detail: str = ""
    cache: JsonObject | None = None
    extras: Extras = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A document: its address, `data` in base64 with its `media_type`, or a plain `text`."""

    url: str = ""
    data: str = ""
    media_type: str = ""
    text: str = ""
    file_id: str = ""
    title: str = ""
    cache: JsonObject | None = None
    extras: Extras = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Audio:
    """A recording, in base64. `format`: `wav`, `mp3`."""

    data: str
    format: str
    extras: Extras = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A call of a tool that runs at the client. `arguments` is JSON text as the model wrote it; of a `custom` tool any text.

    `namespace` is the group that the tool belongs to. `state` is what the call's model wants back with it (Gemini's thought signature).
    """

    id: str
    name: str
    arguments: str
    custom: bool = False
    namespace: str = ""
    state: "State | None" = None
    cache: JsonObject | None = None
    extras: Extras = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolResult:
    """What a tool returned: texts, images, documents."""

    call_id: str
    parts: "tuple[Part, ...]"
    is_error: bool = False
    custom: bool = False
    cache: JsonObject | None = None
    extras: Extras = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What a model wants back unread: `value`, in the words of `dialect`. `owner` is who wrote it (see `state`); empty: not known."""

    value: str
    dialect: Dialect
    owner: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thought:
    """A thought: its text where that is shown, and the state that goes back with it. `redacted`: there is only the state.

    A state with an empty value says no more than whose thought it is.
    """

    text: str = ""
    state: State | None = None
    redacted: bool = False
    extras: Extras = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opaque:
    """A part that only its own dialect knows, as it was written: a use of a provider's own tool and its result, a compaction.

    `text` is what it says, for a dialect that has no word for it; empty if it says nothing outside its own.
    """

    dialect: Dialect
    value: JsonObject
    text: str = ""


Part: TypeAlias = Text | Image | Document | Audio | ToolCall | ToolResult | Thought | Opaque


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What one side says at a time, in order."""

    role: Role
    parts: tuple[Part, ...]
    extras: Extras = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A tool that runs at the client. `parameters` is a JSON schema; `strict` as its client asked (None: not said).

    A `custom` tool takes a text, which may have to follow a grammar (`format`, in the words of OpenAI's responses). A name is unique in its
    request, also if the tool is in a group.
    """

    name: str
    description: str = ""
    parameters: JsonObject | None = None
    strict: bool | None = None
    custom: bool = False
    format: JsonObject | None = None
    namespace: str = ""
    cache: JsonObject | None = None
    extras: Extras = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerTool:
    """A tool that the provider runs by itself, in the words of its dialect. `forced`: the client's tool choice names it.

    `loaded`: a turn has it, and not the list of tools.
    """

    dialect: Dialect
    value: JsonObject
    forced: bool = False
    loaded: bool = False


class ChoiceKind(StrEnum):
    """Whether a model may, must or must not call tools."""

    AUTO = "auto"
    REQUIRED = "required"
    NONE = "none"
    NAMED = "named"


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolChoice:
    """Which tools may be called. `names`: the tool that must be called (`NAMED`), or those that may be (empty: all)."""

    kind: ChoiceKind
    names: tuple[str, ...] = ()
    parallel: bool | None = None
    extras: Extras = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ThinkingWish:
    """How much the model shall think: `effort` is OpenAI's word, `budget_tokens` Anthropic's figure. `off`: not at all. `shown`: visibly.

    Each dialect says it in its own words; `own` are the words of the dialect that it was said in.
    """

    effort: str = ""
    budget_tokens: int | None = None
    adaptive: bool = False
    off: bool = False
    shown: bool | None = None
    own: Extras = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """A request for an answer: what was said, the tools, and the wishes that more than one dialect has a word for.

    `schema` is the JSON schema that the answer must follow, in the words of chat completions (`{"name", "schema", "strict"}`); an empty
    object means any JSON. `params` are further parameters by the names that chat completions has for them (`temperature`, `top_p`,
    `stop`, `user`, …). `extras` are fields that only one dialect knows.
    """

    turns: tuple[Turn, ...]
    tools: tuple[Tool | ServerTool, ...] = ()
    choice: ToolChoice | None = None
    thinking: ThinkingWish | None = None
    schema: JsonObject | None = None
    output_tokens: int | None = None
    params: Mapping[str, object] = field(default_factory=dict)
    extras: Extras = field(default_factory=dict)


class Ending(StrEnum):
    """Why an answer ended."""

    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    CONTENT_FILTER = "content_filter"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A whole answer: its parts in order, and how it ended. `stop_sequence` is the caller's text at which it stopped."""

    parts: tuple[Part, ...]
    ending: Ending
    stop_sequence: str | None = None
    extras: Extras = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A body in a dialect, and what it has no word for, by the client's names (`context_management`, `messages.1.is_error`)."""

    body: dict[str, object]
    dropped: tuple[str, ...] = ()
