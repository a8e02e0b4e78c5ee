"""The simulated provider: its scripts, its answers and its exact bill, in virtual time and over real HTTP."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paymaster.errors import UsageMistake
from paymaster.flow.ports import ProviderReply
from paymaster.providers.scripted.bill import NEWEST_LINES, Bill, BillLine
from paymaster.providers.scripted.engine import ScriptEngine
from paymaster.providers.scripted.script import FaultKind, ScriptInvalid, load_script, parse_script
from paymaster.providers.scripted.server import ScriptedServer, serve_script
from paymaster.providers.scripted.transport import EngineCache, scripted_provider
from paymaster.providers.scripted.windows import WINDOW_MS, SlidingWindow
from paymaster.routing.failures import Billed, FailureKind
from paymaster.testing import ManualRuntime

PRICED = "prices: {usd_per_1m_input: 1000, usd_per_1k_output: 2, usd_per_1m_cache_read: 100}"


def drive(coroutine):
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("suspended")


def streamed(provider, call):
    async def collect():
        return [item async for item in provider.stream(call)]

    return drive(collect())


@pytest.fixture
def runtime() -> ManualRuntime:
    return ManualRuntime(now_ms=1_760_000_000_000)


@pytest.fixture
def script(runtime):
    """A provider that answers from a script in virtual time, and its engine."""

    def make(text: str):
        engine = ScriptEngine(parse_script(text), runtime.now_ms())
        return scripted_provider(engine, runtime), engine

    return make


def call_of(make_call, *, messages=None, limits=None, **body):
    body = {"messages": messages, **body} if messages is not None else body
    return make_call(None, adapter="scripted", body=body, limits=limits)


def message_of(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


# ---------------------------------------------------------------------------------------------------------- the format


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", 0, "a script is a map that begins with models:"),
        ("- 1", 0, "a script is a map"),
        ("models: {}", 1, "at least 1 item"),
        ("models: [", 1, "invalid YAML"),
        (
            "models:\n  m:\n    faults: [{kind: throttel}]",
            3,
            "unknown fault 'throttel'; the faults are throttle, throttle_no_header, quota",
        ),
        ("models:\n  m:\n    faults: [{kind: throttel}]", 3, "did you mean throttle?"),
        ("models:\n  m:\n    faults: [{kind: 7}]", 3, "unknown fault '7'"),
        ("models:\n  m:\n    anwsers: []", 3, "models.m.anwsers: unknown key (did you mean answers?)"),
        ("models:\n  m:\n    answers:\n      - txt: hi", 4, "models.m.answers[0].txt: unknown key (did you mean text?)"),
        ("models:\n  m:\n    answers: []", 3, "at least 1 item"),
        ("models:\n  m:\n    answers: [{text: a, when: {step: 1}}]", 2, "add one without it"),
        ("models:\n  m:\n    answers: [{when: {match: '('}}, {text: a}]", 3, "not a regular expression"),
        ("models:\n  m:\n    answers: [{tool_calls: [{arguments: {}}]}]", 3, "this key is required"),
        ("models:\n  m:\n    answers: [{tool_calls: [{name: f, arguments: [1]}]}]", 3, "models.m.answers[0].tool_calls[0].arguments"),
        ("models:\n  m:\n    prices: {usd_per_1m_input: -1}", 3, "a price in dollars, 0 or more"),
        ("models:\n  m:\n    limits: {rpm: 0}", 3, "greater than or equal to 1"),
        ("models:\n  m: {latency_ms: 0.5}", 2, "latency_ms"),
        ("models:\n  m: {}\n  m: {}", 3, "duplicate key"),
        ("modles: {}", 1, "unknown key (did you mean models?)"),
    ],
)
def test_a_mistake_in_a_script_is_reported_with_its_line(text, line, message):
    with pytest.raises(ScriptInvalid) as caught:
        parse_script(text, "script.yaml")
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"script.yaml:{line}: " if line else "script.yaml: ")
    assert caught.value.exit_status == 2


def test_all_mistakes_are_reported_at_once():
    with pytest.raises(ScriptInvalid) as caught:
        parse_script("models:\n  m:\n    faults: [{kind: x}]\n    limits: {rpm: no}\n    colour: red")
    assert [problem.line for problem in caught.value.problems] == [3, 4, 5]


def test_an_unreadable_script_is_reported(tmp_path):
    with pytest.raises(ScriptInvalid, match="file not found"):
        load_script(tmp_path / "none.yaml")
    with pytest.raises(ScriptInvalid, match="can't be read"):
        load_script(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"models: \xe9")
    with pytest.raises(ScriptInvalid, match="not UTF-8"):
        load_script(tmp_path / "latin.yaml")


# ---------------------------------------------------------------------------------------------------------- answering


def content(reply) -> str:
    assert isinstance(reply, ProviderReply), reply
    return reply.body["choices"][0]["message"]["content"]


def test_answers_follow_the_step_and_the_last_one_repeats(script, make_call):
    provider, _ = script("models: {m: {answers: [{text: one}, {text: two}]}}")
    history = [message_of("user", "go")]
    answers = []
    for _ in range(3):
        answers.append(content(drive(provider.send(call_of(make_call, messages=history)))))
        history += [message_of("assistant", answers[-1]), message_of("user", "next")]
    assert answers == ["one", "two", "two"]


def test_a_matching_condition_comes_before_the_step(script, make_call):
    provider, _ = script("""
