"""One row per client program: its commands, its variables, and what else points it at a gateway; knows rows only, no rule about them.

Read on 2026-11-30 from the programs themselves: Codex 0.171, Claude Code 2.1, aider 0.86, opencode 1.18, Cline 3.0, Qwen Code 0.24,
Continue 1.5, OpenHands 1.58. goose and Gemini CLI: from their documentation.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Address(StrEnum):
    """What a variable of a client holds."""

    OPENAI = "openai"
    """The gateway's address for OpenAI's API, with `/v1`."""
    ROOT = "root"
    """The gateway's address without a path: for Anthropic's API, and clients that add `/v1` themselves."""
    KEY = "key"
    """The client key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How one client is pointed at a gateway.

    `title` is its heading in docs/clients.md, if it has a section. `commands` are the names of its program and of its packages. `variables`
    are its own, which no other program reads in another sense; `exec` sets them. `advice` is what it needs besides, for a person; a name of
    a model is written as NAME.
    """

    title: str
    commands: tuple[str, ...]
    advice: str
    variables: Mapping[str, Address] = field(default_factory=dict)


SHARED_VARIABLES: Mapping[str, Address] = {
    "OPENAI_BASE_URL": Address.OPENAI,
    "OPENAI_API_BASE": Address.OPENAI,
    "OPENAI_API_KEY": Address.KEY,
    "ANTHROPIC_BASE_URL": Address.ROOT,
    "ANTHROPIC_API_BASE": Address.ROOT,
    "ANTHROPIC_API_KEY": Address.KEY,
    "LITELLM_PROXY_API_BASE": Address.OPENAI,
    "LITELLM_PROXY_API_KEY": Address.KEY,
}
"""What OpenAI's and Anthropic's libraries, litellm, and most programs read."""

_WHOLE_LINE = "The address is known inside the command only, so give the line to a shell"

RECIPES: tuple[Recipe, ...] = (
    Recipe(
        title="Claude Code",
        commands=("claude", "claude-code"),
        advice=(
            "Claude Code reads ANTHROPIC_BASE_URL, but `env` in its settings.json wins over it, and with CLAUDE_CODE_USE_BEDROCK or "
            "CLAUDE_CODE_USE_VERTEX it is not used. Remove these, and use a model of the registry: `claude --model NAME`."
        ),
    ),
    Recipe(
        title="Codex CLI",
        commands=("codex",),
        variables={"CODEX_API_KEY": Address.KEY},
        advice=(
            f"Codex reads no OPENAI_BASE_URL. Give it the address with -c. {_WHOLE_LINE}: "
            """sh -c 'codex exec -c openai_base_url="$OPENAI_BASE_URL" -m NAME "…"'. Its key is CODEX_API_KEY, which is set. """
            "A `model_provider` in ~/.codex/config.toml wins: remove it, or set its base_url and env_key."
        ),
    ),
    Recipe(
        title="aider",
        commands=("aider", "aider-chat"),
        advice=(
            "aider reads OPENAI_API_BASE for models whose name begins with openai/: `aider --model openai/NAME`, with NAME from the "
            "registry. Remove openai-api-base and API keys from .aider.conf.yml and .env."
        ),
    ),
    Recipe(
        title="opencode",
        commands=("opencode", "opencode-ai"),
        advice=(
            "opencode reads the address from opencode.json: "
            '{"provider": {"openai": {"options": {"baseURL": "{env:OPENAI_BASE_URL}", "apiKey": "{env:OPENAI_API_KEY}"}, '
            '"models": {"NAME": {}}}}}. Then: `opencode run -m openai/NAME "…"`.'
        ),
    ),
    Recipe(
        title="Cline",
        commands=("cline",),
        advice=(
            f"Cline reads the address from its own settings. {_WHOLE_LINE}: sh -c 'cline auth -p openai-compatible -m NAME "
            """-b "$OPENAI_BASE_URL" -k "$OPENAI_API_KEY" && cline "…"'. Its --data-dir keeps these apart from your own settings."""
        ),
    ),
    Recipe(
        title="Qwen Code",
        commands=("qwen", "qwen-code"),
        advice=(
            "Qwen Code reads OPENAI_BASE_URL and OPENAI_API_KEY if its authentication is OpenAI's: `qwen --auth-type openai --model NAME`. "
            "`security.auth` and `modelProviders` in its settings.json win over both."
        ),
    ),
    Recipe(
        title="Gemini CLI",
        commands=("gemini", "gemini-cli"),
        advice="Gemini CLI speaks Google's API alone, which the gateway doesn't serve: use a client of OpenAI's or Anthropic's API.",
    ),
    Recipe(
        title="goose",
        commands=("goose", "goose-cli"),
        advice=(
            f"goose reads OPENAI_HOST, without /v1. {_WHOLE_LINE}: "
            """sh -c 'GOOSE_PROVIDER=openai GOOSE_MODEL=NAME OPENAI_HOST="${OPENAI_BASE_URL%/v1}" goose session'"""
        ),
    ),
    Recipe(
        title="Continue",
        commands=("cn", "continue"),
        advice=(
            "Continue reads the address from config.yaml: a model with `provider: openai`, `model: NAME`, `apiBase` (the value of "
            "$OPENAI_BASE_URL) and `apiKey` (that of $OPENAI_API_KEY). Write it in the command, and start `cn --config FILE`."
        ),
    ),
    Recipe(
        title="OpenHands",
        commands=("openhands", "openhands-ai"),
        variables={"LLM_BASE_URL": Address.OPENAI, "LLM_API_KEY": Address.KEY},
        advice=(
            "OpenHands reads LLM_BASE_URL and LLM_API_KEY, which are set, with `--override-with-envs` and LLM_MODEL=openai/NAME. In a "
            'program: LLM(model="openai/NAME", base_url=os.environ["LLM_BASE_URL"], api_key=os.environ["LLM_API_KEY"]).'
        ),
    ),
    Recipe(
        title="mini-swe-agent",
        commands=("mini", "mini-extra", "mini-swe-agent"),
        advice="mini calls a gateway for models whose name begins with openai/: `mini -m openai/NAME`. `paymaster mini` needs no gateway.",
    ),
    Recipe(
        title="SWE-agent",
        commands=("sweagent", "swe-agent"),
        advice=(
            "SWE-agent calls a gateway for models whose name begins with openai/: `--agent.model.name openai/NAME`. `paymaster sweagent` "
            "needs no gateway."
        ),
    ),
    Recipe(
        title="inspect_ai",
        commands=("inspect", "inspect-ai"),
        advice="inspect reads OPENAI_BASE_URL and ANTHROPIC_BASE_URL: `inspect eval FILE --model openai/NAME`, or `anthropic/NAME`.",
    ),
    Recipe(
        title="llm",
        commands=("llm",),
        advice=(
            "llm reads the address of a model from extra-openai-models.yaml: `model_id`, `model_name: NAME`, `api_base` (the value of "
            "$OPENAI_BASE_URL), `api_key_name`; and its key from `llm keys set`."
        ),
    ),
    Recipe(
        title="a container",
        commands=("docker", "podman"),
        advice=(
            "A container does not get these variables by itself, and its 127.0.0.1 is another one: add `--network host` and `-e` for each "
            "of OPENAI_BASE_URL, OPENAI_API_KEY, ANTHROPIC_BASE_URL and ANTHROPIC_API_KEY."
        ),
    ),
    Recipe(
        title="curl",
        commands=("curl",),
        advice=(
            f"curl calls the address that it is given. {_WHOLE_LINE}: "
            """sh -c 'curl "$OPENAI_BASE_URL/chat/completions" -H "Authorization: Bearer $OPENAI_API_KEY" …'"""
        ),
    ),
)

LANGUAGES = Recipe(
    title="a program with OpenAI's or Anthropic's library",
    commands=("bun", "deno", "ipython", "jupyter", "node", "pypy", "pytest", "python", "tsx"),
    advice=(
        "OpenAI's and Anthropic's libraries read OPENAI_BASE_URL, OPENAI_API_KEY, ANTHROPIC_BASE_URL and ANTHROPIC_API_KEY: create the "
        "client without base_url and api_key. litellm calls the gateway for models named openai/NAME. Other providers' libraries need "
        "base_url."
    ),
)
"""What runs a user's own program."""


def client_variables(port: int, secret: str) -> dict[str, str]:
    """The variables that point every client of the table that has some at the gateway on this port of this machine."""
    root = f"http://127.0.0.1:{port}"
    values = {Address.OPENAI: f"{root}/v1", Address.ROOT: root, Address.KEY: secret}
    named = {**SHARED_VARIABLES, **{name: kind for recipe in RECIPES for name, kind in recipe.variables.items()}}
    return {name: values[kind] for name, kind in named.items()}
