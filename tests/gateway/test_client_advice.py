"""Which advice a command gets that never called its gateway."""

from __future__ import annotations

import pytest

from paymaster.gateway.client_advice import ANY_PROGRAM, gateway_advice
from paymaster.gateway.client_recipes import LANGUAGES, RECIPES, SHARED_VARIABLES, client_variables


@pytest.mark.parametrize(
    ("command", "part"),
    [
        (["aider", "--message", "use claude"], "aider --model openai/NAME"),
        (["/home/me/.local/bin/aider"], "aider --model openai/NAME"),
        (["uv", "run", "aider"], "aider --model openai/NAME"),
        (["python3.12", "-m", "aider"], "aider --model openai/NAME"),
        (["claude", "-p", "compare codex and aider"], "CLAUDE_CODE_USE_BEDROCK"),
        (["npx", "-y", "@anthropic-ai/claude-code@latest"], "CLAUDE_CODE_USE_BEDROCK"),
        (["sh", "-c", "cd /tmp && claude -p hi"], "CLAUDE_CODE_USE_BEDROCK"),
        (["env", "A=b", "codex", "exec", "x"], 'codex exec -c openai_base_url="$OPENAI_BASE_URL"'),
        (["npx", "@openai/codex"], "CODEX_API_KEY"),
        (["codex.exe"], "reads no OPENAI_BASE_URL"),
        (["cline", "Fix it."], "cline auth -p openai-compatible"),
        (["npx", "cline"], "cline auth -p openai-compatible"),
        (["cn", "-p", "x"], "apiBase"),
        (["openhands", "-t", "x"], "--override-with-envs"),
        (["inspect", "eval", "x.py"], "inspect eval"),
        (["llm", "-m", "x", "y"], "extra-openai-models.yaml"),
        (["opencode", "run"], "opencode.json"),
        (["goose", "session"], "OPENAI_HOST"),
        (["gemini", "-p", "x"], "Google's API"),
        (["qwen"], "--auth-type openai"),
        (["mini", "-m", "x"], "paymaster mini"),
        (["mini-extra", "swebench"], "paymaster mini"),
        (["sweagent", "run"], "paymaster sweagent"),
        (["docker", "run", "python"], "--network host"),
        (["curl", "https://api.openai.com"], "$OPENAI_BASE_URL/chat/completions"),
        (["/usr/bin/python3", "agent.py", "ask claude about codex"], "without base_url and api_key"),
        (["uv", "run", "python", "agent.py"], "without base_url and api_key"),
        (["node", "agent.js"], "without base_url and api_key"),
    ],
)
def test_a_known_program_gets_its_own_advice(command: list[str], part: str) -> None:
    assert part in gateway_advice(command)


@pytest.mark.parametrize("command", [["./my-agent", "claude"], ["make", "run"], ["sh", "-c", "./run.sh"], [""]])
def test_another_program_gets_the_variables(command: list[str]) -> None:
    assert gateway_advice(command) == ANY_PROGRAM
    assert {"OPENAI_BASE_URL", "OPENAI_API_BASE", "ANTHROPIC_BASE_URL"} <= set(ANY_PROGRAM.replace(",", " ").replace(")", " ").split())


def test_no_command_has_two_recipes() -> None:
    commands = [command for recipe in (*RECIPES, LANGUAGES) for command in recipe.commands]
    assert len(set(commands)) == len(commands)
    assert all(recipe.advice and recipe.title for recipe in RECIPES)


def test_the_variables_of_every_recipe_are_set() -> None:
    variables = client_variables(4000, "pm-key")
    assert variables["OPENAI_BASE_URL"] == variables["LLM_BASE_URL"] == "http://127.0.0.1:4000/v1"
    assert variables["ANTHROPIC_BASE_URL"] == "http://127.0.0.1:4000"
    assert variables["CODEX_API_KEY"] == variables["LLM_API_KEY"] == "pm-key"
    assert variables.keys() == SHARED_VARIABLES.keys() | {name for recipe in RECIPES for name in recipe.variables}
    assert set(variables.values()) == {"http://127.0.0.1:4000/v1", "http://127.0.0.1:4000", "pm-key"}
