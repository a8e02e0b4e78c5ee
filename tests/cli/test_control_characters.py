"""No control character of anybody reaches a terminal: names, errors, answers and files full of them, through every command."""

from __future__ import annotations

import json
import re

import pytest

from cli.programs import terminal_process
from paymaster import Client, PaymasterError
from paymaster.cli.app import build_app
from paymaster.providers.scripted.script import parse_script
from paymaster.providers.scripted.server import ScriptedServer

HOSTILE = "\x1b]8;;http://x\x07\x1b[2J\x9b31m\x7f\x08\r\u202e\u2066\u2028"
CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028\u2029]|\r(?!\n)")
SCRIPT = r"""
models:
  fast:
    prices: {usd_per_1m_input: 1, usd_per_1m_output: 4}
    answers: [{text: "an\e]8;;http://x\a answer\x9b31m\u202e\r of two\nlines\tand tabs"}]
  refuses:
    faults: [{kind: bad_request, always: true, message: "no\e[2J\x9b31m\u202e\u2028\x7f way\r"}]
  fails:
    faults: [{kind: server_error, always: true, message: "no\e[2J\x9b31m\u202e\u2028\x7f way\r"}]
"""


@pytest.fixture
def hostile(tmp_path, own_state, monkeypatch):
    """A registry, a ledger with calls under hostile names, and files with hostile content; gives their paths."""
    with ScriptedServer(parse_script(SCRIPT)) as server:
        price = "max_output_tokens: 50, usd_per_1m_input: 1, usd_per_1m_output: 4"
        common = f"provider: openai_compatible, base_url: '{server.base_url}', {price}"
        registry = tmp_path / "registry.yaml"
        registry.write_text(
            "default: fast\nmodels:\n"
            + "".join(f"  {name}: {{{common}, fallbacks: []}}\n" for name in ("fast", "refuses", "fails"))
            + '  "odd": {provider: openai_compatible, model_id: "m\\e[2J\\u202E", base_url: "http://127.0.0.1:9/v1"}\n'
            + "policies: {budget_usd_per_run: 0.000001, retries_per_model: 0, fallback_chain: [fast], backoff_max_s: 0.01}\n"
        )
        names = {name: f"{name}{HOSTILE}" for name in ("run", "batch", "instance", "user", "role")}
        with Client(str(registry), state_dir=own_state, **names) as client:
            client.complete([{"role": "user", "content": "Why?"}])
            for model in ("refuses", "fails"):
                with pytest.raises(PaymasterError):
                    client.complete([{"role": "user", "content": HOSTILE}], model=model)
        (tmp_path / "bad.yaml").write_text('models: {"a\\e[2Jb": {provider: "x\\e[2J\\u202E"}}\npolicies: {"no\\e[2J": 1}\n')
        (tmp_path / "costs.jsonl").write_text(
            json.dumps({"model": f"m{HOSTILE}", "raw_usage": {"prompt_tokens": 1, "completion_tokens": 1}}, ensure_ascii=False)
            + f"\nnot {HOSTILE} JSON\n"
        )
        model = {"id": f"m{HOSTILE}", "match": {"equals": f"m{HOSTILE}"}, "prices": {"input_mtok": f"-1{HOSTILE}"}}
        (tmp_path / "prices.json").write_text(json.dumps([{"id": f"p{HOSTILE}", "models": [model]}]))
        monkeypatch.setenv(f"PAYMASTER_{HOSTILE}", "1")
        yield registry


