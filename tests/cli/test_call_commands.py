"""`ask`, `explain` and `mini`: calls, explanations of calls, and arguments for an agent."""

from __future__ import annotations

import io
import json
import re
import sys
import types
from pathlib import Path

import pytest

from cli.programs import start
from fleet import LoopbackProvider, registry_file
from paymaster import Client, Reply
from paymaster.accounting.records import AttemptRecord
from paymaster.cli.ask_summary import summary


def lines_of(text: str) -> list[str]:
    return text.splitlines()


# ----------------------------------------------------------------------------------------------------------------- ask


@pytest.mark.parametrize("words", [(), ("--no-stream",)])
def test_the_answer_goes_to_standard_output_and_its_cost_to_standard_error(paymaster, registry, words):
    ended = paymaster("ask", "Why is the sky blue?", "--model-registry", registry, *words)
    assert (ended.status, ended.out) == (0, "Blue light is scattered most.\n")
    assert ended.err.startswith("fast: tokens ")
    assert "$0.0000" in ended.err
    assert "left of $0.05 (policies.budget_usd_per_run)" in ended.err


@pytest.mark.parametrize("words", [(), ("-q",), ("--json",), ("--no-stream",)])
def test_who_waits_sees_for_what_and_until_when_on_standard_error(paymaster, tmp_path, words):
    statuses = iter([503] * 5)
    with LoopbackProvider(lambda _: (next(statuses, 200), {})) as provider:
        file = registry_file(tmp_path, provider, policies=", backoff_initial_s: 0.01, backoff_max_s: 0.02")
        ended = paymaster("ask", "Why?", "--model-registry", file, "--ledger", "memory:", *words)
    assert ended.status == 0
    assert "waiting" not in ended.out
    clock = r"\d\d:\d\d:\d\d"
    line = rf"^waiting for a: overloaded \(HTTP 503\) since {clock}; next try {clock}; gives up {clock}$"
    assert len(re.findall(line, ended.err, re.MULTILINE)) == (0 if "-q" in words else 1)


def test_quiet_does_not_print_the_cost(paymaster, registry):
    assert paymaster("ask", "Why?", "--model-registry", registry, "-q").err == ""


def test_verbose_logs_the_steps(paymaster, registry):
    assert "paymaster.calls" in paymaster("ask", "Why?", "--model-registry", registry, "-vv").err


@pytest.mark.parametrize("words", [("ask", "Why?"), ("explain",)])
def test_an_unknown_variable_is_warned_of_before_money_is_spent(paymaster, registry, monkeypatch, words):
    monkeypatch.setenv("PAYMASTER_BUGDET_USD", "1")
    assert "Warning: ignoring the unknown environment variable PAYMASTER_BUGDET_USD" in paymaster(*words, "--model-registry", registry).err


def test_a_call_without_its_ledger_succeeds_with_a_warning(paymaster, registry, tmp_path):
    path = tmp_path / "soft.yaml"
    text = registry.read_text()
    path.write_text(text.replace("hard_stop_on_budget: true", "hard_stop_on_budget: false"))
    ended = paymaster("ask", "Why?", "--model-registry", path, "--ledger", "redis://127.0.0.1:1/0?timeout_ms=100")
    assert (ended.status, ended.out) == (0, "Blue light is scattered most.\n")
    assert "is called without it" in ended.err


def test_a_fallback_is_shown(paymaster, registry):
    ended = paymaster("ask", "Why?", "-m", "faulty", "--model-registry", registry)
    assert ended.status == 0
    assert "fallback from faulty" in lines_of(ended.err)[-1]
    assert "attempts" in lines_of(ended.err)[-1]


def test_json_has_the_answer_its_cost_and_every_attempt(paymaster, registry):
    ended = paymaster("ask", "Why?", "--json", "--run-id", "r1", "--batch-id", "b1", "--user", "ann", "--model-registry", registry)
    shown = json.loads(ended.out)
    assert (shown["text"], shown["model"], shown["run"]) == ("Blue light is scattered most.", "fast", "r1")
    assert shown["cost_nanousd"] == sum(attempt["cost_nanousd"] for attempt in shown["attempts"]) > 0
    assert float(shown["cost_usd"]) * 1e9 == pytest.approx(shown["cost_nanousd"])
    assert [(attempt["batch"], attempt["user"]) for attempt in shown["attempts"]] == [("b1", "ann")]


