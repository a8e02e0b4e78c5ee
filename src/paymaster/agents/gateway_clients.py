"""How programs that call models are pointed at a gateway by their environment; knows the programs' settings, and no gateway."""

from collections.abc import Mapping, Sequence
from pathlib import PurePath

ANY_PROGRAM = (
    "The command has OPENAI_BASE_URL (also OPENAI_API_BASE), OPENAI_API_KEY, ANTHROPIC_BASE_URL and ANTHROPIC_API_KEY in its environment. "
    "Its own settings must use these: a base URL or a key in a config file or in a flag often wins over the environment."
)

_CLAUDE = (
    "Claude Code reads ANTHROPIC_BASE_URL, but `env` in its settings.json wins over it, and with CLAUDE_CODE_USE_BEDROCK or "
    "CLAUDE_CODE_USE_VERTEX it is not used. Remove these, and use a model of the registry: `claude --model NAME`."
)
_CODEX = (
    'Codex reads its provider from ~/.codex/config.toml. Add to it, or give with -c: `model_provider = "paymaster"`, and under '
    '`[model_providers.paymaster]`: name, base_url (the value of $OPENAI_BASE_URL), `env_key = "OPENAI_API_KEY"` and '
    '`wire_api = "responses"`. In one line: '
    """sh -c 'codex -c model_provider=paymaster -c model_providers.paymaster.name=paymaster """
    """-c model_providers.paymaster.base_url="$OPENAI_BASE_URL" -c model_providers.paymaster.env_key=OPENAI_API_KEY """
    """-c model_providers.paymaster.wire_api=responses'"""
)
_AIDER = (
    "aider reads OPENAI_API_BASE for models whose name begins with openai/: `aider --model openai/NAME`, with NAME from the registry. "
    "Remove openai-api-base and API keys from .aider.conf.yml and .env."
)
_OPENCODE = (
    "opencode reads the address from opencode.json: "
    '{"provider": {"openai": {"options": {"baseURL": "{env:OPENAI_BASE_URL}", "apiKey": "{env:OPENAI_API_KEY}"}}}}'
)
_GOOSE = "goose reads OPENAI_HOST, without /v1: sh -c 'GOOSE_PROVIDER=openai OPENAI_HOST=\"${OPENAI_BASE_URL%/v1}\" goose session'"
_GEMINI = "Gemini CLI speaks Google's API alone, which the gateway doesn't serve: use a client of OpenAI's or Anthropic's API."
_QWEN = (
    "Qwen Code reads OPENAI_BASE_URL and OPENAI_API_KEY if its authentication method is OpenAI: choose it with /auth, or give "
    "`--openai-base-url` and `--openai-api-key`."
)
_MINI = "mini calls a gateway for models whose name begins with openai/: `mini -m openai/NAME`. `paymaster mini` needs no gateway."
_SWEAGENT = (
    "SWE-agent calls a gateway for models whose name begins with openai/: `--agent.model.name openai/NAME`. `paymaster sweagent` needs "
    "no gateway."
)
_CONTAINER = (
    "A container does not get these variables by itself, and its 127.0.0.1 is another one: add `--network host` and `-e` for each of "
    "OPENAI_BASE_URL, OPENAI_API_KEY, ANTHROPIC_BASE_URL and ANTHROPIC_API_KEY."
)
_CURL = 'curl calls the address that it is given: curl "$OPENAI_BASE_URL/chat/completions" -H "Authorization: Bearer $OPENAI_API_KEY" …'
_SDK = (
    "OpenAI's and Anthropic's libraries read OPENAI_BASE_URL, OPENAI_API_KEY, ANTHROPIC_BASE_URL and ANTHROPIC_API_KEY: create the client "
    "without base_url and api_key. litellm calls the gateway for models named openai/NAME. Other providers' libraries need base_url."
)

_PROGRAMS: Mapping[str, str] = {
    "aider": _AIDER,
    "aider-chat": _AIDER,
    "claude": _CLAUDE,
    "claude-code": _CLAUDE,
    "codex": _CODEX,
    "curl": _CURL,
    "docker": _CONTAINER,
    "gemini": _GEMINI,
    "gemini-cli": _GEMINI,
    "goose": _GOOSE,
    "mini": _MINI,
    "mini-extra": _MINI,
    "mini-swe-agent": _MINI,
    "opencode": _OPENCODE,
    "opencode-ai": _OPENCODE,
    "podman": _CONTAINER,
    "qwen": _QWEN,
    "qwen-code": _QWEN,
    "sweagent": _SWEAGENT,
}
_LANGUAGES: Mapping[str, str] = dict.fromkeys(("bun", "deno", "ipython", "jupyter", "node", "pypy", "pytest", "python", "tsx"), _SDK)
"""Programs that run a user's own program."""

_SHELLS = frozenset({"bash", "dash", "fish", "ksh", "sh", "zsh"})
_STARTERS = frozenset(
    {"bunx", "caffeinate", "env", "nice", "nohup", "npm", "npx", "pipx", "pnpm", "poetry", "script", "stdbuf", "sudo", "time", "timeout"}
    | {"unbuffer", "uv", "uvx", "xvfb-run", "yarn"}
)
"""Programs that start the one among their arguments."""


def gateway_advice(command: Sequence[str]) -> str:
    """How the program of a command is pointed at the gateway of its environment; in general words for an unknown one.

    A known program is also found behind another that starts it: `uv run aider`, `npx @openai/codex`, `sh -c "claude -p …"`.
    """
    first = _program(command[0])
    words = [first]
    if first in _SHELLS:
        words += [_program(word) for argument in command[1:] for word in argument.split()]
    elif first in _STARTERS or first in _LANGUAGES:
        words += [_program(argument) for argument in command[1:]]
    for table in (_PROGRAMS, _LANGUAGES):
        if (known := next((word for word in words if word in table), None)) is not None:
            return table[known]
    return ANY_PROGRAM


def _program(word: str) -> str:
    """The name in a path of a program or in a package: `/usr/bin/python3.12` is python, `@openai/codex@latest` is codex."""
    name = PurePath(word.strip("'\"")).name.partition("@")[0].lower().removesuffix(".exe")
    return name if name in _PROGRAMS else name.rstrip("0123456789.")
