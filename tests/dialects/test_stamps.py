"""Stamps: state travels with the name of its writer, and a text without a stamp is the client's own."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conversations import OWNERS
from paymaster.dialects.neutral import State
from paymaster.dialects.state import id_with, is_for, is_stamp, owner_of, read_stamp, split_id, stamped
from paymaster.registry.models import Dialect

STATES = st.builds(
    State, value=st.text(st.characters(exclude_categories=("Cs",))), dialect=st.sampled_from(Dialect), owner=st.sampled_from(OWNERS)
)


@given(state=STATES, dialect=st.sampled_from(Dialect))
def test_a_stamp_is_read_as_it_was_written(state: State, dialect: Dialect) -> None:
    assert read_stamp(stamped(state), dialect) == state
    assert split_id(id_with("call_1", state), dialect) == ("call_1", state)
    assert is_stamp(stamped(state))
    assert re.fullmatch("[A-Za-z0-9_-]+", id_with("call_1", state))


@pytest.mark.parametrize(
    "text", ["", "sig", "pm1_x", f"pm1_{OWNERS[0]}_x_YQ", f"pm1_{OWNERS[0]}_c_\xff", f"pm1_{OWNERS[0]}_c_gA", f"pm1_{OWNERS[0]}_c_Y"]
)
def test_a_text_without_a_whole_stamp_is_of_an_unknown_writer(text: str) -> None:
    state = read_stamp(text, Dialect.MESSAGES)
    assert state == State(value=text, dialect=Dialect.MESSAGES)
    assert stamped(state) == text
    assert not is_stamp(text)
    assert split_id(text, Dialect.CHAT) == (text, None)
    assert split_id(f"call_1__{text}", Dialect.CHAT) == (f"call_1__{text}", None)


def test_state_is_for_its_writer_or_if_unknown_for_all_of_its_dialect() -> None:
    owner = owner_of("openai", "gpt-5")
    known, unknown = State(value="s", dialect=Dialect.CHAT, owner=owner), State(value="s", dialect=Dialect.CHAT)
    assert is_for(known, owner=owner, dialect=Dialect.CHAT)
    assert is_for(unknown, owner=owner, dialect=Dialect.CHAT)
    assert not is_for(known, owner=OWNERS[0], dialect=Dialect.CHAT)
    assert not is_for(unknown, owner=owner, dialect=Dialect.MESSAGES)
