"""A conversation of Anthropic's as chat completions expect it, where more than the words differ; knows no model.

An error of a tool is said in its text, and texts without marks are joined: a chat completion's message has one text.
"""

from collections.abc import Sequence
from dataclasses import replace

from paymaster.dialects.neutral import Conversation, Part, Role, Text, ToolResult, Turn


def for_chat(conversation: Conversation) -> Conversation:
    """The conversation with every turn as chat completions expect it."""
    return replace(conversation, turns=tuple(_turn(turn) for turn in conversation.turns))


def _turn(turn: Turn) -> Turn:
    if turn.role is Role.ASSISTANT:
        return replace(turn, parts=_joined(turn.parts, ""))
    if any(isinstance(part, ToolResult) for part in turn.parts):
        return replace(turn, parts=tuple(_result(part) if isinstance(part, ToolResult) else part for part in turn.parts))
    return turn


def _result(result: ToolResult) -> ToolResult:
    """What a tool returned, with the fact that it failed in front."""
    parts = _joined(result.parts, "\n")
    if not result.is_error:
        return replace(result, parts=parts)
    first = parts[0] if parts else None
    if isinstance(first, Text):
        return replace(result, parts=(replace(first, text=f"Error: {first.text}" if first.text else "Error"), *parts[1:]), is_error=False)
    return replace(result, parts=(Text(text="Error"), *parts), is_error=False)


def _joined(parts: Sequence[Part], between: str) -> tuple[Part, ...]:
    """The parts with texts that follow one another as one, unless a mark or a field of one says more."""
    found: list[Part] = []
    for part in parts:
        last = found[-1] if found else None
        if isinstance(part, Text) and isinstance(last, Text) and _is_plain(part) and _is_plain(last):
            found[-1] = Text(text=f"{last.text}{between}{part.text}")
        else:
            found.append(part)
    return tuple(found)


def _is_plain(text: Text) -> bool:
    return text.cache is None and not text.extras and not text.refusal