models:
  m:
    answers:
      - {text: task three, when: {match: "task-3"}}
      - {text: second of four, when: {match: "task-4", step: 1}}
      - {text: about tools, when: {tools: true, last: "^use"}}
      - {text: plain}
""")
    tools = [{"type": "function", "function": {"name": "f"}}]
    parts = [{"role": "user", "content": [{"type": "text", "text": "do task-3"}, {"type": "image_url"}, "odd"]}]
    assert content(drive(provider.send(call_of(make_call, messages=parts)))) == "task three"
    assert content(drive(provider.send(call_of(make_call, messages=[message_of("user", "task-4")])))) == "plain"
    later = [message_of("user", "task-4"), message_of("assistant", "…"), message_of("user", "on")]
    assert content(drive(provider.send(call_of(make_call, messages=later)))) == "second of four"
    assert content(drive(provider.send(call_of(make_call, messages=[message_of("user", "use it")], tools=tools)))) == "about tools"
    assert content(drive(provider.send(call_of(make_call, messages=[message_of("user", "use it")])))) == "plain"


def test_the_star_answers_for_any_other_name_and_without_it_they_are_unknown(script, make_call):
    starred, _ = script("models: {a: {}, '*': {answers: [{text: anyone}]}}")
    assert content(drive(starred.send(call_of(make_call)))) == "anyone"
    strict, engine = script("models: {a: {}}")
    failure = drive(strict.send(call_of(make_call)))
    assert (failure.kind, failure.billed) == (FailureKind.UNKNOWN_MODEL, Billed.NO)
    assert engine.bill.models["m"].refused == 1


@pytest.mark.parametrize("stream", [False, True])
def test_the_bill_is_exact_to_the_nano_dollar(script, make_call, stream):
    provider, engine = script(
        f"models: {{m: {{{PRICED}, answers: [{{text: '12345678', usage: {{prompt_tokens: 10, cached_tokens: 4}}}}]}}}}"
    )
    outcome = streamed(provider, call_of(make_call))[-1] if stream else drive(provider.send(call_of(make_call)))
    # 6 uncached at $1000, 4 cached at $100, 2 out (8 bytes) at $2000 per million.
    assert engine.bill.billed_nanousd == 6 * 1_000_000 + 4 * 100_000 + 2 * 2_000_000
    assert (outcome.usage.input_tokens, outcome.usage.cache_read_tokens, outcome.usage.output_tokens) == (6, 4, 2)


def test_tokens_are_bytes_divided_and_rounded_up_tools_and_tool_calls_included(script, make_call):
    provider, engine = script("models: {m: {bytes_per_token: 3, answers: [{text: héllo, tool_calls: [{name: f, arguments: '{}'}]}]}}")
    call = {"id": "c", "type": "function", "function": {"name": "g", "arguments": "{}"}}
    messages = [message_of("user", "12345"), {"role": "assistant", "content": None, "tool_calls": [call]}, {"role": "tool", "content": "6"}]
    drive(provider.send(call_of(make_call, messages=messages, tools=[{"a": 1}])))
    line = engine.bill.lines[0]
    size = 5 + len(json.dumps([call], separators=(",", ":"))) + 1 + len(b'[{"a":1}]')
    assert line.prompt_tokens == -(-size // 3)
    assert line.completion_tokens == 3  # héllo is 6 bytes, f{} is 3
    assert line.step == 1


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_an_output_limit_cuts_the_answer_and_the_bill(script, make_call, name):
    provider, engine = script(
        "models: {m: {max_output_tokens: 50, answers: [{reasoning: '12345678', text: '123456789012', tool_calls: [{name: f}]}]}}"
    )
    reply = drive(provider.send(call_of(make_call, **{name: 3})))
    message = reply.body["choices"][0]["message"]
    assert (message["reasoning_content"], message["content"], reply.finish_reason) == ("12345678", "1234", "length")
    assert engine.bill.lines[0].completion_tokens == 3
    fixed, engine = script("models: {m: {max_output_tokens: 7, usage: {completion_tokens: 100, reasoning_tokens: 5}}}")
    reply = drive(fixed.send(call_of(make_call, n=2)))
    assert (reply.usage.completion_tokens, reply.usage.reasoning_tokens, reply.finish_reason) == (14, 5, "length")
    assert len(reply.body["choices"]) == 2


def test_a_refusal_and_a_finish_reason_are_sent_as_written(script, make_call):
    provider, _ = script("models: {m: {answers: [{refusal: no thanks, finish_reason: content_filter}]}}")
    for reply in (drive(provider.send(call_of(make_call))), streamed(provider, call_of(make_call))[-1]):
        assert reply.body["choices"][0]["message"]["refusal"] == "no thanks"
        assert reply.finish_reason == "content_filter"


# -------------------------------------------------------------------------------------------------------- virtual time


def test_latencies_take_only_the_runtimes_time(script, make_call, runtime):
    provider, _ = script("models: {m: {latency_ms: 60000, chunk_ms: 1000, chunks: 4, answers: [{text: abcdefgh}]}}")
    began, real = runtime.now_ms(), time.monotonic()
    limits = {"first_token_ms": 100_000, "between_chunks_ms": 5_000, "total_ms": 500_000}
    reply = streamed(provider, call_of(make_call, limits=limits))[-1]
    assert (reply.first_token_ms, reply.duration_ms, runtime.now_ms() - began) == (60_000, 65_000, 65_000)
    assert time.monotonic() - real < 1
    assert content(drive(provider.send(call_of(make_call, limits=limits)))) == "abcdefgh"


@pytest.mark.parametrize(
    ("fault", "limits", "named"),
    [
        ("silence", {"first_token_ms": 3_000}, "timeouts.first_token_s of the model is 3 s"),
        ("slow_first_token, delay_ms: 9000", {"first_token_ms": 3_000}, "timeouts.first_token_s of the model is 3 s"),
        ("stall", {"between_chunks_ms": 2_000}, "timeouts.between_chunks_s of the model is 2 s"),
        ("stall", {"total_ms": 4_000}, "timeouts.total_s of the model is 4 s"),
    ],
)
def test_time_limits_hold_in_virtual_time(script, make_call, runtime, fault, limits, named):
    provider, _ = script(f"models: {{m: {{chunk_ms: 10, answers: [{{text: abcdefgh}}], faults: [{{kind: {fault}}}]}}}}")
    began, real = runtime.now_ms(), time.monotonic()
    failure = streamed(provider, call_of(make_call, limits={"between_chunks_ms": 60_000, "total_ms": 100_000, **limits}))[-1]
    assert (failure.kind, failure.billed) == (FailureKind.TIMED_OUT, Billed.MAYBE)
    assert named in failure.message
    assert 2_000 <= runtime.now_ms() - began <= 4_100
    assert time.monotonic() - real < 1


def test_a_slow_chunk_ends_the_stream(script, make_call):
    provider, _ = script("models: {m: {chunk_ms: 9000, answers: [{text: abcdefgh}]}}")
    failure = streamed(provider, call_of(make_call, limits={"between_chunks_ms": 2_000}))[-1]
    assert failure.kind is FailureKind.TIMED_OUT


@pytest.mark.parametrize("fault", FaultKind)
def test_every_fault_is_the_same_in_process_and_over_http(script, make_call, serve, fault):
    text = f"models: {{m: {{answers: [{{text: There is a file and a folder.}}], faults: [{{kind: {fault}, times: 2, delay_ms: 900}}]}}}}"
    provider, engine = script(text)
    limits = {"first_token_ms": 400, "between_chunks_ms": 400, "total_ms": 500}
    inside = [drive(provider.send(call_of(make_call, limits=limits))), streamed(provider, call_of(make_call, limits=limits))[-1]]
    assert [getattr(outcome, "kind", type(outcome)) for outcome in inside] == [
        getattr(outcome, "kind", type(outcome)) for outcome in over_http(serve(text), make_call, limits)
    ]
    assert engine.summary()["requests"] == 2


def over_http(server: ScriptedServer, make_call, limits) -> list[object]:
    from paymaster.providers.openai_http import OpenAIHttp
    from paymaster.providers.sync_transport import SyncTransport

    provider = OpenAIHttp(SyncTransport(), now_ms=lambda: time.time_ns() // 1_000_000)
    call = make_call(server.base_url, limits=limits)
    outcomes = [drive(provider.send(call)), streamed(provider, call)[-1]]
    drive(provider.close())
    return outcomes


# -------------------------------------------------------------------------------------------------- when things go wrong


def kinds(provider, make_call, count: int) -> list[str]:
    outcomes = [drive(provider.send(call_of(make_call))) for _ in range(count)]
    return [str(getattr(outcome, "kind", "ok")) for outcome in outcomes]


def test_faults_are_counted_and_follow_each_other(script, make_call):
    provider, _ = script("models: {m: {faults: [{kind: throttle, after: 1, times: 2}, {kind: auth, after: 4, always: true}]}}")
    assert kinds(provider, make_call, 7) == ["ok", "throttled", "throttled", "ok", *["authentication"] * 3]


def test_an_outage_has_a_start_and_an_end(script, make_call, runtime):
    provider, _ = script("models: {m: {faults: [{kind: overloaded, from_s: 2, to_s: 10}]}}")
    seen = []
    for _ in range(6):
        seen += kinds(provider, make_call, 1)
        runtime.advance(2_000)
    assert seen == ["ok", *["overloaded"] * 4, "ok"]


def test_an_error_is_as_the_script_says_and_may_be_billed(script, make_call):
    provider, engine = script(
        f"models: {{m: {{{PRICED}, usage: {{prompt_tokens: 3}},"
        " faults: [{kind: throttle, retry_after_s: 2.5, message: 'slow, please', status: 503, billed: true}, {kind: throttle}]}}"
    )
    failure = drive(provider.send(call_of(make_call)))
    assert (failure.status, failure.retry_after_ms) == (503, 2_500)
    assert "slow, please" in failure.message
    assert engine.bill.billed_nanousd > 0
    assert drive(provider.send(call_of(make_call))).retry_after_ms == 1_000


def test_a_damaged_answer_is_billed_unless_the_script_says_otherwise(script, make_call):
    provider, engine = script(f"models: {{m: {{{PRICED}, faults: [{{kind: reset}}, {{kind: reset, billed: false}}]}}}}")
    kinds(provider, make_call, 2)
    assert [line.billed_nanousd > 0 for line in engine.bill.lines] == [True, False]
    assert [(line.status, line.fault) for line in engine.bill.lines] == [(0, "reset")] * 2


def test_a_prompt_beyond_the_context_is_refused(script, make_call):
    provider, _ = script("models: {m: {context_window: 3}}")
    failure = drive(provider.send(call_of(make_call, messages=[message_of("user", "x" * 13)])))
    assert failure.kind is FailureKind.CONTEXT_TOO_LONG
    assert drive(provider.send(call_of(make_call, messages=[message_of("user", "x" * 12)]))).finish_reason == "stop"


def test_limits_are_enforced_over_any_minute_and_reported_in_headers(script, make_call, runtime):
    provider, engine = script("models: {m: {limits: {rpm: 2, tpm: 1000}, usage: {prompt_tokens: 100, completion_tokens: 100}}}")
    first = drive(provider.send(call_of(make_call)))
    assert (first.rate.remaining_requests, first.rate.remaining_tokens) == (1, 800)
    runtime.advance(40_000)
    assert kinds(provider, make_call, 2) == ["ok", "throttled"]
    failure = drive(provider.send(call_of(make_call)))
    assert failure.retry_after_ms == 20_000
    runtime.advance(19_999)
    assert kinds(provider, make_call, 1) == ["throttled"]
    runtime.advance(1)
    assert kinds(provider, make_call, 2) == ["ok", "throttled"]
    own = engine.bill.models["m"]
    assert (own.largest_requests_per_minute, own.largest_tokens_per_minute, own.answered) == (2, 400, 3)
    assert [line.limited for line in engine.bill.lines] == [False, False, True, True, True, False, True]


def test_a_token_limit_is_enforced(script, make_call):
    provider, engine = script("models: {m: {limits: {tpm: 500}, usage: {prompt_tokens: 100, completion_tokens: 100}}}")
    assert kinds(provider, make_call, 3) == ["ok", "ok", "throttled"]
    assert engine.bill.models["m"].largest_tokens_per_minute == 400


@given(st.lists(st.tuples(st.integers(0, 30_000), st.integers(1, 9)), max_size=40), st.integers(1, 20))
def test_no_minute_has_more_than_the_cap(steps, cap):
    window, accepted, now = SlidingWindow(), [], 0
    for pause, amount in steps:
        now += pause
        wait = window.wait_ms(amount, cap, now)
        recent = sum(entry for at, entry in accepted if at > now - WINDOW_MS)
        assert window.remaining(cap, now) == max(0, cap - recent)
        assert (wait == 0) == (recent + amount <= cap)
        if wait == 0:
            accepted.append((now, amount))
            window.add(amount, now)
        elif amount <= cap:
            assert sum(entry for at, entry in accepted if at > now + wait - WINDOW_MS) + amount <= cap
    assert window.largest <= cap


# ------------------------------------------------------------------------------------------------------------ the bill


def test_the_bill_keeps_all_sums_and_only_the_newest_lines():
    bill = Bill()
    line = BillLine(
        at_ms=0, model="m", status=200, streamed=False, step=0, prompt_tokens=1, completion_tokens=1, cached_tokens=0, billed_nanousd=3
    )
    for _ in range(2 * NEWEST_LINES + 5):
        bill.add(line)
    assert bill.summary()["requests"] == 2 * NEWEST_LINES + 5
    assert bill.billed_nanousd == 3 * (2 * NEWEST_LINES + 5)
    assert len(bill.summary(lines=True)["lines"]) <= NEWEST_LINES


def test_one_file_has_one_engine(tmp_path, runtime):
    path = tmp_path / "script.yaml"
    path.write_text("models: {m: {}}", encoding="utf-8")
    engines = EngineCache(runtime)
    assert engines.open(str(path)) is engines.open(str(path))


# ---------------------------------------------------------------------------------------------------------- over HTTP


def fetch(url: str, body: bytes | None = None) -> tuple[int, dict[str, object]]:
    request = urllib.request.Request(url, data=body, headers={"content-type": "application/json"})  # noqa: S310 - an address of the test's own server
    try:
        with urllib.request.urlopen(request, timeout=5) as response:  # noqa: S310 - an address of the test's own server
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_the_server_lists_its_models_shows_its_bill_and_writes_it_to_a_file(serve, tmp_path):
    path = tmp_path / "bill.jsonl"
    server = serve(f"models: {{a: {{{PRICED}}}, '*': {{}}}}", bill_path=path)
    root = server.base_url.removesuffix("/v1")
    assert [model["id"] for model in fetch(f"{server.base_url}/models")[1]["data"]] == ["a"]
    body = json.dumps({"model": "a", "messages": [message_of("user", "hello")]}).encode()
    assert fetch(f"{root}/chat/completions", body)[0] == 200
    status, summary = fetch(f"{root}/_bill?lines")
    assert status == 200
    assert summary == server.bill(lines=True)
    written = [json.loads(line) for line in path.read_bytes().splitlines()]
    assert written == summary["lines"]
    assert written[0]["billed_nanousd"] == summary["billed_nanousd"] == 2 * 1_000_000 + 1 * 2_000_000


@pytest.mark.parametrize("body", [b"{", b"[]", b""])
def test_a_body_that_is_not_an_object_is_a_bad_request(serve, body):
    assert fetch(f"{serve('models: {m: {}}').base_url}/chat/completions", body)[0] == 400


def test_many_callers_at_once_are_billed_one_by_one(serve):
    server = serve("models: {m: {prices: {usd_per_1m_input: 1}, usage: {prompt_tokens: 1000, completion_tokens: 1}, limits: {rpm: 30}}}")
    body = json.dumps({"model": "m", "messages": []}).encode()
    statuses: list[int] = []
    threads = [threading.Thread(target=lambda: statuses.append(fetch(f"{server.base_url}/chat/completions", body)[0])) for _ in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200] * 30 + [429] * 10
    own = server.bill()["models"]["m"]
    assert (own["billed_nanousd"], own["largest_requests_per_minute"]) == (30 * 1_000_000, 30)


def test_a_port_in_use_is_reported():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(UsageMistake, match=f"can't listen on 127.0.0.1:{port}"),
            ScriptedServer(parse_script("models: {m: {}}"), port=port),
        ):
            pass


def test_a_bill_that_can_not_be_written_is_reported(tmp_path):
    with pytest.raises(UsageMistake, match="can't write the bill"), ScriptedServer(parse_script("models: {m: {}}"), bill_path=tmp_path):
        pass


def test_a_server_that_was_never_started_has_no_bill():
    with pytest.raises(RuntimeError):
        ScriptedServer(parse_script("models: {m: {}}")).bill()


def test_a_served_file_answers_until_it_is_stopped(tmp_path):
    path = tmp_path / "script.yaml"
    path.write_text("models: {m: {answers: [{text: hello}]}}", encoding="utf-8")
    program = (
        "import sys; from paymaster.providers.scripted.server import serve_script; "
        "serve_script(sys.argv[1], ready=lambda url: print(url, flush=True))"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True) as process:
        base_url = process.stdout.readline().strip()
        assert fetch(f"{base_url}/models")[0] == 200
        process.terminate()
        assert process.wait(10) == 0


def test_a_file_with_mistakes_is_not_served(tmp_path):
    with pytest.raises(ScriptInvalid):
        serve_script(tmp_path / "none.yaml")
