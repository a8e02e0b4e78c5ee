"""Gives each call of a conversation an id of its own, as Anthropic's API demands; knows nothing else of a request.

Some servers begin to count anew in every answer (`call_0`, `function-call-1`).
"""

from collections.abc import Sequence
from dataclasses import replace

from paymaster.dialects.neutral import Part, ToolCall, ToolResult, Turn


def with_own_ids(turns: Sequence[Turn]) -> Sequence[Turn]:
    """The turns with another id for a call, and for its result, whose id an earlier call has; the very same object where there is none."""
    given = [part.id for turn in turns for part in turn.parts if isinstance(part, ToolCall)]
    if len(given) == len(set(given)):
        return turns
    ids = _Ids(set(given))
    return [replace(turn, parts=tuple(ids.own(part) for part in turn.parts)) for turn in turns]


class _Ids:
    """The ids so far: of each one that was given the latest, as results come behind their calls."""

    def __init__(self, given: set[str]) -> None:
        self._taken, self._latest = given, dict[str, str]()

    def own(self, part: Part) -> Part:
        """The call or the result with its id; any other part as it is."""
        match part:
            case ToolCall(id=given):
                self._latest[given] = self._free(given) if given in self._latest else given
                return replace(part, id=self._latest[given])
            case ToolResult(call_id=given):
                return replace(part, call_id=self._latest.get(given, given))
            case _:
                return part

    def _free(self, given: str) -> str:
        number = 2
        while (name := f"{given}_{number}") in self._taken:
            number += 1
        self._taken.add(name)
        return name
