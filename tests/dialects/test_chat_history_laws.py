"""Laws that hold for every history and every endpoint: a fitted history fits, calls stay paired, and no word is lost."""

from dataclasses import fields

from hypothesis import given
from hypothesis import strategies as st

from chat_histories import EPHEMERAL, IMAGE, LONG_ID, LONG_NAME, History, acts, call, result, text
from paymaster.dialects.chat.fitting.history import fit_history
from paymaster.registry.compat import CALL_IDS, EXTRAS, REQUIREMENTS, Compat
from paymaster.registry.compat_facts import BY_PROVIDER, compat_facts

REASONING = frozenset({"reasoning_content"})
WORDS = st.sampled_from(["", " ", "a", "b\n", "long text"])
IDS = st.sampled_from(["c1", "call_2", "functions.ls:0", LONG_ID, "abcdefGH9"])
EXTRA = st.dictionaries(st.sampled_from([*EXTRAS, "name", "x"]), st.sampled_from(["t", "", None]), max_size=2)
PARTS = st.lists(st.one_of(WORDS.map(text), st.just(IMAGE), st.just(text("m", cache_control=EPHEMERAL))), max_size=3)
CALLS = st.lists(st.builds(call, IDS, st.sampled_from(["ls", LONG_NAME])), max_size=3, unique_by=lambda each: each["id"])
MESSAGES = st.one_of(
    st.builds(lambda role, content, more: {**more, "role": role, "content": content},
              st.sampled_from(["user", "assistant", "system", "developer"]), st.one_of(WORDS, PARTS), EXTRA),
    st.builds(lambda calls, more: {**more, **acts(*calls)}, CALLS.filter(bool), EXTRA),
    st.builds(result, IDS, st.one_of(WORDS, PARTS)),
)  # fmt: skip
HISTORIES = st.lists(MESSAGES, max_size=7)
SWITCHES = [each.name for each in fields(Compat) if each.type == "bool" or each.type is bool]
COMPATS = st.one_of(
    st.sampled_from([compat_facts(provider_id, "m") for provider_id in BY_PROVIDER]),
    st.builds(
        lambda switches, reads, requires, call_id, limits: Compat(
            **switches, reads=reads | (requires & REASONING), requires=requires, call_id=call_id, **limits
        ),
        st.fixed_dictionaries({name: st.booleans() for name in SWITCHES}),
        st.frozensets(st.sampled_from(EXTRAS)),
        st.frozensets(st.sampled_from(REQUIREMENTS)),
        st.sampled_from(CALL_IDS),
        st.fixed_dictionaries({name: st.sampled_from([None, 40]) for name in ("call_id_limit", "tool_name_limit")}),
    ),
)


def pairs(messages: History) -> list[tuple[int, int]]:
    """Which call each result belongs to, by the numbers of both in their order; -1 for none."""
    calls: dict[object, int] = {}
    found, numbered = [], 0
    for message in messages:
        for each in message.get("tool_calls") or ():
            calls[each["id"]] = numbered
            numbered += 1
        if message["role"] == "tool":
            found.append(calls.get(message["tool_call_id"], -1))
    return sorted(zip(found, range(len(found)), strict=True)) if -1 in found else [(each, 0) for each in sorted(found)]


def words(messages: History) -> list[str]:
    """Every word of every text, sorted: messages move, but no word is lost."""
    contents = [message.get("content") for message in messages]
    texts = [content if isinstance(content, str) else part.get("text", "") for content in contents
             for part in ([{}] if isinstance(content, str) else content or ())]  # fmt: skip
    return sorted(" ".join(texts).split())


@given(HISTORIES, COMPATS)
def test_a_fitted_history_fits(history: History, compat: Compat) -> None:
    once = fit_history(history, compat).messages
    assert fit_history(once, compat).messages is once


@given(HISTORIES, COMPATS)
def test_calls_and_results_stay_paired_and_arguments_as_they_are(history: History, compat: Compat) -> None:
    fitted = fit_history(history, compat).messages
    assert [number for number, _ in pairs(fitted)] == [number for number, _ in pairs(history)]
    calls = [[each["function"]["arguments"] for message in side for each in message.get("tool_calls") or ()] for side in (history, fitted)]
    assert calls[0] == calls[1]
    ids = [{each["id"] for message in side for each in message.get("tool_calls") or ()} for side in (history, fitted)]
    assert len(ids[0]) == len(ids[1])


@given(HISTORIES, COMPATS)
def test_no_word_of_a_text_is_lost(history: History, compat: Compat) -> None:
    left = words(fit_history(history, compat).messages)
    for word in words(history):
        assert word in left
        left.remove(word)