def test_the_question_may_come_from_standard_input(paymaster, registry, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("smile, caf\u00e9".encode())))
    assert paymaster("ask", "-", "--model-registry", registry).out == "A smile: \u263a \U0001f600 caf\u00e9 \u2026\n"


@pytest.mark.parametrize(("given", "expected"), [(b"", "the prompt is empty"), (b"\xff", "standard input is not UTF-8")])
def test_invalid_standard_input_is_a_mistake(paymaster, registry, monkeypatch, given, expected):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
    ended = paymaster("ask", "-", "--model-registry", registry)
    assert ended.status == 2
    assert expected in ended.err


@pytest.mark.parametrize("words", [("",), ("x", "--system", " "), ("x", "--max-tokens", "0")])
def test_an_empty_question_is_a_mistake(paymaster, registry, words):
    assert paymaster("ask", *words, "--model-registry", registry).status == 2


def test_the_system_message_and_the_output_limit_are_sent(paymaster, registry):
    ended = paymaster("ask", "Why?", "--system", "Answer with a smile.", "--max-tokens", "3", "--model-registry", registry)
    assert ended.out.startswith("A smile")
    assert "cut off at the output limit" in ended.err


def test_a_too_small_budget_is_status_3_and_is_named(paymaster, registry):
    ended = paymaster("ask", "Why?", "--model-registry", registry, "--budget-usd", "0.000001")
    assert (ended.status, ended.out) == (3, "")
    assert "--budget-usd" in ended.err


@pytest.mark.parametrize("name", ["dead", "faulty"])
def test_a_budget_used_up_by_a_failure_is_status_3_and_lists_the_attempt(paymaster, registry, name):
    """The first attempt is charged in full; the budget then pays for neither a retry nor the fallback."""
    ended = paymaster("ask", "Why?", "--model", name, "--model-registry", registry, "--budget-usd", "0.0025")
    assert ended.status == 3
    assert "budget reached: --budget-usd = $0.0025" in ended.err
    assert f"attempt 1, {name}: server error (HTTP 500), $0.00" in ended.err


def test_a_soft_budget_lets_the_call_continue_and_shows_the_excess(paymaster, registry):
    ended = paymaster("ask", "Why?", "--model-registry", registry, "--budget-usd", "0.000001", "--no-hard-stop-on-budget")
    assert ended.status == 0
    assert "over $0.000001 (--budget-usd)" in ended.err


def test_a_call_without_an_answer_is_status_1(paymaster, registry):
    registry.write_text(f"{registry.read_text()}  max_wait_s: 1\n")
    ended = paymaster("ask", "Why?", "-m", "dead", "--model-registry", registry)
    assert (ended.status, ended.out) == (1, "")
    assert "no model answered" in ended.err
    assert "Traceback" not in ended.err


def test_an_answer_that_breaks_off_is_status_1_and_never_looks_whole(paymaster, registry):
    ended = paymaster("ask", "Why?", "-m", "cut", "--model-registry", registry)
    assert ended.status == 1
    assert ended.out.endswith("\n")
    assert "Error: " in ended.err
    assert "left of" not in ended.err


def test_an_unknown_model_is_a_mistake_and_names_the_nearest(paymaster, registry):
    ended = paymaster("ask", "Why?", "-m", "fats", "--model-registry", registry)
    assert ended.status == 2
    assert "fast" in ended.err


def test_a_missing_key_is_a_mistake_that_names_variable_and_model(paymaster):
    Path("r.yaml").write_text("models: {m: {provider: openai, model_id: gpt-4o}}\n")
    ended = paymaster("ask", "Why?", "--model-registry", "r.yaml")
    assert ended.status == 2
    assert "OPENAI_API_KEY" in ended.err
    assert "m: " in ended.err


def test_a_missing_extra_is_a_mistake_with_the_line_that_installs_it():
    Path("r.yaml").write_text("models: {m: {provider: bedrock, model_id: anthropic.claude-sonnet-4-5-20250929-v1:0, price: free}}\n")
    code = "import sys; sys.modules['litellm'] = None; from paymaster.cli import main; sys.exit(main())"
    with start(
        *("ask", "Why?", "--model-registry", "r.yaml"),
        program=[sys.executable, "-c", code],
        AWS_ACCESS_KEY_ID="x",
        AWS_SECRET_ACCESS_KEY="y",
    ) as running:
        _, err = running.communicate(timeout=30)
    assert running.returncode == 2
    assert "pip install" in err
    assert "paymaster[litellm]" in err


