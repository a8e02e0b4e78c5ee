"""`paymaster shell-init`: prints shell functions that run the agents' own commands under a registry; runs no agent."""

from typing import Annotated

import typer

HELP = """Make plain `sweagent` and `mini` use a registry.

Prints functions for your shell. With them, `sweagent`, `mini` and `mini-extra swebench` run under Paymaster if PAYMASTER_MODEL_REGISTRY
is set or --model-registry is given, and are the plain programs otherwise. Add one line to your shell's start-up file:

\b
  ~/.bashrc                    eval "$(paymaster shell-init bash)"
  ~/.zshrc                     eval "$(paymaster shell-init zsh)"
  ~/.config/fish/config.fish   paymaster shell-init fish | source
"""

_POSIX = """\
# Runs sweagent, mini and mini-extra swebench under a model registry if one is named. Made by: paymaster shell-init
_paymaster_has_registry() {
    [ -z "${PAYMASTER_MODEL_REGISTRY-}" ] || return 0
    local word
    for word in "$@"; do
        case $word in
            --) return 1 ;;
            --model[-_]registry | --model[-_]registry=*) return 0 ;;
        esac
    done
    return 1
}
sweagent() {
    if _paymaster_has_registry "$@"; then command paymaster sweagent "$@"; else command sweagent "$@"; fi
}
mini() {
    if _paymaster_has_registry "$@"; then command paymaster mini "$@"; else command mini "$@"; fi
}
mini-extra() {
    if [ "${1-}" = swebench ] && _paymaster_has_registry "$@"; then
        shift
        command paymaster mini-batch "$@"
    else
        command mini-extra "$@"
    fi
}
"""

_FISH = """\
# Runs sweagent, mini and mini-extra swebench under a model registry if one is named. Made by: paymaster shell-init
function _paymaster_has_registry
    test -n "$PAYMASTER_MODEL_REGISTRY"; and return 0
    for word in $argv
        switch $word
            case --
                return 1
            case --model-registry '--model-registry=*' --model_registry '--model_registry=*'
                return 0
        end
    end
    return 1
end
function sweagent
    if _paymaster_has_registry $argv
        command paymaster sweagent $argv
    else
        command sweagent $argv
    end
end
function mini
    if _paymaster_has_registry $argv
        command paymaster mini $argv
    else
        command mini $argv
    end
end
function mini-extra
    if test "$argv[1]" = swebench; and _paymaster_has_registry $argv
        command paymaster mini-batch $argv[2..-1]
    else
        command mini-extra $argv
    end
end
"""

_BY_SHELL = {"bash": _POSIX, "zsh": _POSIX, "fish": _FISH}


def shell_init(
    shell: Annotated[
        str | None, typer.Argument(metavar="SHELL", show_default=False, help="bash, zsh or fish. Default: the one in SHELL.")
    ] = None,
) -> None:
    """See `HELP`."""
    import os
    from pathlib import PurePath

    from paymaster.cli.terminal import write
    from paymaster.errors import UsageMistake

    name = PurePath(os.environ.get("SHELL", "")).name if shell is None else shell
    text = _BY_SHELL.get(name)
    if text is None:
        problem = f"unknown shell {name!r}" if name else "no shell is named, and SHELL is not set"
        raise UsageMistake(problem, advice=f"Name one of {', '.join(_BY_SHELL)}: paymaster shell-init bash")
    write(text.removesuffix("\n"))
