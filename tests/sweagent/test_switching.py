"""Real SWE-agent when the model changes in a trajectory: fields that the next model can't read are dropped, all others are sent."""

PRIMARY_READS_MARKERS = """    marked:
      {provider: openrouter, model_id: m-marked, base_url: 'http://models.example.invalid:8123/v1', api_key_env: OPENAI_API_KEY,
       usd_per_1m_input: 1, usd_per_1m_output: 4, max_output_tokens: 100, max_input_tokens: 100000, capabilities: [function_calling],
       fallbacks: [fallback]}
"""
MARKERS = """    marked: {provider: openrouter, model_id: m-marked, base_url: 'http://127.0.0.1:8123/v1', api_key_env: OPENAI_API_KEY,
             usd_per_1m_input: 1, usd_per_1m_output: 4, max_output_tokens: 100, max_input_tokens: 100000, capabilities: [function_calling],
             fallbacks: [fallback]}
"""
MARKERS = '--agent.history_processors=[{"type": "cache_control", "last_n_messages": 2}]'


def test_a_switch_keeps_tool_calls_and_drops_fields_that_the_next_model_can_not_read(bench):
    task = bench.task(looks=3, marker="thinks=1")
    flags = [f"--model-registry={bench.registry(more=PRIMARY_READS_MARKERS)}", "--agent.model.name=marked", MARKERS]
    bench.single(task, *flags)
    outcome = bench.run("--fault=m-marked=down@3")
    assert outcome.statuses == [0], outcome.logs[0][-3000:]
    assert outcome.has_own_patch("toy-1")
    first = [call for call in outcome.calls if call["model"] == "m-marked" and call["status"] == 200]
    later = [call for call in outcome.calls if call["model"] == "m-fallback"]
    assert len(first) == 3
    assert all(call["marked"] for call in first)
    assert not any(call["marked"] or call["thinking"] for call in later)
    for call in outcome.calls:
        assert call["ids"] == call["answered_ids"] == [f"call_{step}" for step in range(call["step"])]
    steps = outcome.trajectory("toy-1")["trajectory"]
    assert [note["model"] for step in steps for note in step["extra_info"]["paymaster"]] == ["marked"] * 3 + ["fallback"] * len(later)
    assert "without messages.cache_control" in outcome.logs[0]


def test_sampling_that_is_not_set_comes_from_each_models_params(bench):
    registry = bench.registry(primary=", params: {temperature: 0.9}")
    bench.single(bench.task(), f"--model-registry={registry}")
    outcome = bench.run("--fault=m-primary=down@1")
    assert outcome.statuses == [0], outcome.logs[0][-3000:]
    values = {call["model"]: call["values"] for call in outcome.calls}
    assert values["m-primary"]["temperature"] == 0.9
    assert "top_p" not in values["m-primary"]
    assert not {"temperature", "top_p"} & values["m-fallback"].keys()
