"""Separates Paymaster's flags from another program's command line; knows nothing of that program's flags."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from paymaster.errors import UsageMistake
from paymaster.registry.overrides import SETTINGS, flag_of

_SWITCHES = {"hard_stop_on_budget"}
_VERBOSITY = {"--verbose": 1, "-v": 1, "-vv": 2, "--quiet": -1, "-q": -1}


@dataclass(frozen=True, slots=True)
class ParsedFlags:
    """`settings` as typed, by the names of `overrides.SETTINGS`; `verbosity` for `configure_logging`; `args` of the other program."""

    settings: Mapping[str, str]
    verbosity: int
    args: tuple[str, ...]


def parse_flags(arguments: Sequence[str]) -> ParsedFlags:
    """Split a command line.

    Flags are `--flag value` or `--flag=value`, with dashes or underscores. The last one wins. Everything after `--` is the other program's.
    Raises UsageMistake for a flag without its value.
    """
    settings: dict[str, str] = {}
    args: list[str] = []
    verbosity = 0
    stream = iter(arguments)
    for word in stream:
        if word == "--":
            args += [word, *stream]
        elif word in _VERBOSITY:
            verbosity = _VERBOSITY[word] if _VERBOSITY[word] < 0 else min(2, max(0, verbosity) + _VERBOSITY[word])
        elif (named := _setting(word)) is not None:
            name, value = named
            settings[name] = value if value is not None else _next_value(word, stream)
        else:
            args.append(word)
    return ParsedFlags(settings, verbosity, tuple(args))


def _setting(word: str) -> tuple[str, str | None] | None:
    """The setting that a word names, and its value; None for a word of the other program."""
    flag, equals, value = word.partition("=")
    if not flag.startswith("--"):
        return None
    name = flag.removeprefix("--").replace("-", "_")
    if name in _SWITCHES and not equals:
        return name, "true"
    if name.removeprefix("no_") in _SWITCHES and not equals:
        return name.removeprefix("no_"), "false"
    return (name, value if equals else None) if name in SETTINGS else None


def _next_value(flag: str, stream: Iterator[str]) -> str:
    value = next(stream, None)
    if value is None or value.startswith("--"):
        name = flag.removeprefix("--").replace("-", "_")
        raise UsageMistake(f"{flag_of(name)} needs a value", advice=SETTINGS[name])
    return value
