"""The flags that commands share, each defined once with its variable; knows their names, and not what they do."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from paymaster.errors import UsageMistake
from paymaster.registry.overrides import BUDGET_SETTINGS, SETTINGS, flag_of, variable_of

if TYPE_CHECKING:
    from paymaster.options import ClientSettings
    from paymaster.registry.overrides import Overrides


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """The shared flags that the user gave; None for the others. `verbosity` is what `configure_logging` takes."""

    model_registry: str | None = None
    budget_usd: str | None = None
    budget_tokens: str | None = None
    budget_requests: str | None = None
    rpm_limit: int | None = None
    tpm_limit: int | None = None
    hard_stop_on_budget: bool | None = None
    run_id: str | None = None
    batch_id: str | None = None
    user: str | None = None
    ledger: str | None = None
    state_dir: str | None = None
    events: str | None = None
    verbosity: int = 0

    def settings(self) -> "ClientSettings":
        """For a client."""
        return {
            "run": self.run_id,
            "batch": self.batch_id,
            "user": self.user,
            "budget_usd": self.budget_usd,
            "budget_tokens": self.budget_tokens,
            "budget_requests": self.budget_requests,
            "rpm_limit": self.rpm_limit,
            "tpm_limit": self.tpm_limit,
            "hard_stop_on_budget": self.hard_stop_on_budget,
            "ledger": self.ledger,
            "state_dir": self.state_dir,
            "events": self.events,
        }

    def overrides(self) -> "Overrides":
        """The flags over the environment, for commands that need no registry. Raises RegistryInvalid."""
        import os

        from paymaster.registry.overrides import read_overrides

        return read_overrides({name: getattr(self, name) for name in SETTINGS}, os.environ)


ALL = tuple(SETTINGS)
BUDGETS = tuple(BUDGET_SETTINGS.values())
LEDGER = ("ledger", "state_dir")

_KINDS: dict[str, tuple[type, str]] = {
    "model_registry": (str, "PATH"),
    "budget_usd": (str, "USD"),
    "budget_tokens": (str, "N"),
    "budget_requests": (str, "N"),
    "rpm_limit": (int, "N"),
    "tpm_limit": (int, "N"),
    "hard_stop_on_budget": (bool, ""),
    "run_id": (str, "ID"),
    "batch_id": (str, "ID"),
    "user": (str, "NAME"),
    "ledger": (str, "URL"),
    "state_dir": (str, "DIR"),
    "events": (str, "PATH"),
}

_REGISTRY_HELP = f"The registry file, else {variable_of('model_registry')}."
RegistryArgument = Annotated[Path | None, typer.Argument(metavar="REGISTRY", show_default=False, help=_REGISTRY_HELP)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]


def registry_of(argument: Path | None, flags: Flags) -> str | None:
    """The registry by argument or by flag; None leaves it to the environment. Raises UsageMistake if two different ones are named."""
    if argument is None or flags.model_registry in (None, str(argument)):
        return flags.model_registry if argument is None else str(argument)
    raise UsageMistake(f"two registries are named: {argument} and {flags.model_registry}", advice="Name one of them.")


def with_flags(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add these shared flags (names of `SETTINGS`) to a command, as its first argument, `Flags`; and `-v` and `-q`, for the log."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        _, *own = inspect.signature(command, eval_str=True).parameters.values()

        @wraps(command)
        def call(*, verbose: int, quiet: bool, **values: Any) -> None:  # noqa: ANN401  typer gives what the signature below asks for
            shared = {name: values.pop(name) for name in names}
            flags = Flags(**shared, verbosity=-1 if quiet else verbose)
            set_up_log(flags.verbosity)
            command(flags, **values)

        keywords = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own]
        options = [_parameter(name, _annotation(name), None) for name in names]
        call.__signature__ = inspect.Signature([*keywords, *options, *_VERBOSITY])  # type: ignore[attr-defined]  # typer reads it, functions have it
        return call

    return decorate


def _annotation(name: str) -> object:
    kind, metavar = _KINDS[name]
    flag = f"{flag_of(name)}/--no-{name.replace('_', '-')}" if kind is bool else flag_of(name)
    option = typer.Option(flag, metavar=metavar or None, help=f"{SETTINGS[name]} [{variable_of(name)}]", show_default=False)
    return Annotated[kind | None, option]


def _parameter(name: str, annotation: object, default: object) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


_VERBOSITY = (
    _parameter(
        "verbose",
        Annotated[int, typer.Option("--verbose", "-v", count=True, help="Log what happens; twice: everything.", show_default=False)],
        0,
    ),
    _parameter("quiet", Annotated[bool, typer.Option("--quiet", "-q", help="Log errors only.")], False),
)


def set_up_log(verbosity: int) -> None:
    """Show the log on standard error, as `configure_logging` does."""
    import sys

    from paymaster.telemetry.logs import configure_logging

    configure_logging(verbosity, sys.stderr)
