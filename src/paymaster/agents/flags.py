"""Separates Paymaster's flags from another program's command line; knows nothing of that program's flags."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from paymaster.errors import UsageMistake
from paymaster.registry.overrides import SETTINGS, flag_of

_SWITCHES = {"hard_stop_on_budget"}
_VERBOSITY = {"--verbose": 1, "-v": 1, "-vv": 2, "--quiet": -1, "-q": -1}

_OURS_ALONE = {
    "budget": "budget_usd",
    "registry": "model_registry",
    "rpm": "rpm_limit",
    "tpm": "tpm_limit",
    "ledger": "ledger",
    "batch": "batch_id",
    "runid": "run_id",
    "batchid": "batch_id",
}
"""Words that no flag of the agents has: a flag with one of them was meant for Paymaster."""

_THEIRS = "model"  # mini's flag, with which one of ours begins
_SHORTEST = 3  # letters of a flag that was cut short
_SAME_WORD = 0.8  # of difflib's ratio: one or two letters of a flag are missing, wrong or swapped


@dataclass(frozen=True, slots=True)
class ParsedFlags:
    """`settings` as typed, by the names of `overrides.SETTINGS`; `verbosity` for `configure_logging`; `args` of the other program."""

    settings: Mapping[str, str]
    verbosity: int
    args: tuple[str, ...]


def parse_flags(arguments: Sequence[str]) -> ParsedFlags:
    """Split a command line.

    Flags are `--flag value` or `--flag=value`, with dashes or underscores. The last one wins. Everything after `--` is the other program's.
    Raises UsageMistake for a flag without its value, and for one that is nearly ours: the other program would only call it unknown.
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
        elif (meant := _nearly_ours(word)) is not None:
            raise UsageMistake(f"unknown flag {word.partition('=')[0]} (did you mean {flag_of(meant)}?)", advice=SETTINGS[meant])
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


def _nearly_ours(word: str) -> str | None:
    """The setting that a flag of neither program means; None for any other word. SWE-agent's own flags are paths with dots."""
    flag = word.partition("=")[0]
    if not flag.startswith("--") or "." in flag:
        return None
    name = flag.removeprefix("--").replace("-", "_").lower()
    named = next((_OURS_ALONE[part] for part in name.split("_") if part in _OURS_ALONE), None)
    if named is not None:
        return named
    known = {**{setting: setting for setting in SETTINGS}, **{f"no_{setting}": setting for setting in _SWITCHES}}
    longer = [setting for setting in known if setting.startswith(name) and len(name) >= _SHORTEST and name != _THEIRS]
    close = longer if len(longer) == 1 else get_close_matches(name, known, n=1, cutoff=_SAME_WORD)
    return known[close[0]] if close else None


def _next_value(flag: str, stream: Iterator[str]) -> str:
    value = next(stream, None)
    if value is None or value.startswith("--"):
        name = flag.removeprefix("--").replace("-", "_")
        raise UsageMistake(f"{flag_of(name)} needs a value", advice=SETTINGS[name])
    return value
