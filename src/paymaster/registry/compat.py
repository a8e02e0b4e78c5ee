"""What an endpoint that speaks chat completions takes, and in which form: one dataclass; knows no provider, no file and no request."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypedDict

EXTRAS: tuple[str, ...] = (
    "reasoning_content", "reasoning", "reasoning_details", "thinking_blocks", "cache_control", "extra_content", "provider_specific_fields",
    "anthropic_blocks", "openai_items",
)  # fmt: skip
"""Fields of messages, of their parts and of tool calls that one server writes and few others read."""

REASONING_CONTENT, THOUGHT_SIGNATURE = "reasoning_content", "thought_signature"
REQUIREMENTS: tuple[str, ...] = (REASONING_CONTENT, THOUGHT_SIGNATURE)
"""What an endpoint may want back with each turn that called tools."""

ANY, ANTHROPIC, MISTRAL = "any", "anthropic", "mistral"
CALL_IDS: tuple[str, ...] = (ANY, ANTHROPIC, MISTRAL)
"""The ids of tool calls that an endpoint takes: any text; letters, digits, `_` and `-`; nine letters or digits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compat:
    """The facts about one endpoint. A default is what OpenAI's own API takes, with no limit.

    It reads the message fields `reads` and no other of `EXTRAS`, and `requires` some of them in turns that called tools. `drop_params` are
    request parameters that are never sent; of `exclusive_params` it takes one, the first that is given. `thinking_off` are the parameters
    that keep the model from thinking, None if none are known; `nested` are the parameters that it reads inside of a field `extra_body`.
    `session_param` is where it reads which session a request belongs to, so that its cache is found again; None: nowhere.
    A role, field or form whose switch is False, or a limit that is exceeded, is put into another form that means the same, if there is one.
    """

    reads: frozenset[str] = frozenset()
    requires: frozenset[str] = frozenset()
    drop_params: frozenset[str] = frozenset()
    exclusive_params: tuple[str, ...] = ()
    thinking_off: Mapping[str, object] | None = None
    nested: frozenset[str] = frozenset()
    system_first: bool = False
    developer_role: bool = True
    alternating_roles: bool = False
    user_after_tool: bool = True
    text_content: bool = False
    empty_text: bool = True
    images_in_tools: bool = False
    names: bool = True
    unknown_fields: bool = True
    tool_choice_without_tools: bool = True
    call_id: str = ANY
    call_id_limit: int | None = None
    tool_name_limit: int | None = None
    user_limit: int | None = None
    max_tools: int | None = None
    session_param: str | None = None
    unread: frozenset[str] = field(init=False, repr=False, compare=False)
    """The extras that it does not read: asked of every message of every call."""

    def __post_init__(self) -> None:
        """Compute `unread` once."""
        object.__setattr__(self, "unread", frozenset(EXTRAS) - self.reads)


PLAIN = Compat()
"""An endpoint about which nothing else is known."""


class CompatFacts(TypedDict, total=False):
    """Some of the facts, as a row of a table has them."""

    reads: frozenset[str]
    requires: frozenset[str]
    drop_params: frozenset[str]
    exclusive_params: tuple[str, ...]
    thinking_off: Mapping[str, object] | None
    nested: frozenset[str]
    system_first: bool
    developer_role: bool
    alternating_roles: bool
    user_after_tool: bool
    text_content: bool
    empty_text: bool
    images_in_tools: bool
    names: bool
    unknown_fields: bool
    tool_choice_without_tools: bool
    call_id: str
    call_id_limit: int | None
    tool_name_limit: int | None
    user_limit: int | None
    max_tools: int | None
    session_param: str | None
