"""The keys of `compat:` in a registry, which correct the facts about an endpoint, and how they override them; knows no provider."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from paymaster.errors import near
from paymaster.registry.compat import CALL_IDS, EXTRAS, REQUIREMENTS, Compat
from paymaster.registry.price_schema import BaseSection
from paymaster.registry.secrets import shown
from paymaster.registry.values import CountFromZero, Names, Params, Switch, Text, read_names, read_text, refuse


def _words(known: tuple[str, ...]) -> tuple[AfterValidator, WithJsonSchema]:
    def check(names: list[str]) -> list[str]:
        if unknown := [name for name in names if name not in known]:
            refuse(f"unknown word {', '.join(map(shown, unknown))}", near(unknown[0], known))
        return names

    items = {"type": "string", "enum": list(known)}
    return AfterValidator(check), WithJsonSchema({"anyOf": [items, {"type": "array", "items": items}]})


def _call_id(value: object) -> str:
    word = read_text(value)
    if word not in CALL_IDS:
        refuse(f"unknown form {shown(word)}", near(word, CALL_IDS))
    return word


Extras: TypeAlias = Annotated[list[str], BeforeValidator(read_names), *_words(EXTRAS)]
Requirements: TypeAlias = Annotated[list[str], BeforeValidator(read_names), *_words(REQUIREMENTS)]
CallIds: TypeAlias = Annotated[str, BeforeValidator(_call_id), WithJsonSchema({"type": "string", "enum": list(CALL_IDS)})]


class CompatSection(BaseSection):
    """What the endpoint takes, where the facts that Paymaster has about it are wrong or missing. A key replaces the fact of that name.

    `drop_params` and `keep_params` add to the facts and subtract from them.
    """

    reads: Extras | None = Field(
        None,
        description="The message fields beyond OpenAI's that it reads: "
        + ", ".join(f"`{name}`" for name in EXTRAS)
        + ". No other is sent.",
        examples=[["reasoning_content"]],
    )
    requires: Requirements | None = Field(
        None,
        description=(
            "What each turn that called tools must carry: `reasoning_content`, `thought_signature` (Google's). A turn that has none gets a "
            "stand-in."
        ),
        examples=[["reasoning_content"]],
    )
    drop_params: Names | None = Field(
        None, description="Request parameters that it refuses. They are never sent.", examples=[["temperature", "parallel_tool_calls"]]
    )
    keep_params: Names | None = Field(
        None, description="Request parameters that it takes, although the provider's facts drop them.", examples=[["top_k"]]
    )
    exclusive_params: Names | None = Field(
        None,
        description="Parameters of which it takes only one: the caller's, else the first of these.",
        examples=[["temperature", "top_p"]],
    )
    thinking_off: Params | None = Field(
        None, description="The parameters that keep it from thinking.", examples=[{"thinking": {"type": "disabled"}}]
    )
    nested: Names | None = Field(
        None, description="Parameters that it reads inside of a field `extra_body`, as Google's endpoint does.", examples=[["google"]]
    )
    system_first: Switch | None = Field(
        None, description="true: `system` may only be the first message. Later ones are sent as the user's.", examples=[True]
    )
    developer_role: Switch | None = Field(None, description="false: it knows no role `developer`; `system` is sent.", examples=[False])
    alternating_roles: Switch | None = Field(
        None, description="true: `user` and `assistant` must take turns. Neighbours of one role are joined.", examples=[True]
    )
    user_after_tool: Switch | None = Field(
        None,
        description="false: a `user` message must not follow a `tool` message. A short `assistant` message is put between.",
        examples=[False],
    )
    text_content: Switch | None = Field(
        None,
        description="true: content must be text, not a list of parts. Lists that have only text are joined, line by line.",
        examples=[True],
    )
    empty_text: Switch | None = Field(None, description="false: it refuses empty texts. They are left out.", examples=[False])
    images_in_tools: Switch | None = Field(
        None,
        description="true: it takes images in `tool` messages. Otherwise they are sent in a `user` message behind the results.",
        examples=[True],
    )
    names: Switch | None = Field(None, description="false: it refuses `name` on messages.", examples=[False])
    unknown_fields: Switch | None = Field(
        None, description="false: it refuses fields of messages and tool calls that are neither OpenAI's nor in `reads`.", examples=[False]
    )
    tool_choice_without_tools: Switch | None = Field(
        None,
        description="true: it takes `tool_choice` and `parallel_tool_calls` in a request without tools. Else they are left out.",
        examples=[True],
    )
    call_id: CallIds | None = Field(
        None,
        description="The ids of calls that it takes: `any`, `anthropic` (letters, digits, `_`, `-`), `mistral` (nine letters or digits).",
        examples=["mistral"],
    )
    call_id_limit: CountFromZero | None = Field(
        None, description="The longest id of a tool call, in characters. 0: no limit.", examples=[40]
    )
    tool_name_limit: CountFromZero | None = Field(
        None, description="The longest name of a tool. Longer ones are shortened, and restored in the answer. 0: no limit.", examples=[64]
    )
    user_limit: CountFromZero | None = Field(
        None, description="The longest `user` and `safety_identifier`. For a longer one its hash is sent. 0: no limit.", examples=[64]
    )
    max_tools: CountFromZero | None = Field(
        None, description="The most tools of one request. A request with more goes to another model. 0: no limit.", examples=[128]
    )

    session_param: Text | None = Field(
        None,
        description=(
            "The parameter that says which session a request belongs to, so that the endpoint finds its cache again: `prompt_cache_key` "
            "(OpenAI's), `session_id` (OpenRouter's). A digest is sent where a request has none. `none`: nothing is sent."
        ),
        examples=["prompt_cache_key", "none"],
    )


_SETS = frozenset({"reads", "requires", "nested"})
_LIMITS = frozenset({"call_id_limit", "tool_name_limit", "user_limit", "max_tools"})


def overridden(known: Compat, section: CompatSection | None) -> Compat:
    """The facts with those of the registry in their place."""
    return known if section is None else replace(known, **dict(_changes(known, section)))  # type: ignore[arg-type]  # by the schema's keys


def kept_params(section: CompatSection | None) -> frozenset[str]:
    """The parameters that are sent although the provider's facts say otherwise."""
    return frozenset(() if section is None else section.keep_params or ())


def compat_origins(section: CompatSection | None, origin: str) -> dict[str, str]:
    """The origin of each fact that the registry overrides."""
    names = () if section is None else section.model_fields_set
    return {f"compat.{'drop_params' if name == 'keep_params' else name}": origin for name in names}


def _changes(known: Compat, section: CompatSection) -> Iterator[tuple[str, object]]:
    for name in section.model_fields_set - {"drop_params", "keep_params"}:
        value = getattr(section, name)
        if value is None:
            continue
        if name in _SETS:
            value = frozenset(value)
        elif name in _LIMITS:
            value = value or None
        elif name == "session_param":
            value = None if value == "none" else value
        elif name == "exclusive_params":
            value = tuple(value)
        yield name, value
    yield "drop_params", (known.drop_params | frozenset(section.drop_params or ())) - kept_params(section)
