"""Finds the recipe of a command's program, also behind another program that starts it; knows no gateway."""

from collections.abc import Mapping, Sequence
from pathlib import PurePath

from paymaster.gateway.client_recipes import LANGUAGES, RECIPES, Recipe

ANY_PROGRAM = (
    "The command has OPENAI_BASE_URL (also OPENAI_API_BASE), OPENAI_API_KEY, ANTHROPIC_BASE_URL and ANTHROPIC_API_KEY in its environment. "
    "Its own settings must use these: a base URL or a key in a config file or in a flag often wins over the environment."
)

_PROGRAMS: Mapping[str, Recipe] = {command: recipe for recipe in RECIPES for command in recipe.commands}
_LANGUAGES: Mapping[str, Recipe] = dict.fromkeys(LANGUAGES.commands, LANGUAGES)

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
            return table[known].advice
    return ANY_PROGRAM


def _program(word: str) -> str:
    """The name in a path of a program or in a package: `/usr/bin/python3.12` is python, `@openai/codex@latest` is codex."""
    name = PurePath(word.strip("'\"")).name.partition("@")[0].lower().removesuffix(".exe")
    return name if name in _PROGRAMS else name.rstrip("0123456789.")
