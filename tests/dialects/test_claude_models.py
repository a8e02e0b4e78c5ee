"""What each generation of Claude takes, and a body fitted to it."""

from __future__ import annotations

import pytest

from paymaster.dialects.messages.claude_models import fit_body, generation_of, signs_thoughts

HELLO = [{"role": "user", "content": "Hello"}]
ADAPTIVE, BUDGET = {"type": "adaptive"}, {"type": "enabled", "budget_tokens": 4_096}
CALL = {"type": "tool_use", "id": "a", "name": "ls", "input": {}}
RESULT = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a"}]}
THOUGHT = {"type": "thinking", "thinking": "x", "signature": "s"}


@pytest.mark.parametrize(
    ("model_id", "since"),
    [
        ("claude-opus-4-8", (4, 8)), ("claude-sonnet-5", (4, 8)), ("claude-haiku-5-5-20260901", (4, 8)), ("claude-mythos-preview", (4, 8)),
        ("claude-fable-5-1", (4, 8)), ("claude-opus-4-7-20260416", (4, 7)), ("anthropic/claude-opus-4.7", (4, 7)),
        ("claude-sonnet-4-6", (4, 6)), ("claude-opus-4-5-20251101", (4, 5)), ("claude-sonnet-4-5-20250929", (3, 7)),
        ("claude-sonnet-4-20250514", (3, 7)), ("claude-3-7-sonnet-latest", (3, 7)), ("claude-3-5-haiku-20241022", (0, 0)),
        ("claude-instant-1.2", (0, 0)), ("us.anthropic.claude-opus-4-8-v1:0", (4, 8)),
    ],
)  # fmt: skip
def test_a_model_has_its_generation(model_id: str, since: tuple[int, int]) -> None:
    found = generation_of(model_id)
    assert found is not None
    assert found.since == since
    assert signs_thoughts(model_id)


def test_a_model_that_is_no_claude_takes_everything() -> None:
    body = {"messages": [{"role": "system", "content": "x"}], "thinking": ADAPTIVE, "temperature": 0}
    assert fit_body(body, "deepseek-v4-pro").body == body
    assert not signs_thoughts("deepseek-v4-pro")


@pytest.mark.parametrize(
    ("model_id", "given", "expected", "dropped"),
    [
        ("claude-opus-4-8", {"thinking": ADAPTIVE, "output_config": {"effort": "xhigh"}}, None, ()),
        ("claude-opus-4-8", {"thinking": BUDGET}, {"thinking": ADAPTIVE, "output_config": {"effort": "high"}}, ()),
        (
            "claude-opus-4-8",
            {"thinking": {**BUDGET, "display": "omitted"}, "output_config": {"effort": "low"}},
            {"thinking": {**ADAPTIVE, "display": "omitted"}, "output_config": {"effort": "low"}},
            (),
        ),
        ("claude-opus-4-8", {"thinking": {"type": "enabled"}}, {"thinking": ADAPTIVE}, ()),
        ("claude-sonnet-4-6", {"thinking": BUDGET}, None, ()),
        (
            "claude-sonnet-4-6",
            {"thinking": ADAPTIVE, "output_config": {"effort": "xhigh"}},
            {"thinking": ADAPTIVE, "output_config": {"effort": "high"}},
            ("output_config.effort",),
        ),
        ("claude-opus-4-5", {"output_config": {"effort": "medium"}}, None, ()),
        (
            "claude-sonnet-4-5",
            {"thinking": {**ADAPTIVE, "display": "summarized"}, "output_config": {"effort": "high"}, "max_tokens": 100_000},
            {"thinking": {"type": "enabled", "budget_tokens": 4_096, "display": "summarized"}, "max_tokens": 100_000},
            (),
        ),
        ("claude-sonnet-4-5", {"thinking": ADAPTIVE}, {"thinking": {"type": "enabled", "budget_tokens": 2_048}}, ()),
        (
            "claude-sonnet-4-5",
            {"thinking": ADAPTIVE, "max_tokens": 3_000},
            {"thinking": {"type": "enabled", "budget_tokens": 1_500}, "max_tokens": 3_000},
            (),
        ),
        ("claude-sonnet-4-5", {"thinking": ADAPTIVE, "max_tokens": 1_024}, {"max_tokens": 1_024}, ("thinking",)),
        (
            "claude-sonnet-4-5",
            {"thinking": ADAPTIVE, "max_tokens": 1_025},
            {"thinking": {**BUDGET, "budget_tokens": 1_024}, "max_tokens": 1_025},
            (),
        ),
        (
            "claude-sonnet-4-5",
            {"output_config": {"effort": "low", "format": {"type": "json_schema"}}},
            {"output_config": {"format": {"type": "json_schema"}}},
            ("output_config.effort",),
        ),
        ("claude-3-5-haiku-latest", {"thinking": ADAPTIVE, "output_config": {"effort": "low"}}, {}, ("thinking", "output_config.effort")),
        ("claude-3-5-haiku-latest", {"thinking": BUDGET}, {}, ("thinking",)),
        ("claude-sonnet-4-6", {"thinking": ADAPTIVE, "temperature": 0.5, "top_k": 3, "top_p": 0.99}, {"thinking": ADAPTIVE, "top_p": 0.99},
         ("temperature", "top_k")),
        ("claude-sonnet-4-6", {"thinking": ADAPTIVE, "temperature": 1}, None, ()),
        ("claude-sonnet-4-6", {"temperature": 0.5}, None, ()),
        ("claude-sonnet-4-6", {"thinking": BUDGET, "tool_choice": {"type": "any"}}, {"tool_choice": {"type": "any"}}, ("thinking",)),
    ],
)  # fmt: skip
def test_a_body_has_what_the_model_takes(
    model_id: str, given: dict[str, object], expected: dict[str, object] | None, dropped: tuple[str, ...]
) -> None:
    found = fit_body({"messages": HELLO, **given}, model_id)
    assert found.body == {"messages": HELLO, **(given if expected is None else expected)}
    assert found.dropped == dropped


