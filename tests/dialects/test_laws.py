"""Laws of all dialects: what one writes another reads whole, state comes back to its writer, and reaches nobody else."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import permutations

import pytest
from hypothesis import given

from conversations import OWNERS, SECRETS, conversations
from paymaster.dialects.chat.answers import write_answer as write_chat
from paymaster.dialects.formats import REQUESTS
from paymaster.dialects.losses import without_places
from paymaster.dialects.messages.answers import write_answer as write_message
from paymaster.dialects.neutral import (
    SHAPE,
    Answer,
    Conversation,
    Document,
    Ending,
    Extras,
    Image,
    Part,
    Role,
    State,
    Text,
    Thought,
    Tool,
    ToolCall,
    ToolResult,
    Turn,
)
from paymaster.dialects.responses.answers import write as write_response
from paymaster.dialects.state import stamped
from paymaster.jsontypes import JsonObject
from paymaster.registry.models import Dialect

PRESENT = sorted(REQUESTS)
PAIRS = [*permutations(PRESENT, 2)] or [(dialect, dialect) for dialect in PRESENT]


def _chat_history(answer: Answer) -> JsonObject:
    (choice,) = write_chat(answer).body["choices"]  # type: ignore[misc, attr-defined]  # one choice, as it was written
    return {"messages": [choice["message"]]}


def _message_history(answer: Answer) -> JsonObject:
    return {"messages": [{"role": "assistant", "content": write_message(answer)["content"]}], "max_tokens": 1}


def _response_history(answer: Answer) -> JsonObject:
    return {"input": write_response(answer)}


LIMITS: dict[Dialect, JsonObject] = {Dialect.CHAT: {}, Dialect.MESSAGES: {"max_tokens": 4096}, Dialect.RESPONSES: {}}
"""What the flow adds to every request where it is required."""
RETURNED: dict[Dialect, Callable[[Answer], JsonObject]] = {
    Dialect.CHAT: _chat_history,
    Dialect.MESSAGES: _message_history,
    Dialect.RESPONSES: _response_history,
}
"""How a client returns an answer in its next request."""


def said(conversation: Conversation) -> list[tuple[object, ...]]:
    """What must survive: who said what, in order. Neighbouring texts of a role are one: dialects split them in their own ways."""
    pieces: list[tuple[object, ...]] = []
    for turn in conversation.turns:
        role = Role.SYSTEM if turn.role is Role.DEVELOPER else turn.role
        for part in turn.parts:
            piece = _piece(role, part)
            if pieces and piece[0] == "text" == pieces[-1][0] and piece[1] == pieces[-1][1]:
                pieces[-1] = ("text", piece[1], f"{pieces[-1][2]}{piece[2]}")
            else:
                pieces.append(piece)
    return pieces


def _piece(role: Role, part: Part) -> tuple[object, ...]:
    match part:
        case Text():
            return ("text", role, part.text)
        case Thought():
            return ("thought", part.text)
        case ToolCall():
            return ("call", part.id, part.name, json.loads(part.arguments))
        case ToolResult():
            return ("result", part.call_id, _texts(part.parts), part.is_error)
        case _:
            return ("other", type(part).__name__)


def _texts(parts: Sequence[Part]) -> str:
    return "".join(part.text for part in parts if isinstance(part, Text))


def states(conversation: Conversation) -> list[State]:
    return [part.state for turn in conversation.turns for part in turn.parts if isinstance(part, Thought | ToolCall) and part.state]


@pytest.mark.parametrize("dialect", PRESENT)
@given(conversation=conversations())
def test_a_dialect_reads_what_it_wrote(dialect: Dialect, conversation: Conversation) -> None:
    form = REQUESTS[dialect]
    written = form.write(conversation, "")
    assert written.dropped == ()
    read = form.read(written.body)
    assert said(read) == said(conversation)
    assert [tool.name for tool in read.tools if isinstance(tool, Tool)] == [
        tool.name for tool in conversation.tools if isinstance(tool, Tool)
    ]


@pytest.mark.parametrize("dialect", PRESENT)
@given(conversation=conversations(with_state=True))
def test_a_request_that_was_read_is_written_as_it_was(dialect: Dialect, conversation: Conversation) -> None:
    form = REQUESTS[dialect]
    body = form.write(conversation, "").body
    assert form.write(form.read(body), "").body == body


@pytest.mark.parametrize(("one", "other"), PAIRS)
@given(conversation=conversations())
def test_a_conversation_goes_through_two_dialects_and_back(one: Dialect, other: Dialect, conversation: Conversation) -> None:
    first = REQUESTS[one].read({**REQUESTS[one].write(conversation, "").body, **LIMITS[one]})
    there = REQUESTS[other].write(first, "")
    back = REQUESTS[one].write(REQUESTS[other].read({**there.body, **LIMITS[other]}), "")
    assert (there.dropped, back.dropped) == ((), ())
    assert said(REQUESTS[one].read({**back.body, **LIMITS[one]})) == said(conversation)


@pytest.mark.parametrize("client", sorted(RETURNED))
@given(conversation=conversations(with_state=True))
def test_state_comes_back_from_a_client_as_it_was_written(client: Dialect, conversation: Conversation) -> None:
    for turn in conversation.turns:
        if turn.role is not Role.ASSISTANT:
            continue
        returned = REQUESTS[client].read(RETURNED[client](Answer(parts=turn.parts, ending=Ending.STOP)))
        answer = Conversation(turns=(turn,))
        assert states(returned) == states(answer)
        assert said(returned) == said(answer)
        planned = REQUESTS[Dialect.CHAT].read(REQUESTS[Dialect.CHAT].write(returned, "").body)
        assert states(planned) == states(answer)
        assert said(planned) == said(answer)


@pytest.mark.parametrize("dialect", PRESENT)
@given(conversation=conversations(with_state=True))
def test_a_model_gets_its_own_state_and_no_other(dialect: Dialect, conversation: Conversation) -> None:
    for owner, secret in SECRETS.items():
        text = json.dumps(REQUESTS[dialect].write(conversation, owner).body)
        others = {name: value for name, value in SECRETS.items() if name != owner}
        for state in states(conversation):
            assert stamped(state) not in text
            if state.owner != owner and state.value:
                assert state.value not in text
            if state.owner == owner and state.dialect is dialect and state.value:
                assert state.value in text
        assert all(value not in text for value in others.values()), secret


@pytest.mark.parametrize("dialect", PRESENT)
@given(conversation=conversations(with_state=True))
def test_a_request_in_the_dialect_of_its_model_keeps_the_state_of_that_model_alone(dialect: Dialect, conversation: Conversation) -> None:
    form = REQUESTS[dialect]
    body = form.write(conversation, "").body
    text = json.dumps(form.passed(body, OWNERS[0]).body)
    for state in states(conversation):
        assert stamped(state) not in text
        assert state.owner == OWNERS[0] or not state.value or state.value not in text


@pytest.mark.parametrize("dialect", PRESENT)
@given(conversation=conversations())
def test_a_request_without_foreign_state_passes_as_it_came(dialect: Dialect, conversation: Conversation) -> None:
    form = REQUESTS[dialect]
    body = {**form.write(conversation, "").body, "unknown_to_all": {"a": [1]}}
    passed = form.passed(body, OWNERS[0])
    assert passed.body == body
    assert passed.dropped == ()


USER = Turn(role=Role.USER, parts=(Text(text="x"),))


def _holders(extras: Extras) -> dict[str, Conversation]:
    """Conversations that have a field of one dialect somewhere."""
    call = ToolCall(id="call_1", name="f", arguments="{}")
    result = ToolResult(call_id="call_1", parts=(Text(text="r"),))
    asked, answered = Turn(role=Role.ASSISTANT, parts=(call,)), Turn(role=Role.USER, parts=(result,))
    odd_call, odd_result = replace(call, extras=extras), replace(result, extras=extras)
    return {
        "the request": Conversation(turns=(USER,), extras=extras),
        "a turn": Conversation(turns=(replace(USER, extras=extras),)),
        "a text": Conversation(turns=(Turn(role=Role.USER, parts=(Text(text="x", extras=extras),)),)),
        "an image": Conversation(turns=(Turn(role=Role.USER, parts=(Image(url="https://x/y.png", extras=extras),)),)),
        "a document": Conversation(turns=(Turn(role=Role.USER, parts=(Document(url="https://x/y.pdf", extras=extras),)),)),
        "a call": Conversation(turns=(USER, Turn(role=Role.ASSISTANT, parts=(odd_call,)), answered)),
        "a result": Conversation(turns=(USER, asked, Turn(role=Role.USER, parts=(odd_result,)))),
        "a part of a result": Conversation(
            turns=(USER, asked, Turn(role=Role.USER, parts=(replace(result, parts=(Text(text="r", extras=extras),)),)))
        ),
        "a tool": Conversation(turns=(USER,), tools=(Tool(name="f", parameters={"type": "object"}, extras=extras),)),
    }


@pytest.mark.parametrize("holder", _holders({}))
@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_a_field_that_only_one_dialect_knows_is_named_where_it_is_lost(one: Dialect, other: Dialect, holder: str) -> None:
    written = REQUESTS[other].write(_holders({one: {"own_field": "own value"}})[holder], "")
    assert "own value" not in json.dumps(written.body)
    assert [name for name in written.dropped if name.endswith("own_field")] == list(written.dropped) != []


@pytest.mark.parametrize(("one", "other"), PAIRS)
@pytest.mark.parametrize("holder", _holders({}))
def test_a_note_of_how_one_dialect_wrote_a_thing_is_no_loss(one: Dialect, other: Dialect, holder: str) -> None:
    written = REQUESTS[other].write(_holders({one: {SHAPE: {"as": "list"}}})[holder], "")
    assert written.dropped == ()


PLACES = [
    (("messages.4.content.0.citations", "messages.6.content.1.citations"), ("messages.citations",)),
    (("messages.1.name", "tools.0.format", "seed"), ("messages.name", "tools.format", "seed")),
    (
        ("input.0.reasoning", "messages.0.content", "messages.2.tool_calls.0.state"),
        ("input.reasoning", "messages.content", "messages.tool_calls.state"),
    ),
    ((), ()),
]


@pytest.mark.parametrize(("names", "reported"), PLACES)
def test_a_lost_field_is_reported_once_without_its_place(names: tuple[str, ...], reported: tuple[str, ...]) -> None:
    assert without_places(names) == reported