RUN = ("--model-registry", "registry.yaml")
EVERY_COMMAND = [
    ("version",),
    ("--help",),
    (f"no{HOSTILE}",),
    (f"--no{HOSTILE}",),
    ("ask", "Why?", f"--max-tokens={HOSTILE}"),
    ("ask", "Why?", *RUN, "-vv"),
    ("ask", "Why?", *RUN, "--no-stream"),
    ("ask", "Why?", *RUN, "--json"),
    ("ask", "Why?", *RUN, "-m", "refuses", "-vv"),
    ("ask", "Why?", *RUN, "-m", "fails", "-vv"),
    ("ask", "Why?", *RUN, "-m", f"none{HOSTILE}"),
    ("ask", "Why?", *RUN, "--run-id", f"exp{HOSTILE}", "--hard-stop-on-budget"),
    ("ask", "Why?", "--model-registry", f"none{HOSTILE}"),
    ("ask", "Why?", *RUN, "--ledger", f"sqlite:///no{HOSTILE[1:]}/there/x.db"),
    ("check", "registry.yaml"),
    ("check", "registry.yaml", "--origins"),
    ("check", "registry.yaml", "--json"),
    ("check", "registry.yaml", "--live"),
    ("check", "bad.yaml"),
    ("explain", "registry.yaml"),
    ("explain", "registry.yaml", "--json", "--run-id", f"exp{HOSTILE}"),
    ("explain", "registry.yaml", "--needs", f"none{HOSTILE}"),
    ("explain", "registry.yaml", "--prompt-file", f"none{HOSTILE}"),
    ("status",),
    ("status", "--json"),
    ("top", "--once"),
    ("report", "--by", "run,batch,instance,user,role,model"),
    ("report", "--by", "run,batch,instance,user,role", "--csv"),
    ("report", "--by", "run,batch,instance,user,role", "--json"),
    ("report", "--by", f"none{HOSTILE}"),
    ("report", "--run-id", f"none{HOSTILE}"),
    ("report", "--archive", f"none{HOSTILE}"),
    ("ledger", "status"),
    ("ledger", "verify"),
    ("ledger", "verify", "--json"),
    ("ledger", "adjust", f"usd/run/run{HOSTILE}", "--usd=1", "--reason", f"why{HOSTILE}"),
    ("ledger", "reset", f"usd/run/run{HOSTILE}", "--yes"),
    ("ledger", "reset", f"usd/run/none{HOSTILE}", "--yes"),
    ("ledger", "import", f"none{HOSTILE}"),
    ("ledger", "init", "--ledger", f"other{HOSTILE}"),
    ("prices",),
    ("prices", "show", f"none{HOSTILE}"),
    ("prices", "show", "openai/gpt-4o", "--at", f"none{HOSTILE}"),
    ("prices", "update", "--from", f"none{HOSTILE}"),
    ("prices", "update", "--from", f"http://none{HOSTILE}/"),
    ("prices", "update", "--from", "prices.json"),
    ("cost", "costs.jsonl"),
    ("cost", f"none{HOSTILE}"),
    ("keys", "create", "--user", f"ann{HOSTILE}"),
    ("keys", "list"),
    ("keys", "revoke", f"none{HOSTILE}"),
    ("exec", *RUN, "--", f"none{HOSTILE}"),
    ("exec", *RUN, "--", "true", HOSTILE),
    ("init", "--preset", f"none{HOSTILE}"),
    ("init", f"dir{HOSTILE[1:]}/none.yaml"),
    ("scripted", f"none{HOSTILE}"),
    ("schema",),
    ("shell-init", f"none{HOSTILE}"),
    ("serve", "registry.yaml", "--host", f"none{HOSTILE}"),
    ("torture", "--ledger", f"none{HOSTILE}"),
    ("mini", *RUN, "-c", f"none{HOSTILE}.yaml"),
    ("mini-batch", *RUN, "-c", f"none{HOSTILE}.yaml"),
    ("sweagent", "run", *RUN, "--config", f"none{HOSTILE}.yaml"),
]


@pytest.mark.parametrize("words", EVERY_COMMAND, ids=lambda words: "-".join(words)[:40].encode("ascii", "backslashreplace").decode())
@pytest.mark.usefixtures("hostile")
def test_no_command_prints_a_control_character_of_anybody(paymaster, words):
    ended = paymaster(*words)
    if words[0] == "ask" and ended.status == 0 and "--json" not in words:  # a model's answer through a pipe is content
        ended = type(ended)(ended.status, "", ended.err)
    assert CONTROLS.findall(ended.out + ended.err) == []
    assert ended.out or ended.err or words[0] in {"ask", "exec"}


def test_every_command_is_tried():
    from typer.main import get_command

    commands = set(get_command(build_app()).commands)
    assert commands == {words[0] for words in EVERY_COMMAND} & commands


@pytest.mark.parametrize(
    "words",
    [
        ("ask", "Why?", *RUN),
        ("ask", "Why?", *RUN, "--no-stream"),
        ("ask", "Why?", *RUN, "-m", "refuses", "-v"),
        ("report", "--by", "run,user,role", "--csv"),
        ("ledger", "export", "-"),
    ],
)
@pytest.mark.usefixtures("hostile")
def test_a_terminal_gets_answers_and_exports_with_visible_escapes(words):
    with terminal_process(*words, NO_COLOR="1", TERM="dumb") as (_, finish):
        shown = finish()
    assert CONTROLS.findall(shown) == []
    assert "1b" in shown
    if words[1] == "Why?" and "refuses" not in words:
        assert r"an\x1b]8;;http://x\x07 answer\x9b31m\u202e\x0d of two" in shown
        assert "lines\tand tabs" in shown.replace("\r\n", "\n")


@pytest.mark.usefixtures("hostile")
def test_a_pipe_gets_an_answer_as_it_is(paymaster):
    assert paymaster("ask", "Why?", *RUN).out == "an\x1b]8;;http://x\x07 answer\x9b31m\u202e\r of two\nlines\tand tabs\n"
