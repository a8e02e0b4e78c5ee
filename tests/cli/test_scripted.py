"""`paymaster scripted` as a process."""

from __future__ import annotations

import json
import re
import signal
import socket
import urllib.request
from pathlib import Path

from cli.programs import run_process, start

SCRIPT = "models: {m: {answers: [{text: Yes.}]}}\n"


def test_it_prints_its_url_answers_there_and_ends_with_ctrl_c():
    Path("script.yaml").write_text(SCRIPT)
    with start("scripted", "script.yaml", "--log", "bill.jsonl") as running:
        url = re.search(r"http://127\.0\.0\.1:\d+/v1", running.stdout.readline())[0]
        request = urllib.request.Request(f"{url}/chat/completions", b'{"model": "m", "messages": [{"role": "user", "content": "?"}]}')  # noqa: S310  our own server's address
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310  our own server's address
            assert json.load(answer)["choices"][0]["message"]["content"] == "Yes."
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=30)
    assert (running.returncode, err) == (0, "")
    assert len(Path("bill.jsonl").read_text().splitlines()) == 1


def test_a_port_in_use_is_a_mistake():
    Path("script.yaml").write_text(SCRIPT)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = run_process("scripted", "script.yaml", "--port", port)
    assert (ended.status, ended.out) == (2, "")
    assert f"127.0.0.1:{port}" in ended.err
    assert "--port" in ended.err
    assert "Traceback" not in ended.err


def test_an_unknown_fault_is_a_mistake_and_names_the_nearest(paymaster):
    Path("script.yaml").write_text("models: {m: {faults: [{kind: throtle}]}}\n")
    ended = paymaster("scripted", "script.yaml")
    assert (ended.status, ended.out) == (2, "")
    assert "script.yaml:1" in ended.err
    assert "throttle" in ended.err


def test_a_missing_script_is_a_mistake(paymaster):
    ended = paymaster("scripted", "nowhere.yaml")
    assert ended.status == 2
    assert "nowhere.yaml" in ended.err


def test_an_invalid_port_is_a_mistake(paymaster):
    assert paymaster("scripted", "script.yaml", "--port", "70000").status == 2