def test_a_local_mistake_costs_nothing(paymaster):
    Path("broken.yaml").write_text("models: {m: {answers: 7}}\n")
    prices = "usd_per_1m_input: 3, usd_per_1m_output: 15"
    registry = f"models: {{m: {{provider: scripted, script: broken.yaml, {prices}}}}}\npolicies: {{budget_usd_per_run: 1}}\n"
    Path("r.yaml").write_text(registry)
    ended = paymaster("ask", "Why?", "--model-registry", "r.yaml", "--run-id", "mistaken")
    assert ended.status == 2
    assert "broken.yaml" in ended.err
    budgets = json.loads(paymaster("status", "--json", "--run-id", "mistaken").out)["budgets"]
    assert [(budget["spent_nanousd"], budget["held_nanousd"]) for budget in budgets] == [(0, 0)]


@pytest.mark.parametrize(
    ("ledger", "expected"),
    [
        ("sqlite:{tmp}/no.db", "is not a ledger"),
        ("sqlite:{tmp}", "is a directory"),
        ("redsi://x", "Unknown ledger URL"),
        ("x.db", "not a ledger URL"),
    ],
)
def test_a_ledger_that_cannot_be_used_is_a_mistake(paymaster, registry, tmp_path, ledger, expected):
    (tmp_path / "no.db").write_text("this is a text and no database, and longer than its header")
    ended = paymaster("ask", "Why?", "--model-registry", registry, "--ledger", ledger.format(tmp=tmp_path))
    assert ended.status == 2
    assert expected in ended.err
    assert "Traceback" not in ended.err


def test_a_key_is_shown_nowhere(paymaster, registry, monkeypatch):
    text = registry.read_text().replace("fallbacks: []", "fallbacks: [], api_key_env: CANARY")
    registry.write_text(f"{text}  max_wait_s: 1\n")
    canary = "sk-canary-0123456789abcdef"
    monkeypatch.setenv("CANARY", canary)
    for words in (("ask", "Why?", "-m", "dead", "-vv"), ("check", "--live", "--origins"), ("explain",), ("ask", "x", "--rpm-limit", "x")):
        ended = paymaster(*words, "--model-registry", registry)
        assert canary not in ended.out + ended.err


def attempt(**more) -> AttemptRecord:
    plain = {
        "call_id": "c",
        "attempt": 1,
        "at_ms": 0,
        "model": "m",
        "provider": "p",
        "model_id": "m",
        "outcome": "answered",
        "billed": "exact",
    }
    return AttemptRecord(**{**plain, "cost_nanousd": 5, "held_nanousd": 9, "cost_source": "registry", "run": "a", **more})


@pytest.mark.parametrize(
    ("attempts", "expected"),
    [
        ([attempt(input_tokens=2, cache_read_tokens=1_000, output_tokens=3)], "tokens 1,002 in (1,000 cached), 3 out; $0.000000005; 0 ms"),
        ([attempt(waited_ms=2_000)], "waited 2.0 s"),
        ([attempt(billed="assumed", outcome="overloaded"), attempt()], "$0.00000001, partly assumed; 0 ms; 2 attempts"),
        ([attempt(billed="assumed")], "$0.000000005, assumed; 0 ms"),
        (
            [attempt(billed="estimated", outcome="connection_lost"), attempt(billed="assumed", outcome="timed_out"), attempt()],
            "$0.000000015, partly estimated and assumed; 0 ms; 3 attempts",
        ),
        ([attempt(billed="unpriced", cost_nanousd=0)], "and an unknown cost (no price)"),
    ],
)
def test_the_summary_line_has_tokens_cost_and_attempts(attempts, expected):
    Path("r.yaml").write_text("models: {m: {provider: ollama, model_id: m}}\n")
    cost = sum(record.cost_nanousd for record in attempts)
    reply = Reply(body={}, model="m", usage=None, finish_reason="stop", cost_nanousd=cost, attempts=tuple(attempts), call_id="c")
    with Client("r.yaml") as client:
        assert expected in summary(reply, client)


# ------------------------------------------------------------------------------------------------------------- explain


def test_explain_names_the_serving_model_and_its_hold(paymaster, registry):
    ended = paymaster("explain", registry, "--prompt", "Why?")
    assert ended.status == 0
    assert ended.out.startswith("fast would serve this, and hold $0.00")
    assert "backup" in ended.out
    assert "requests/fast" in ended.out


