"""What a model gets of the state in a history: its own as it wrote it, none of another's; knows no wire format."""

from collections.abc import Iterator
from dataclasses import replace

from paymaster.dialects.neutral import Part, State, Thought, ToolCall, Turn


def for_reader(turn: Turn, owner: str, where: str, dropped: list[str]) -> Turn:
    """The turn for the model that signs as `owner`; the same turn if it has no stamped state. What nobody signed stays."""
    if not any(isinstance(part, Thought | ToolCall) and part.state is not None and part.state.owner for part in turn.parts):
        return turn
    return replace(turn, parts=tuple(_read_by(turn.parts, owner, where, dropped)))


def _read_by(parts: tuple[Part, ...], owner: str, where: str, dropped: list[str]) -> Iterator[Part]:
    for part in parts:
        if not isinstance(part, Thought | ToolCall) or part.state is None or not part.state.owner:
            yield part
        elif part.state.owner == owner:
            yield replace(part, state=_unsigned(part.state))
        elif isinstance(part, ToolCall):
            dropped.append(f"{where}.tool_calls.state")
            yield replace(part, state=None)
        else:
            dropped.append(f"{where}.thinking")


def _unsigned(state: State) -> State | None:
    """The state as its writer knows it; None if it only named the writer."""
    return replace(state, owner="") if state.value else None
