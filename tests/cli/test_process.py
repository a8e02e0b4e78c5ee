"""The edge of the process: exit statuses, Ctrl-C, pipes that close, terminals that are not UTF-8."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from cli.programs import PROGRAM, run_process, start, terminal_process
from paymaster.cli import main, process

COMMANDS = ("init", "check", "explain", "ask", "mini", "status", "report", "cost", "scripted", "schema", "version")


def test_help_lists_every_command(paymaster):
    ended = paymaster("--help")
    assert ended.status == 0
    for command in COMMANDS:
        assert f"\n  {command} " in ended.out


@pytest.mark.parametrize("command", [command for command in COMMANDS if command != "version"])
def test_every_command_has_help_with_an_example(paymaster, command):
    ended = paymaster(command, "--help")
    assert (ended.status, ended.err) == (0, "")
    assert "Example:\n    " in ended.out
    assert f"  paymaster {command}" in ended.out


def test_every_help_fits_a_narrow_terminal(paymaster, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    groups = {"": paymaster("--help").out}
    for group in ("keys", "ledger", "prices"):
        groups[group] = paymaster(group, "--help").out
    words = [
        [*group.split(), line.split()[0]] for group, shown in groups.items() for line in shown.partition("\nCommands:\n")[2].splitlines()
    ]
    assert len(words) > 30
    for shown in [*groups.values(), *(paymaster(*command, "--help").out for command in words)]:
        assert [line for line in shown.splitlines() if len(line) > 80] == []
        assert [line for line in shown.partition("\nCommands:\n")[2].splitlines() if line.endswith("...")] == []
        assert "<" not in shown.partition("\nArguments:\n")[2].partition("\nOptions:\n")[0]  # a Python type


@pytest.mark.parametrize("command", ["check", "explain", "ask"])
def test_shared_flags_are_shown_with_their_variables(paymaster, command):
    shown = " ".join(paymaster(command, "--help").out.split())
    for name in ("budget-usd", "rpm-limit", "tpm-limit", "run-id", "batch-id", "ledger", "events", "state-dir", "model-registry"):
        assert f"--{name}" in shown
        assert f"[PAYMASTER_{name.upper().replace('-', '_')}]" in shown


def test_no_arguments_show_the_help(paymaster):
    assert "Usage: paymaster" in "".join(vars(paymaster())[stream] for stream in ("out", "err"))


def test_version(paymaster):
    assert paymaster("version").out.startswith("paymaster 0.")


def test_an_unknown_command_is_a_mistake_and_names_the_nearest(paymaster):
    ended = paymaster("chekc")
    assert ended.status == 2
    assert "check" in ended.err


def test_an_unknown_flag_is_a_mistake_and_names_the_nearest(paymaster):
    ended = paymaster("ask", "hi", "--budget-us", "3")
    assert ended.status == 2
    assert "--budget-usd" in ended.err


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from paymaster.cli import main; main(['--help']); "
        "heavy = ('litellm', 'starlette', 'aiohttp', 'rich', 'pydantic'); "
        "print([name for name in heavy if name in sys.modules], file=sys.stderr)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert ended.stderr.strip() == "[]"


def test_an_internal_error_is_one_message_that_names_debug(paymaster, monkeypatch):
    monkeypatch.setattr("paymaster.cli.app.build_app", lambda: 1 / 0)
    ended = paymaster("version")
    assert ended.status == 1
    assert "Error: internal error: ZeroDivisionError: division by zero" in ended.err
    assert "--debug" in ended.err
    assert "Traceback" not in ended.err


def test_debug_raises_the_error(monkeypatch):
    monkeypatch.setattr("paymaster.cli.app.build_app", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["version", "--debug"])


def test_debug_shows_the_traceback_of_a_mistake():
    ended = run_process("check", "nowhere.yaml", "--debug")
    assert ended.status == 1
    assert "Traceback" in ended.err


def test_debug_after_mini_belongs_to_mini():
    assert process._take_debug(["mini", "-t", "x", "--debug"]) == (["mini", "-t", "x", "--debug"], False)
    assert process._take_debug(["--debug", "mini", "--debug"]) == (["mini", "--debug"], True)


def test_a_closed_pipe_is_no_error():
    with start("schema") as running:
        running.stdin.close()
        running.stdout.close()
        errors = running.stderr.read()
        running.wait(30)
    assert errors == ""
    assert running.returncode == 1


def test_a_closed_standard_output_is_no_traceback():
    ended = subprocess.run(["sh", "-c", '"$@" >&-', "sh", *PROGRAM, "version"], capture_output=True, text=True, check=False, timeout=30)
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_a_narrow_encoding_gets_escapes_and_no_crash(registry, encoding):
    ended = run_process("ask", "smile", "--model-registry", registry, PYTHONIOENCODING=encoding)
    assert ended.status == 0
    assert "A smile: \\u263a \\U0001f600" in ended.out
    assert "Error" not in ended.err


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_json_is_json_in_every_encoding(registry, encoding):
    ended = run_process("ask", "smile", "--json", "--model-registry", registry, PYTHONIOENCODING=encoding)
    assert json.loads(ended.out)["text"] == "A smile: \u263a \U0001f600 caf\u00e9 \u2026"


def test_tables_are_ascii_where_the_terminal_is(registry):
    with terminal_process("check", registry, PYTHONIOENCODING="ascii") as (running, finish):
        shown = finish()
    assert running.returncode == 0
    assert shown.isascii()
    assert "fast" in shown


def test_a_terminal_gets_colour_and_a_pipe_does_not(registry):
    with terminal_process("check", registry) as (_, finish):
        assert "\x1b[" in finish()
    assert "\x1b[" not in run_process("check", registry).out


def test_no_color_is_heeded(registry):
    with terminal_process("check", registry, NO_COLOR="1") as (_, finish):
        shown = finish()
    assert "\x1b[3" not in shown.replace("\x1b[32m", "\x1b[3")
    assert "\x1b[31" not in shown


def test_a_dumb_terminal_gets_plain_text(registry):
    with terminal_process("check", registry, TERM="dumb") as (_, finish):
        assert "\x1b[" not in finish()


def test_control_characters_of_an_answer_are_escaped_on_a_terminal(registry):
    with terminal_process("ask", "escape", "--model-registry", registry) as (_, finish):
        shown = finish()
    assert "before\\x1b[2Jafter" in shown
    assert "\x1b[2J" not in shown


def test_errors_reach_a_terminal_in_one_message():
    with terminal_process("check", "nowhere.yaml") as (running, finish):
        shown = finish()
    assert running.returncode == 2
    assert "nowhere.yaml" in shown
    assert "Traceback" not in shown


@pytest.mark.parametrize("words", [("ask", "hello", "-m", "slow"), ("ask", "hello", "-m", "slow", "--no-stream")])
def test_ctrl_c_ends_with_130_and_leaves_no_hold_open(paymaster, registry, server, words):
    before = server.bill()["requests"]
    with start(*words, "--model-registry", registry, "--run-id", "stopped") as running:
        wait_for_a_request(server, before)  # a hold alone may not have been sent yet, and costs nothing then
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=30)
    assert running.returncode == 130
    assert "Traceback" not in err
    assert "stopped by Ctrl-C\nCharged $" in err
    assert ", the whole hold: " in err
    now = json.loads(paymaster("status", "--json", "--run-id", "stopped").out)
    assert [(budget["account"], budget["held_nanousd"]) for budget in now["budgets"]] == [("usd/run/stopped", 0)]
    assert now["budgets"][0]["spent_nanousd"] > 0
    assert all(model["open_calls"] == 0 for model in now["models"])


@pytest.mark.parametrize("after_s", [0.0, 0.01, 0.1, 0.2, 0.4, 0.8])
def test_ctrl_c_at_any_moment_is_quiet(registry, after_s):
    # The word is printed inside `main`: Python itself handles a key that is pressed earlier.
    code = "import sys, paymaster.cli.process as p; run = p._run; p._run = lambda words: print('begun', flush=True) or run(words)"
    program = [sys.executable, "-c", f"{code}; sys.exit(p.main())"]
    with start("ask", "hello", "-m", "slow", "--model-registry", registry, program=program) as running:
        assert running.stdout.readline() == "begun\n"
        time.sleep(after_s)
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=30)
    assert running.returncode == 130
    assert "Traceback" not in err


def test_what_an_interrupted_call_was_charged_is_shown_once(monkeypatch, capsys):
    def interrupt(_words):
        try:
            error = TimeoutError()
            error.add_note("Charged $0.0003: at most 80 output tokens.")
            raise error
        except TimeoutError as cause:
            stopped = KeyboardInterrupt()
            stopped.add_note("Charged $0.0003: at most 80 output tokens.")
            raise stopped from cause

    monkeypatch.setattr(process, "_run", interrupt)
    assert process.main([]) == 130
    assert capsys.readouterr().err.strip().endswith("stopped by Ctrl-C\nCharged $0.0003: at most 80 output tokens.")


def test_ctrl_c_during_class_creation_is_ctrl_c(monkeypatch, capsys):
    class Named:
        def __set_name__(self, owner, name):
            raise KeyboardInterrupt

    def load(_words):
        class Loading:  # Python 3.12 and later pass the interrupt on as it is
            part = Named()

        return 0

    monkeypatch.setattr(process, "_run", load)
    assert process.main([]) == 130
    assert capsys.readouterr().err.strip().endswith("stopped by Ctrl-C")


def wait_for_a_request(server, before) -> None:
    for _ in range(400):
        if server.bill()["requests"] > before:
            return
        time.sleep(0.02)
    raise AssertionError("no request arrived")


def test_arguments_that_are_not_utf_8_are_a_mistake(registry):
    ended = subprocess.run(
        [*PROGRAM, "ask", b"caf\xe9", "--model-registry", str(registry)],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        env=os.environ,
    )
    assert ended.returncode == 2
    assert "not UTF-8" in ended.stderr
