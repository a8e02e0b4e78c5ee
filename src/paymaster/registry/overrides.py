"""Settings from flags and environment variables that override the registry, with their origin; knows no file and reads no global.

A flag wins over its variable, the variable over the file, the file over the default. Unknown `PAYMASTER_…` variables are reported, because
a mistyped budget costs money.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from paymaster.accounting.budget_units import BudgetUnit
from paymaster.errors import near

PREFIX = "PAYMASTER_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrides:
    """Every setting outside the registry, None if it is not given. `origins` has the origin of each: `flag --budget-usd`.

    `budget_usd`, `budget_tokens` and `budget_requests` cap the batch if there is a `batch_id`, else the run, and each replaces the file's
    budget per run in its unit; `rpm_limit` and `tpm_limit` replace the file's for every model. `warnings` name unknown `PAYMASTER_…`
    variables.
    """

    model_registry: str | None = None
    budget_usd: Decimal | None = None
    budget_tokens: int | None = None
    budget_requests: int | None = None
    rpm_limit: int | None = None
    tpm_limit: int | None = None
    hard_stop_on_budget: bool | None = None
    run_id: str | None = None
    batch_id: str | None = None
    user: str | None = None
    ledger: str | None = None
    state_dir: str | None = None
    events: str | None = None
    origins: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def budgets(self) -> list[tuple[BudgetUnit, str, Decimal | int]]:
        """The budgets that are given: unit, setting, and dollars, tokens or requests."""
        found = ((unit, name, getattr(self, name)) for unit, name in BUDGET_SETTINGS.items())
        return [(unit, name, amount) for unit, name, amount in found if amount is not None]


BUDGET_SETTINGS: Mapping[BudgetUnit, str] = {unit: f"budget_{unit}" for unit in BudgetUnit}
"""The setting of a budget in each unit."""

SETTINGS: Mapping[str, str] = {
    "model_registry": "The registry file.",
    "budget_usd": "Dollars that this run may spend (with a batch id: the whole batch, over all its processes). "
    "Hard unless the registry or PAYMASTER_HARD_STOP_ON_BUDGET sets it otherwise.",
    "budget_tokens": "Tokens that this run may use, prompts and answers together; otherwise like --budget-usd.",
    "budget_requests": "Requests that this run may send (attempts that may be billed); otherwise like --budget-usd.",
    "rpm_limit": "Requests per minute for every model, replacing the registry's.",
    "tpm_limit": "Tokens per minute for every model, replacing the registry's.",
    "hard_stop_on_budget": "Whether a call over budget is refused (true) or made and reported (false).",
    "run_id": "The run that calls belong to.",
    "batch_id": "The batch that calls belong to.",
    "user": "The user that calls belong to.",
    "ledger": "The ledger's URL, such as sqlite:///path/to/file.db or memory:.",
    "state_dir": "The folder for ledger and events.",
    "events": "The file for events.",
}
"""Every setting and its meaning. Each is a flag (`--budget-usd`) and a variable (`PAYMASTER_BUDGET_USD`)."""

_SHORT_VARIABLES = {"PAYMASTER_HARD_STOP": "hard_stop_on_budget"}


def variable_of(name: str) -> str:
    """The environment variable of a setting: `PAYMASTER_BUDGET_USD`."""
    return f"{PREFIX}{name.upper()}"


def flag_of(name: str) -> str:
    """The flag of a setting: `--budget-usd`."""
    return f"--{name.replace('_', '-')}"


def read_overrides(flags: Mapping[str, object], environ: Mapping[str, str]) -> Overrides:
    """Flags (by the names of `SETTINGS`; None: not given) over environment variables. An empty variable counts as not given.

    Raises RegistryInvalid with every value that can't be read, naming its flag or variable.
    """
    known = {variable_of(name): name for name in SETTINGS} | _SHORT_VARIABLES
    given = {name: value for name, value in flags.items() if value is not None}
    variables = {name: environ[key] for key, name in known.items() if environ.get(key, "").strip()}
    origins = {name: f"environment {variable_of(name)}" for name in variables} | {name: f"flag {flag_of(name)}" for name in given}
    warnings = tuple(
        f"ignoring the unknown environment variable {key} ({near(key, known)})"
        for key in sorted(environ)
        if key.startswith(PREFIX) and key not in known
    )
    if not origins:
        return Overrides(warnings=warnings)
    from paymaster.registry.settings import read_settings

    return Overrides(**read_settings(given, variables, origins), origins=origins, warnings=warnings)
