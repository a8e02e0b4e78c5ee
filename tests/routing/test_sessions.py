"""Which calls are one session: by what clients send, by instance and key, and by how a conversation begins."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from json import dumps

import pytest

from paymaster.operations import Operation
from paymaster.registry.models import Affinity, Dialect
from paymaster.routing.requests import Request, Source
from paymaster.routing.sessions import Session, instance_id, named_session, session_in, session_of
from paymaster.scope import Scope

NOBODY = Scope(run="r")
PROMPT = "You are an agent. Today is Monday, November 30, 2026, 11:58 PM. Use bash."
NEXT_DAY = PROMPT.replace("Monday, November 30, 2026, 11:58 PM", "Tue, Dec 1, 2026, 00:01 AM")
SYSTEM = {"role": "system", "content": PROMPT}
TASK = {"role": "user", "content": "Fix the parser in pkg/a.py."}
TURN = ({"role": "assistant", "content": "ls"}, {"role": "tool", "tool_call_id": "1", "content": "a.py"})
UUID = "0b0e5a4c-5f0e-4d26-8c1a-77b0a3c9e111"

Messages = Sequence[Mapping[str, object]]


def session(request: Request, scope: Scope = NOBODY, affinity: Affinity = Affinity.CONVERSATION, **fields: str) -> Session | None:
    return session_of(request, scope, affinity, model=fields.pop("model", "m"), **fields)


def id_of(request: Request, scope: Scope = NOBODY, affinity: Affinity = Affinity.CONVERSATION, **fields: str) -> str | None:
    found = session(request, scope, affinity, **fields)
    return None if found is None else found.id


def said(*messages: Mapping[str, object]) -> Request:
    return Request(messages=messages)


BEGUN = said(SYSTEM, TASK)


@pytest.mark.parametrize(
    "later",
    [
        (SYSTEM, TASK, *TURN),
        (SYSTEM, TASK, *TURN, *TURN, {"role": "user", "content": "Go on."}),
        (SYSTEM, {"role": "user", "content": [{"type": "text", "text": TASK["content"], "cache_control": {"type": "ephemeral"}}]}, *TURN),
        (SYSTEM, {"role": "user", "content": [{"type": "text", "text": TASK["content"]}]}, *TURN),
        ({"role": "system", "content": [{"type": "text", "text": PROMPT, "cache_control": {}}]}, TASK),
        (
            {"role": "system", "content": PROMPT.replace("Monday, November 30, 2026, 11:58 PM", "Tue, Dec 1, 2026, 00:01 AM")},
            TASK,
        ),
        ({"role": "system", "content": f"  {PROMPT}\n"}, TASK),
        ({"role": "developer", "content": PROMPT}, TASK),
        (SYSTEM, {**TASK, "name": "me"}),
    ],
    ids=["a turn", "turns", "a moving mark", "a list of parts", "a marked system prompt", "the next day", "spaces", "developer", "a name"],
)
def test_a_conversation_stays_the_same_while_it_goes_on(later: Messages) -> None:
    assert id_of(said(*later)) == id_of(BEGUN)


@pytest.mark.parametrize(
    "other",
    [
        (SYSTEM, {"role": "user", "content": "Fix the parser in pkg/b.py."}),
        (SYSTEM, {"role": "user", "content": "Fix the parser in pkg/a.py. 2"}),
        ({"role": "system", "content": "You review code."}, TASK),
        (TASK,),
        (SYSTEM, {"role": "user", "content": "This conversation was summed up: the parser is fixed."}, *TURN),
        (SYSTEM, TASK, {"role": "user", "content": "Be quick."}),
        (SYSTEM, {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:1"}}]}),
    ],
    ids=["another task", "a number", "another agent", "no system prompt", "a compaction", "two messages", "an image"],
)
def test_another_beginning_is_another_conversation(other: Messages) -> None:
    assert id_of(said(*other)) != id_of(BEGUN)


def test_long_messages_differ_by_their_beginning_their_end_and_their_length() -> None:
    texts = ["x" * 40_000, "y" + "x" * 39_999, "x" * 39_999 + "y", "x" * 40_001, "x" * 100]
    assert len({id_of(said({"role": "user", "content": text})) for text in texts}) == len(texts)
    marked = {"type": "image_url", "image_url": {"url": "data:1"}, "cache_control": {"type": "ephemeral"}}
    plain = {name: marked[name] for name in ("image_url", "type")}
    assert id_of(said({"role": "user", "content": [marked, "x"]})) == id_of(said({"role": "user", "content": [plain, "x"]}))


@pytest.mark.parametrize(("messages", "has_history"), [((SYSTEM, TASK), False), ((SYSTEM, TASK, *TURN), True)])
def test_only_a_conversation_with_an_answer_may_have_a_warm_cache(messages: Messages, has_history: bool) -> None:
    found = session(said(*messages))
    assert found is not None
    assert found.has_history == has_history


CLAUDE_CODE = f"user_{'0f' * 32}_account_{UUID}_session_{UUID}"


@pytest.mark.parametrize(
    ("params", "named"),
    [
        ({"prompt_cache_key": "k"}, "k"),
        ({"session_id": "s", "prompt_cache_key": "k"}, "s"),
        ({"conversation": "conv_1"}, "conv_1"),
        ({"conversation": {"id": "conv_1"}}, "conv_1"),
        ({"metadata": {"user_id": CLAUDE_CODE}}, UUID),
        ({"metadata": {"user_id": dumps({"device_id": "d", "session_id": UUID})}}, UUID),
        ({"metadata": {"session_id": "s"}}, "s"),
        ({"metadata": {"user_id": "ann"}}, None),
        ({"metadata": {"user_id": "{no json"}}, None),
        ({"metadata": {"user_id": "{}"}}, None),
        ({"metadata": {"user_id": '{"a": 1}'}}, None),
        ({"metadata": {"user_id": 7}}, None),
        ({"metadata": {"user_id": "x" * 600}}, None),
        ({"metadata": "x"}, None),
        ({"prompt_cache_key": ""}, None),
        ({"prompt_cache_key": 7}, None),
        ({"prompt_cache_key": "x" * 600}, None),
        ({"conversation": {}}, None),
        ({"user": "ann"}, None),
        ({}, None),
    ],
)
def test_what_a_client_names_is_its_session(params: Mapping[str, object], named: str | None) -> None:
    request = Request(messages=(TASK,), params=params)
    assert named_session(request) == named
    in_body = Request(messages=(TASK,), source=Source(dialect=Dialect.MESSAGES, body={"model": "m", **params}))
    assert named_session(in_body) == named
    found, plain = session(request), session(said(TASK))
    assert found is not None
    assert found.has_history == (named is not None)
    assert (found == plain) == (named is None)


@pytest.mark.parametrize(
    ("headers", "named"),
    [
        ({"x-paymaster-session": "p", "session_id": "c"}, "p"),
        ({"session_id": "c", "conversation_id": "d"}, "c"),
        ({"conversation_id": "d"}, "d"),
        ({"session-id": "c"}, "c"),
        ({"x-session-id": "o"}, "o"),
        ({"x-claude-code-session-id": UUID}, UUID),
        ({"x-session-affinity": "a"}, "a"),
        ({"x-opencode-session": "a"}, "a"),
        ({"x-session-id": "", "x-session-affinity": "a"}, "a"),
        ({"x-request-id": "1", "x-client-request-id": "2"}, None),
    ],
)
def test_the_headers_in_which_clients_name_a_session(headers: Mapping[str, str], named: str | None) -> None:
    assert session_in(headers) == named
    first = Request(messages=(TASK,), session=session_in(headers), params={"prompt_cache_key": "k"})
    assert named_session(first) == (named or "k")


INSTANCE = Scope(run="r", batch="b", instance="task-1")
KEYED = Scope(run="r", instance="task-1", key="k1")


@pytest.mark.parametrize(
    ("affinity", "scope", "named", "same_as"),
    [
        (Affinity.CONVERSATION, INSTANCE, "s", "session"),
        (Affinity.CONVERSATION, INSTANCE, None, "instance"),
        (Affinity.CONVERSATION, NOBODY, None, "beginning"),
        (Affinity.INSTANCE, INSTANCE, "s", "instance"),
        (Affinity.INSTANCE, NOBODY, "s", None),
        (Affinity.KEY, KEYED, "s", "key"),
        (Affinity.KEY, INSTANCE, "s", None),
        (Affinity.NONE, KEYED, "s", None),
    ],
)
def test_what_counts_by_the_affinity_of_the_model(affinity: Affinity, scope: Scope, named: str | None, same_as: str | None) -> None:
    ids = {
        "session": id_of(Request(messages=(TASK,), session="s")),
        "instance": id_of(said(TASK), INSTANCE, Affinity.INSTANCE),
        "beginning": id_of(said(TASK)),
        "key": id_of(said(SYSTEM), KEYED, Affinity.KEY),
        None: None,
    }
    assert len(set(ids.values())) == len(ids)
    assert id_of(Request(messages=(TASK,), session=named), scope, affinity) == ids[same_as]


def test_nothing_of_two_keys_two_users_two_models_or_two_ledgers_is_one_session() -> None:
    named = Request(messages=(TASK,), session="s")
    found = [
        id_of(named),
        id_of(named, model="n"),
        id_of(named, salt="ledger"),
        id_of(named, replace(NOBODY, key="k1")),
        id_of(said(TASK)),
        id_of(said(TASK), replace(NOBODY, key="k1")),
        id_of(said(TASK), model="n"),
        id_of(said(TASK), INSTANCE),
        id_of(said(TASK), replace(INSTANCE, key="k1")),
        id_of(said(TASK), replace(INSTANCE, key="k2")),
        id_of(said(TASK), replace(INSTANCE, user="ann", own_names=frozenset({"instance"}))),
    ]
    assert len(set(found)) == len(found)
    assert id_of(said(TASK), INSTANCE) == id_of(said(TASK), replace(INSTANCE, user="ann", run="other"))
    assert id_of(said(TASK), INSTANCE) != id_of(said(TASK), replace(INSTANCE, batch="other"))


def test_vectors_have_no_session() -> None:
    assert session(Request(operation=Operation.EMBEDDINGS, inputs=("a",), session="s")) is None


def test_a_session_s_id_is_short_and_says_nothing() -> None:
    found = id_of(Request(messages=(TASK,), session="secret-project"))
    assert found is not None
    assert len(found) == 20
    assert set(found) <= set("0123456789abcdef")


def test_the_digest_of_an_instance() -> None:
    assert instance_id(NOBODY, model="m") is None
    assert instance_id(INSTANCE, model="m") == instance_id(replace(INSTANCE, run="other"), model="m")
    assert instance_id(INSTANCE, model="m") != instance_id(INSTANCE, model="n")
    alone = replace(INSTANCE, batch=None)
    assert instance_id(alone, model="m") != instance_id(replace(alone, run="other"), model="m")
