"""SWE-agent's history and outputs, to and from a request."""

from paymaster.agents.sweagent.messages import as_messages, as_output, request_params
from paymaster.flow.replies import Reply

CALL = {"id": "c1", "type": "function", "function": {"name": "bash", "arguments": "{}"}}


def reply(**message):
    body = {"choices": [{"index": 0, "message": {"role": "assistant", **message}, "finish_reason": "stop"}]}
    return Reply(body=body, model="m", usage=None, finish_reason="stop", cost_nanousd=0, attempts=(), call_id="x")


def test_a_history_becomes_messages_with_calls_results_thinking_and_cache_markers():
    thinking = [{"type": "thinking", "thinking": "hm", "signature": "s"}]
    history = [
        {"role": "system", "content": "Be brief.", "agent": "main", "message_type": "system_prompt"},
        {"role": "assistant", "content": "I look.", "thought": "", "action": "ls", "tool_calls": [CALL], "thinking_blocks": thinking},
        {"role": "tool", "content": "calc.py", "tool_call_ids": ["c1"], "cache_control": {"type": "ephemeral"}},
        {"role": "assistant", "content": "Done.", "tool_calls": None, "thinking_blocks": []},
        {"role": "assistant", "content": "Nothing called.", "tool_calls": []},
    ]
    assert as_messages(history) == [
        {"role": "system", "content": "Be brief."},
        {"role": "assistant", "content": "I look.", "tool_calls": [CALL], "thinking_blocks": thinking},
        {"role": "tool", "content": "calc.py", "tool_call_id": "c1", "cache_control": {"type": "ephemeral"}},
        {"role": "assistant", "content": "Done."},
        {"role": "assistant", "content": "Nothing called."},
    ]


def test_system_messages_become_user_messages_if_configured():
    history = [{"role": "system", "content": "a"}, {"role": "user", "content": "b"}]
    assert [message["role"] for message in as_messages(history, system_as_user=True)] == ["user", "user"]


def test_images_stay_parts_of_their_message():
    parts = [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}]
    assert as_messages([{"role": "user", "content": parts}]) == [{"role": "user", "content": parts}]


def test_an_answer_becomes_an_output_with_its_tool_calls():
    assert as_output(reply(content=None, tool_calls=[CALL]), with_tool_calls=True) == {"message": "", "tool_calls": [CALL]}
    assert as_output(reply(content="Hi"), with_tool_calls=True) == {"message": "Hi", "tool_calls": []}
    assert as_output(reply(content="Hi", tool_calls=[CALL]), with_tool_calls=False) == {"message": "Hi"}


def test_thinking_and_text_in_parts_are_kept():
    blocks = [{"type": "thinking", "thinking": "hm", "signature": "s"}]
    parts = [{"type": "thinking", "thinking": []}, {"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert as_output(reply(content=parts, thinking_blocks=blocks), with_tool_calls=False) == {"message": "ab", "thinking_blocks": blocks}


def test_a_thought_that_its_model_wants_back_is_kept_by_the_history():
    output = as_output(reply(content="Hi", reasoning_content="why", tool_calls=[CALL]), with_tool_calls=True)
    item = {"role": "assistant", "content": output["message"], "tool_calls": [CALL], "thinking_blocks": output["thinking_blocks"]}
    assert as_messages([item]) == [{"role": "assistant", "content": "Hi", "tool_calls": [CALL], "reasoning_content": "why"}]


def test_request_parameters_omit_what_the_registry_decides():
    kwargs = {"reasoning_effort": "low", "num_retries": 5, "timeout": 3, "extra_headers": {}, "extra_body": {"top_k": 5}}
    assert request_params(kwargs, max_output_tokens=None) == {"reasoning_effort": "low", "top_k": 5}


def test_litellms_drop_params_means_the_same_here():
    assert request_params({"drop_params": True, "extra_body": {"extra_body": {"google": {}}}}, max_output_tokens=None) == {
        "drop_params": True, "google": {}
    }  # fmt: skip


def test_an_output_limit_of_the_config_is_sent_unless_the_request_has_one():
    assert request_params({}, max_output_tokens=50) == {"max_tokens": 50}
    assert request_params({}, max_output_tokens=0) == {}
    assert request_params({"max_completion_tokens": 9}, max_output_tokens=50) == {"max_completion_tokens": 9}
