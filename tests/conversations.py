"""Hypothesis strategies for conversations and answers in the neutral form, shared by the tests of all dialects; knows no wire format.

What they make by default is what every dialect has a word for: nothing of it may get lost anywhere.
"""

import json

from hypothesis import strategies as st

from paymaster.dialects.neutral import Answer, Conversation, Ending, Part, Role, State, Text, Thought, Tool, ToolCall, ToolResult, Turn
from paymaster.dialects.state import owner_of
from paymaster.registry.models import Dialect

OWNERS = tuple(owner_of("provider", f"model-{letter}") for letter in "ab")
SECRETS = {OWNERS[0]: "state-of-the-first-model", OWNERS[1]: "state-of-the-second-model"}
"""A recognisable state of each model, to look for where it must not be."""

WORDS = st.text('aZ0 ß€😀"\\{<\n', min_size=1, max_size=6).map("x{}x".format)
NAMES = st.text("aZ0_-", min_size=1, max_size=6)
IDS = st.text("aZ09", min_size=1, max_size=6).map("call_{}".format)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=5,
)
ARGUMENTS = st.dictionaries(NAMES, st.none() | st.integers() | WORDS | st.lists(WORDS, max_size=2), max_size=3).map(json.dumps)


@st.composite
def stamped_thoughts(draw: st.DrawFn) -> Thought:
    """A thought whose writer is known: its state in any dialect's words, or none beyond the writer's name."""
    owner, dialect = draw(st.sampled_from(OWNERS)), draw(st.sampled_from(list(Dialect)))
    value = "" if dialect is Dialect.CHAT else f"{SECRETS[owner]}-{draw(NAMES)}"
    return Thought(text=draw(WORDS), state=State(value=value, dialect=dialect, owner=owner))


def _unique(call: ToolCall) -> str:
    return call.id


@st.composite
def calls(draw: st.DrawFn, *, with_state: bool = False) -> ToolCall:
    """A call of a function."""
    state = None
    if with_state and draw(st.booleans()):
        owner = draw(st.sampled_from(OWNERS))
        state = State(value=f"{SECRETS[owner]}-of-a-call", dialect=Dialect.CHAT, owner=owner)
    return ToolCall(id=draw(IDS), name=draw(NAMES), arguments=draw(ARGUMENTS), state=state)


@st.composite
def conversations(draw: st.DrawFn, *, with_state: bool = False) -> Conversation:
    """A conversation of user and assistant in turn, with calls that are all answered directly behind them."""
    system = [Turn(role=Role.SYSTEM, parts=(Text(text=draw(WORDS)),))] if draw(st.booleans()) else []
    turns: list[Turn] = []
    all_calls = draw(st.lists(calls(with_state=with_state), max_size=4, unique_by=_unique))
    for _ in range(draw(st.integers(1, 3))):
        said_by_user = draw(st.lists(WORDS, min_size=1, max_size=2))
        turns.append(Turn(role=Role.USER, parts=tuple(Text(text=text) for text in said_by_user)))
        asked, all_calls = all_calls[:2], all_calls[2:]
        thoughts: list[Part] = [draw(stamped_thoughts())] if with_state and draw(st.booleans()) else []
        said: list[Part] = [Text(text=draw(WORDS))] if not asked or draw(st.booleans()) else []
        turns.append(Turn(role=Role.ASSISTANT, parts=(*thoughts, *said, *asked)))
        if asked:
            turns.append(Turn(role=Role.USER, parts=tuple(ToolResult(call_id=call.id, parts=(Text(text=draw(WORDS)),)) for call in asked)))
            turns.append(Turn(role=Role.ASSISTANT, parts=(Text(text=draw(WORDS)),)))
    turns.append(Turn(role=Role.USER, parts=(Text(text=draw(WORDS)),)))
    names = list(dict.fromkeys(part.name for turn in turns for part in turn.parts if isinstance(part, ToolCall)))
    tools = tuple(Tool(name=name, description=draw(WORDS), parameters={"type": "object", "properties": {}}) for name in names)
    return Conversation(turns=(*system, *turns), tools=tools, output_tokens=4096)


@st.composite
def answers(draw: st.DrawFn) -> Answer:
    """A whole answer: text, calls, or both; a thought of an unknown writer."""
    asked = draw(st.lists(calls(), max_size=3, unique_by=_unique))
    thoughts: list[Part] = [Thought(text=draw(WORDS))] if draw(st.booleans()) else []
    said: list[Part] = [Text(text=draw(WORDS))] if not asked or draw(st.booleans()) else []
    ending = Ending.TOOL_CALLS if asked else draw(st.sampled_from([Ending.STOP, Ending.LENGTH]))
    return Answer(parts=(*thoughts, *said, *asked), ending=ending)
