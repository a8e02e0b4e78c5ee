"""Which advice a command gets that never called its gateway."""

from __future__ import annotations

import pytest

from paymaster.agents.gateway_clients import ANY_PROGRAM, gateway_advice


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
        (["env", "A=b", "codex", "exec", "x"], 'wire_api = "responses"'),
        (["npx", "@openai/codex"], 'wire_api = "responses"'),
        (["codex.exe"], 'wire_api = "responses"'),
        (["opencode", "run"], "opencode.json"),
        (["goose", "session"], "OPENAI_HOST"),
        (["gemini", "-p", "x"], "Google's API"),
        (["qwen"], "--openai-base-url"),
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
