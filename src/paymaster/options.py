"""Turns settings, environment and registry into the options of a client, reading each once; opens nothing."""

import os
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, cast

from platformdirs import user_state_path

from paymaster.errors import UsageMistake
from paymaster.flow.events import Event
from paymaster.keywords import check_settings
from paymaster.price_store.opening import open_catalogue
from paymaster.registry.model_data import ModelData
from paymaster.registry.models import Registry
from paymaster.registry.overrides import Overrides, read_overrides
from paymaster.resources import Options
from paymaster.scope import Scope, ScopeNames

if TYPE_CHECKING:
    from paymaster.registry.yamltext import Document

Amount: TypeAlias = Decimal | int | float | str
"""Dollars as a person writes them; converted exactly from their text."""


class ClientSettings(ScopeNames, total=False):
    """The settings of a client besides its registry. A missing one comes from its `PAYMASTER_…` variable, the registry or a default.

    `run` is the run's name in budgets and reports (default: a new name); `batch`, `instance`, `user`, `role` and `tags` name the caller
    further. `model_registry` is the registry by the name of its flag. `budget_usd`, `budget_tokens` and `budget_requests` cap the run
    (with `batch`: the batch); `rpm_limit` and `tpm_limit` apply to every model. `hard_stop_on_budget` refuses calls over budget (default:
    the registry's; if it has none, true with one of these budgets and false without). `ledger` is a URL such as `sqlite:///path` or
    `memory:` (default: a file in `state_dir`); `events` is the path of the events file. `listeners` are called with every event. `environ`
    has keys and `PAYMASTER_…` variables (default: the process's environment).
    """

    model_registry: str | Path | Registry | None
    budget_usd: Amount | None
    budget_tokens: int | str | None
    budget_requests: int | str | None
    rpm_limit: int | None
    tpm_limit: int | None
    hard_stop_on_budget: bool | None
    ledger: str | None
    events: str | Path | None
    state_dir: str | Path | None
    listeners: Sequence[Callable[[Event], None]]
    environ: Mapping[str, str] | None


def configure(registry: str | Path | Registry | None, settings: ClientSettings, *, newest_prices: bool = False) -> Options:
    """The options of a client with these settings. A named run keeps the prices it began with, unless `newest_prices` is set.

    Raises RegistryInvalid, ArgumentInvalid and UsageMistake.
    """
    registry, settings = _checked(registry, settings)
    environ = _environ(settings)
    overrides = read_overrides(_flags(settings), environ)
    loaded = (
        _under_arguments(registry, settings, overrides)
        if isinstance(registry, Registry)
        else registry_for(registry, settings, newest_prices=newest_prices)
    )
    events = overrides.events
    return Options(
        registry=loaded,
        scope=Scope(
            run=overrides.run_id or new_run_id(),
            batch=overrides.batch_id,
            instance=settings.get("instance"),
            user=overrides.user,
            role=settings.get("role"),
            tags=dict(settings.get("tags") or {}),
        ),
        state_dir=state_directory(overrides.state_dir),
        ledger=overrides.ledger,
        events=Path(events).expanduser() if events else None,
        listeners=tuple(settings.get("listeners") or ()),
        environ=environ,
        pins_prices=overrides.run_id is not None and not newest_prices,
    )


def _under_arguments(registry: Registry, settings: ClientSettings, overrides: Overrides) -> Registry:
    """A loaded registry under the caller's own settings. It was loaded under its environment already."""
    given = read_overrides(_flags(settings), {})
    if not given.budgets() and all(value is None for value in (given.rpm_limit, given.tpm_limit, given.hard_stop_on_budget)):
        return registry
    from paymaster.registry.completing import override_registry

    return override_registry(registry, replace(given, batch_id=overrides.batch_id))


def _checked(registry: str | Path | Registry | None, settings: ClientSettings) -> tuple[str | Path | Registry | None, ClientSettings]:
    """The registry and the settings, each by its own name."""
    given: dict[str, object] = {**settings} if registry is None else {**settings, "registry": registry}
    checked = check_settings(given, (*ClientSettings.__annotations__, "registry"), "Client")
    named = cast("str | Path | Registry | None", checked.pop("registry", None))
    return named, cast("ClientSettings", checked)


def registry_for(named: "str | Path | Document | None", settings: ClientSettings, *, newest_prices: bool = False) -> Registry:
    """The registry at a path, with these settings; None takes `PAYMASTER_MODEL_REGISTRY`.

    A Document is a registry that has been read as part of another program's config. A named run keeps the prices it began with, unless
    `newest_prices` is set. Raises RegistryInvalid and UsageMistake.
    """
    # These import YAML and pydantic, which `import paymaster` alone should not.
    from paymaster.registry.completing import Sources
    from paymaster.registry.loading import load_registry, read_registry
    from paymaster.registry.yamltext import Document

    environ, at = _environ(settings), datetime.now(UTC)
    overrides = read_overrides(_flags(settings), environ)
    run = None if newest_prices else overrides.run_id
    (catalogue, edition), model_data = open_catalogue(state_directory(overrides.state_dir), run), ModelData()
    if isinstance(named, Document):
        directory = Path(named.file).parent
        sources = Sources(catalogue=catalogue, model_data=model_data, environ=environ, at=at, directory=directory)
        return replace(read_registry(named, overrides, sources), catalogue=edition)
    path = named if named is not None else overrides.model_registry
    if path is None:
        msg = "no model registry"
        raise UsageMistake(msg, advice="Name one with --model-registry or PAYMASTER_MODEL_REGISTRY; `paymaster init` writes one.")
    registry = load_registry(Path(path).expanduser(), overrides, catalogue=catalogue, model_data=model_data, environ=environ, at=at)
    return replace(registry, catalogue=edition)


def _environ(settings: ClientSettings) -> Mapping[str, str]:
    environ = settings.get("environ")
    return os.environ if environ is None else environ


def state_directory(named: str | None) -> Path:
    """The directory of ledger and events: the named one, else the user's state directory."""
    return Path(named).expanduser() if named else user_state_path("paymaster", appauthor=False)


def new_run_id() -> str:
    """A new name for a run: its start and a few random letters."""
    return f"run-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(3)}"


def _flags(settings: ClientSettings) -> dict[str, object]:
    """The settings that can also be environment variables, by the names of `overrides.SETTINGS`."""
    amount = settings.get("budget_usd")
    events, state_dir = settings.get("events"), settings.get("state_dir")
    return {
        "budget_usd": amount if amount is None or isinstance(amount, int) else str(amount),
        "budget_tokens": settings.get("budget_tokens"),
        "budget_requests": settings.get("budget_requests"),
        "rpm_limit": settings.get("rpm_limit"),
        "tpm_limit": settings.get("tpm_limit"),
        "hard_stop_on_budget": settings.get("hard_stop_on_budget"),
        "run_id": settings.get("run"),
        "batch_id": settings.get("batch"),
        "user": settings.get("user"),
        "ledger": settings.get("ledger"),
        "state_dir": None if state_dir is None else str(state_dir),
        "events": None if events is None else str(events),
    }
