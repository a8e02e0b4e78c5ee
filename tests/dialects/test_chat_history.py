"""Histories as endpoints take them: what goes in, what is sent, what is named as lost."""

from collections.abc import Mapping

import pytest

from chat_histories import EPHEMERAL, IMAGE, LONG_NAME, USER, History, acts, call, result, says, signed, system, text
from paymaster.dialects.chat.fitting.history import fit_history
from paymaster.registry.compat import Compat

STAND_IN = signed("skip_thought_signature_validator")
REASONING = frozenset({"reasoning_content"})
GEMINI = Compat(reads=frozenset({"extra_content"}), requires=frozenset({"thought_signature"}))
DEEPSEEK = Compat(reads=REASONING, requires=REASONING)
STRICT = Compat(unknown_fields=False)
MARKED = [{"role": "user", "content": [text("u", cache_control=EPHEMERAL)]}]

ODD = [{"role": "assistant", "tool_calls": ["x", {"id": 5}, {"function": "f"}]}, {**USER, "content": 5}, result("c1")]

CASES: Mapping[str, tuple[Compat, History, History, tuple[str, ...]]] = {
    "a field of one server is left out and named": (
        Compat(),
        [says("a", reasoning_content="r", thinking_blocks=[{}])],
        [says("a")],
        ("messages.reasoning_content", "messages.thinking_blocks"),
    ),
    "also in a part": (Compat(), MARKED, [{"role": "user", "content": [text("u")]}], ("messages.cache_control",)),
    "also in a call and in its function": (
        Compat(),
        [acts({**call(**signed("s")), "function": {"name": "ls", "arguments": "{}", "provider_specific_fields": {"a": 1}}}), result()],
        [acts({**call(), "function": {"name": "ls", "arguments": "{}"}}), result()],
        ("messages.extra_content", "messages.provider_specific_fields"),
    ),
    "an answer that was cut behind its thought is left out": (
        Compat(reads=REASONING),
        [USER, says(None, reasoning_content="r"), USER, {"role": "assistant"}, says(None, refusal="no"), acts(), result()],
        [USER, USER, says(None, refusal="no"), acts(), result()],
        (),
    ),
    "an empty one is not named": (Compat(), [says("a", reasoning_content="", reasoning=None)], [says("a")], ()),
    "a thinking part is left out": (
        Compat(),
        [says([{"type": "thinking", "thinking": "t"}, text("b"), "odd"])],
        [says([text("b"), "odd"])],
        ("messages.thinking_blocks",),
    ),
    "a reader gets them": (Compat(reads=frozenset({"cache_control"})), MARKED, MARKED, ()),
    "a thought under another name": (DEEPSEEK, [acts(reasoning="why")], [acts(reasoning_content="why")], ()),
    "and the other way round": (Compat(reads=frozenset({"reasoning"})), [says("a", reasoning_content="r")], [says("a", reasoning="r")], ()),
    "a server that reads both": (
        Compat(reads=REASONING | {"reasoning"}),
        [says("a", reasoning_content="r")],
        [says("a", reasoning_content="r", reasoning="r")],
        (),
    ),
    "its own thought stays": (DEEPSEEK, [acts(reasoning_content="why"), result()], [acts(reasoning_content="why"), result()], ()),
    "a lost thought has a stand-in": (DEEPSEEK, [acts(), result(), says("a")], [acts(reasoning_content=" "), result(), says("a")], ()),
    "an empty one too": (DEEPSEEK, [acts(reasoning_content="")], [acts(reasoning_content=" ")], ()),
    "a signature stays": (GEMINI, [acts(call(**signed("s"))), result()], [acts(call(**signed("s"))), result()], ()),
    "the first call of an unsigned turn has a stand-in": (
        GEMINI,
        [acts(call("a"), call("b")), result("a"), result("b")],
        [acts(call("a", **STAND_IN), call("b")), result("a"), result("b")],
        (),
    ),
    "beside what is there": (
        GEMINI,
        [acts(call(extra_content={"x": 1, "google": {"y": 2}}))],
        [acts(call(extra_content={"x": 1, "google": {"y": 2, "thought_signature": "skip_thought_signature_validator"}}))],
        (),
    ),
    "a signature in litellm's field": (
        GEMINI,
        [acts(call(provider_specific_fields={"thought_signature": "s"}))],
        [acts(call(**signed("s")))],
        ("messages.provider_specific_fields",),
    ),
    "a reader that does not require one": (Compat(reads=frozenset({"extra_content"})), [acts(), result()], [acts(), result()], ()),
    "unknown fields": (
        STRICT,
        [says("a", annotations=[], refusal=None, audio={"id": "x"}), {**USER, "x": 1}],
        [says("a"), USER],
        ("messages.audio", "messages.x"),
    ),
    "unknown fields of calls": (STRICT, [acts(call(index=0, x=1)), result()], [acts(), result()], ("messages.x",)),
    "a refusal is what was said": (STRICT, [says(None, refusal="no")], [says("no")], ()),
    "a refusal beside a text": (STRICT, [says("a", refusal="no")], [says("a")], ("messages.refusal",)),
    "names": (Compat(names=False), [{**USER, "name": "bob"}], [USER], ("messages.name",)),
    "no developer": (Compat(developer_role=False), [system("s", "developer"), USER], [system("s"), USER], ()),
    "system first": (
        Compat(system_first=True),
        [system("s"), USER, system("t"), says("a")],
        [system("s"), USER, {"role": "user", "content": "t"}, says("a")],
        ("messages.system",),
    ),
    "system first, from the first": (
        Compat(system_first=True),
        [USER, system("t")],
        [USER, {"role": "user", "content": "t"}],
        ("messages.system",),
    ),
    "several systems first": (Compat(system_first=True), [system("s"), system("t", "developer"), USER], [system("s\n\nt"), USER], ()),
    "several systems first, in parts": (
        Compat(system_first=True),
        [system([text("s")]), system("t"), USER],
        [system([text("s"), text("t")]), USER],
        (),
    ),
    "nothing but systems": (Compat(system_first=True), [system("s"), system("")], [system("s")], ()),
    "text as text": (
        Compat(text_content=True),
        [system([text("s")]), USER, acts(call(), content=[text("a"), text(""), text("b")]), result("c1", [text("r")]), says([])],
        [system("s"), USER, acts(content="a\nb"), result("c1", "r"), says("")],
        (),
    ),
    "an image stays in a list": (
        Compat(text_content=True),
        [{"role": "user", "content": [text("u"), IMAGE]}],
        [{"role": "user", "content": [text("u"), IMAGE]}],
        (),
    ),
    "results behind their calls": (
        Compat(),
        [acts(call("a"), call("b")), USER, result("a"), result("b"), says("x")],
        [acts(call("a"), call("b")), result("a"), result("b"), USER, says("x")],
        (),
    ),
    "a result behind the next turn": (
        Compat(),
        [acts(call("a")), says("x"), acts(call("b")), result("b"), result("a")],
        [acts(call("a")), result("a"), says("x"), acts(call("b")), result("b")],
        (),
    ),
    "no result is made up, and none is left out": (Compat(), [result("z"), acts(), USER], [result("z"), acts(), USER], ()),
    "images behind the results": (
        Compat(),
        [acts(call("a"), call("b")), result("a", [text("r"), IMAGE]), result("b", [IMAGE]), says("x")],
        [
            acts(call("a"), call("b")),
            result("a", [text("r")]),
            result("b", "(The image follows.)"),
            {"role": "user", "content": [text("Result of tool call a:"), IMAGE, text("Result of tool call b:"), IMAGE]},
            says("x"),
        ],
        (),
    ),
    "images at the end": (
        Compat(),
        [acts(), result("c1", [IMAGE])],
        [acts(), result("c1", "(The image follows.)"), {"role": "user", "content": [text("Result of tool call c1:"), IMAGE]}],
        (),
    ),
    "images in results where they are taken": (
        Compat(images_in_tools=True),
        [acts(), result("c1", [IMAGE])],
        [acts(), result("c1", [IMAGE])],
        (),
    ),
    "empty texts": (
        Compat(empty_text=False),
        [
            system(" "),
            {"role": "user", "content": [text(""), text("u")]},
            says(""),
            {"role": "user", "content": ""},
            acts(content=""),
            result("c1", ""),
            says(None),
        ],
        [{"role": "user", "content": [text("u")]}, {"role": "user", "content": "(no text)"}, acts(), result("c1", "")],
        (),
    ),
    "roles in turn": (
        Compat(alternating_roles=True),
        [system("s"), USER, {"role": "user", "content": [text("v")]}, says("a", reasoning="1"), acts(reasoning="2"), result(), USER, USER],
        [
            system("s"),
            {"role": "user", "content": [text("u"), text("v")]},
            {**acts(content="a"), "role": "assistant"},
            result(),
            {"role": "user", "content": "u\n\nu"},
        ],
        ("messages.reasoning",),
    ),
    "roles in turn, with thoughts": (
        Compat(alternating_roles=True, reads=REASONING),
        [USER, says("a", reasoning_content="1"), says("b", reasoning_content="2")],
        [USER, says("a\n\nb", reasoning_content="1\n2")],
        (),
    ),
    "an answer behind a result": (Compat(user_after_tool=False), [acts(), result(), USER], [acts(), result(), says("OK."), USER], ()),
    "Mistral's ids": (
        Compat(call_id="mistral"),
        [acts(call("call_1"), call("abcdefGH9")), result("call_1"), result("abcdefGH9")],
        [acts(call("RksXkbv4v"), call("abcdefGH9")), result("RksXkbv4v"), result("abcdefGH9")],
        (),
    ),
    "Anthropic's ids": (
        Compat(call_id="anthropic"),
        [acts(call("functions.ls:0")), result("functions.ls:0")],
        [acts(call("functions_ls_0_dd50e5a0")), result("functions_ls_0_dd50e5a0")],
        (),
    ),
    "long ids": (
        Compat(call_id_limit=20),
        [acts(call("x" * 21)), result("x" * 21)],
        [acts(call("AZ2hdWe4CzUO8B0BYCBh")), result("AZ2hdWe4CzUO8B0BYCBh")],
        (),
    ),
    "long names": (
        Compat(tool_name_limit=64),
        [acts(call("c1", LONG_NAME)), result()],
        [acts(call("c1", f"{LONG_NAME[:55]}_916c3644")), result()],
        (),
    ),
    "an assistant that said nothing": (Compat(empty_text=False), [USER, says(None), acts()], [USER, acts()], ()),
    "no messages": (Compat(alternating_roles=True, developer_role=False), [system("", "developer")], [system("")], ()),
    "a marker of a text": (Compat(text_content=True, reads=frozenset({"cache_control"})), MARKED, [USER], ("messages.cache_control",)),
    "no calls at all": (Compat(), [says("a", tool_calls=[]), says("b", tool_calls=None)], [says("a"), says("b")], ()),
    "arguments are JSON text": (
        Compat(),
        [acts(*({**call(), "function": {"name": "ls", "arguments": given}} for given in ("", None, {"a": 1}))), result()],
        [acts(*({**call(), "function": {"name": "ls", "arguments": sent}} for sent in ("{}", "{}", '{"a": 1}'))), result()],
        (),
    ),
    "nothing left": (Compat(empty_text=False, alternating_roles=True), [system(" ")], [], ()),
    "odd messages": (GEMINI, ODD, ODD, ()),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_history_is_sent_as_its_endpoint_takes_it(case: tuple[Compat, History, History, tuple[str, ...]]) -> None:
    compat, before, after, lost = case
    given_as = repr(before)
    fitted = fit_history(before, compat)
    assert list(fitted.messages) == list(after)
    assert fitted.lost == lost
    assert (fitted.messages is before) == (list(before) == list(after))
    assert repr(before) == given_as  # the caller's own messages are left alone