def test_explain_neither_sends_nor_holds_nor_records(paymaster, registry, server):
    before = server.bill()
    paymaster("explain", registry, "--prompt", "Why?")
    assert server.bill() == before
    assert json.loads(paymaster("status", "--json").out)["budgets"] == []


@pytest.mark.parametrize(
    ("needs", "lacks"), [("vision", "vision"), ("function_calling,images", "vision"), ("json-schema", "json_schema"), ("pdf,audio", "pdf")]
)
def test_explain_names_missing_capabilities(paymaster, registry, needs, lacks):
    shown = json.loads(paymaster("explain", registry, "--needs", needs, "--json").out)
    fast, backup = (next(item for item in shown if item["model"] == name) for name in ("fast", "backup"))
    assert not fast["serves"]
    assert lacks in fast["why"]
    assert backup["serves"]


def test_explain_without_a_serving_model_is_status_1(paymaster, registry):
    ended = paymaster("explain", registry, "--budget-usd", "0.000001")
    assert ended.status == 1
    assert ended.out.startswith("No model would serve this.")


def test_explain_shows_an_unknown_price(paymaster, monkeypatch):
    Path("r.yaml").write_text("models: {m: {provider: openai, model_id: no-such-model}}\n")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary-0123456789abcdef")
    ended = paymaster("explain", "r.yaml")
    assert ended.status == 0
    assert "its price is unknown" in ended.out


def test_explain_takes_tools_and_messages_from_files(paymaster, registry):
    Path("tools.json").write_text('[{"type": "function", "function": {"name": "run", "parameters": {}}}]')
    Path("messages.json").write_text(json.dumps({"messages": [{"role": "user", "content": "word " * 2000}]}))
    ended = paymaster("explain", registry, "--tools", "tools.json", "--messages", "messages.json", "--max-tokens", "10", "--json")
    first = json.loads(ended.out)[0]
    assert first["prompt_tokens"] > 2000
    assert first["output_tokens"] == 10


def test_explain_takes_a_prompt_from_a_file(paymaster, registry):
    Path("prompt.txt").write_text("word " * 3000)
    assert json.loads(paymaster("explain", registry, "--prompt-file", "prompt.txt", "--json").out)[0]["prompt_tokens"] > 3000


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--needs", "visoin"), "vision"),
        (("--needs", "reasoning"), "before it is sent"),
        (("--prompt", "a", "--messages", "b"), "exclude one another"),
        (("--prompt", ""), "the prompt is empty"),
        (("--tools", "nowhere.json"), "cannot read nowhere.json"),
        (("--tools", "text.txt"), "text.txt is not JSON"),
        (("--messages", "words.json"), "a JSON list of objects"),
        (("--model", "fats"), "fast"),
    ],
)
def test_invalid_input_to_explain_is_a_mistake(paymaster, registry, words, expected):
    Path("text.txt").write_text("text")
    Path("words.json").write_text('["a"]')
    ended = paymaster("explain", registry, *words)
    assert (ended.status, ended.out) == (2, "")
    assert expected in ended.err


# ---------------------------------------------------------------------------------------------------------------- mini


@pytest.fixture
def launched(monkeypatch):
    """Replaces the launcher, and keeps its arguments."""
    words: list[list[str]] = []
    launcher = types.ModuleType("paymaster.agents.mini.launcher")
    launcher.main = lambda given: words.append(given) or 5
    monkeypatch.setitem(sys.modules, "paymaster.agents.mini.launcher", launcher)
    return words


@pytest.mark.parametrize(
    "words",
    [
        ["-t", "fix it", "--model-registry", "r.yaml", "-c", "mini.yaml", "--yolo", "--cost-limit=3", "--debug"],
        ["-yt", "fix it", "--help"],
        ["--model", "x", "--", "-v", "--", "--help"],
        [],
    ],
)
def test_mini_gets_every_argument_unchanged_and_returns_its_status(paymaster, launched, words):
    assert paymaster("mini", *words).status == 5
    assert launched == [words]


@pytest.mark.parametrize("word", ["--help", "-h"])
def test_help_alone_shows_the_help_of_paymaster_mini(paymaster, launched, word):
    ended = paymaster("mini", word)
    assert ended.status == 0
    assert "paymaster mini -t" in ended.out
    assert launched == []
