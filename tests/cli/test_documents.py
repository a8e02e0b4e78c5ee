"""The README's tour runs as written, and docs/commands.md lists every flag."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from paymaster.providers.scripted.script import parse_script
from paymaster.providers.scripted.server import ScriptedServer
from paymaster.registry.overrides import SETTINGS, flag_of, variable_of

ROOT = Path(__file__).resolve().parent.parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
FIRST_LOOK, _, REST = README.partition("\n## Five minutes without a key\n")


def blocks(text: str) -> list[tuple[str, str]]:
    """The language and the text of every code block."""
    return re.findall(r"^```(\w*)\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


BLOCKS = blocks(REST)


@pytest.fixture
def tour() -> None:
    script, registry, *_ = [text for language, text in BLOCKS if language == "yaml"]
    Path("script.yaml").write_text(script)
    Path("registry.yaml").write_text(registry)


def commands() -> list[tuple[list[str], int]]:
    """Each command of the tour with its stated exit status, except the agent, which needs its own package and models."""
    lines = [line for language, text in BLOCKS if not language for line in text.splitlines() if line.startswith("paymaster ")]
    found = [(shlex.split(line.partition("#")[0])[1:], re.search(r"exit status (\d)", line)) for line in lines]
    return [(words, int(status[1]) if status else 0) for words, status in found if words[0] != "mini"]


@pytest.mark.usefixtures("tour")
def test_every_command_of_the_tour_has_its_stated_exit_status(paymaster):
    assert len(commands()) >= 7
    results = {}
    for words, status in commands():
        ended = paymaster(*words)
        assert ended.status == status, (words, ended)
        results[words[0], status] = ended
    assert "fallback from sharp" in results["ask", 0].err
    assert "agree with the ledger" in results["report", 0].err


@pytest.mark.usefixtures("tour")
def test_the_tour_in_python_runs(capsys):
    (code,) = [text for language, text in BLOCKS if language == "python"]
    exec(compile(code, "README.md", "exec"), {})  # noqa: S102  the code that the README shows
    assert "Because of Rayleigh scattering. thrifty 0.0" in capsys.readouterr().out


def test_the_first_look_prints_what_it_shows(capsys, monkeypatch):
    """As it is typed, but for the endpoint: a simulated gpt-4o, at the price that the catalogue has for the real one."""
    (text,), (code,), (shown, *_) = (
        [text for language, text in blocks(FIRST_LOOK) if language == name] for name in ("yaml", "python", "text")
    )
    monkeypatch.setenv("OPENAI_API_KEY", "any")
    said = shown.splitlines()[0]
    script = f"models: {{gpt-4o: {{usage: {{prompt_tokens: 13, completion_tokens: 8}}, answers: [{{text: {said}}}]}}}}"
    with ScriptedServer(parse_script(script)) as server:
        endpoint = f"provider: openai, base_url: '{server.base_url}', api_key_env: OPENAI_API_KEY"
        Path("registry.yaml").write_text(text.replace("provider: openai", endpoint))
        exec(compile(code, "README.md", "exec"), {})  # noqa: S102  the code that the README shows
    assert capsys.readouterr().out == shown


def test_every_shared_flag_and_variable_is_documented():
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    for name in SETTINGS:
        assert f"`{flag_of(name)}" in page
        assert f"`{variable_of(name)}`" in page


def test_every_linked_page_exists():
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for link in re.findall(r"\]\((?!https?://)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), (page.name, link)