@pytest.mark.parametrize(
    ("content", "thinks"),
    [([CALL], False), ([THOUGHT, CALL], True), ([{"type": "redacted_thinking", "data": "x"}, CALL], True), ("Hi.", True)],
)
def test_a_budget_for_thinking_needs_a_thought_before_the_calls(content: object, thinks: bool) -> None:
    messages = [*HELLO, {"role": "assistant", "content": content}, RESULT]
    found = fit_body({"messages": messages, "thinking": BUDGET}, "claude-sonnet-4-6")
    assert ("thinking" in found.body, found.dropped) == (thinks, () if thinks else ("thinking",))
    assert "thinking" in fit_body({"messages": messages, "thinking": ADAPTIVE}, "claude-sonnet-4-6").body


CLEAR = {"type": "clear_thinking_20251015", "keep": "all"}
CALLED = [{"type": "tool_use", "id": "t", "name": "run", "input": {}}]


@pytest.mark.parametrize(
    ("given", "content", "managed"),
    [
        ([CLEAR], "x", [CLEAR]),
        ([CLEAR], CALLED, None),
        ([CLEAR, {"type": "clear_tool_uses_20250919"}], CALLED, [{"type": "clear_tool_uses_20250919"}]),
        (None, CALLED, None),
    ],
)
def test_edits_of_thoughts_go_with_the_thinking(given: object, content: object, managed: object) -> None:
    messages = [*HELLO, {"role": "assistant", "content": content}]
    managing = {"context_management": {"edits": given}} if given else {}
    found = fit_body({"messages": messages, "thinking": BUDGET, **managing}, "claude-sonnet-4-5").body
    assert (found.get("context_management") or {}).get("edits") == managed  # type: ignore[attr-defined]  # it is an object


def test_a_thought_that_nobody_signed_is_left_out() -> None:
    unsigned = {"type": "thinking", "thinking": "x", "signature": ""}
    messages = [
        *HELLO,
        {"role": "assistant", "content": [unsigned]},
        {"role": "assistant", "content": [unsigned, THOUGHT, {"type": "text", "text": "So."}]},
    ]
    found = fit_body({"messages": messages}, "claude-opus-4-8")
    assert found.body["messages"] == [*HELLO, {"role": "assistant", "content": [THOUGHT, {"type": "text", "text": "So."}]}]
    assert found.dropped == ("messages.thinking",)


@pytest.mark.parametrize(("model_id", "is_kept"), [("claude-opus-4-8", True), ("claude-opus-4-7", False)])
def test_instructions_within_a_conversation_become_a_user_s_where_they_are_not_taken(model_id: str, is_kept: bool) -> None:
    mark = {"type": "ephemeral"}
    later = {"role": "system", "content": [{"type": "text", "text": "Be brief.", "cache_control": mark}, {"type": "tool_addition"}]}
    found = fit_body({"messages": [*HELLO, later]}, model_id).body["messages"]
    marked = {"type": "text", "text": "<system>\nBe brief.\n</system>", "cache_control": mark}
    assert found == [*HELLO, later if is_kept else {"role": "user", "content": [marked]}]
    after_an_answer = [*HELLO, {"role": "assistant", "content": "Yes."}, {"role": "system", "content": "Be brief."}]
    assert fit_body({"messages": after_an_answer}, model_id).body["messages"][2]["role"] == "user"  # type: ignore[index]  # it is a list
    assert fit_body({"messages": [*HELLO, {"role": "system", "content": None}]}, "claude-opus-4-7").body["messages"] == HELLO
    assert fit_body({"messages": None}, model_id).body["messages"] == []
