"""What LiteLLM's `router_settings`, `litellm_settings` and `general_settings` are in a registry: policies, and defaults of all models."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from paymaster.errors import near
from paymaster.imports.draft import Draft
from paymaster.imports.findings import Findings
from paymaster.imports.litellm.chains import Chains
from paymaster.imports.litellm.durations import budget_per
from paymaster.imports.litellm.entries import fields_at
from paymaster.imports.litellm.fields import BY_PREFIX, GENERAL_WITHOUT, MEANS_OFF, ROUTER_WITHOUT, SETTINGS_WITHOUT
from paymaster.imports.litellm.making import Fields
from paymaster.imports.litellm.models import Models
from paymaster.imports.litellm.params import say_of_drop_params
from paymaster.imports.litellm.providers import provider_named
from paymaster.imports.litellm.variables import Variables
from paymaster.registry.yamltext import KeyPath, Plain

ROUTER, SETTINGS, GENERAL = "router_settings", "litellm_settings", "general_settings"
_DEFAULTS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "timeout": ((ROUTER, "timeout"), (SETTINGS, "request_timeout")),
    "stream_timeout": ((ROUTER, "stream_timeout"),),
    "max_parallel_requests": ((ROUTER, "default_max_parallel_requests"), (GENERAL, "max_parallel_requests")),
}
"""The fields of every deployment that has none of its own, and where they are, the first one before the others."""

_STRATEGIES: Mapping[str, tuple[str, str]] = {
    "simple-shuffle": ("weighted", ""),
    "least-busy": ("least_loaded", ""),
    "usage-based-routing": ("least_loaded", "the endpoint with the most room under its limits"),
    "usage-based-routing-v2": ("least_loaded", "the endpoint with the most room under its limits"),
    "latency-based-routing": ("fastest", ""),
    "cost-based-routing": ("cheapest", ""),
}
_ALWAYS = "always: a hold is taken for each attempt before it is sent"
_WINDOW = "always: a model whose window is too small is skipped"
_JOINED = "one chain for all failures: a model whose window is too small is skipped"
_CONTENT = "one chain for all failures, and for refusals by a provider's content policy"


@dataclass(slots=True)
class Settings:
    """The fields of the three sections by section and name, and what has been read of them."""

    sections: Mapping[str, Fields]
    findings: Findings
    read: set[tuple[str, str]] = field(default_factory=set)

    def pick(self, *places: tuple[str, str]) -> tuple[Plain, KeyPath] | None:
        """The value of the first of these fields that has one; the others are said not to count."""
        found: tuple[Plain, KeyPath] | None = None
        for section, name in places:
            self.read.add((section, name))
            value, path = self.sections[section].get(name, (None, ()))
            if not path:
                continue
            if found is not None:
                self.findings.changed(path, f"{'.'.join(map(str, found[1]))} counts")
            elif value is None:
                self.findings.changed(path, "it is empty")
            else:
                found = (value, path)
        return found


def read_settings(tree: Plain, findings: Findings) -> Settings:
    """The three sections. Says so if one of them is no map."""
    for name in (ROUTER, SETTINGS, GENERAL):
        section = tree.get(name) if isinstance(tree, dict) else None
        if section is not None and not isinstance(section, dict):
            findings.no_counterpart((name,), "this is no map of settings")
        elif section is None or not section:
            findings.carried((name,), "it is empty")
    return Settings({name: fields_at(tree, (name,)) for name in (ROUTER, SETTINGS, GENERAL)}, findings)


def defaults_of(settings: Settings) -> Fields:
    """The fields that every deployment has unless it has its own."""
    found = {name: picked for name, places in _DEFAULTS.items() if (picked := settings.pick(*places)) is not None}
    picked = settings.pick((ROUTER, "default_litellm_params"))
    common = (
        {}
        if picked is None or not isinstance(picked[0], dict)
        else {name: (value, (*picked[1], name)) for name, value in picked[0].items()}
    )
    for _, path in (*found.values(), *common.values()):
        settings.findings.changed(path, "every model has its own")
    if picked is not None and not common:
        settings.findings.no_counterpart(picked[1], "this is no map of parameters")
    return {**common, **found}


def put_policies(settings: Settings, models: Models, variables: Variables, policies: Draft) -> None:
    """Put retries, circuits and budgets into the policies."""
    findings = settings.findings
    for key, places, how, adapt in _NUMBERS:
        picked = settings.pick(*places)
        if picked is not None:
            value = adapt(picked[0])
            policies.put((key,), value, picked[1])
            findings.changed(picked[1], how) if how else findings.carried(picked[1])
    if "breaker_failures" in policies.values:
        policies.values["breaker_window_s"] = 60
    _put_budgets(settings, models, policies)
    _say_of_redis(settings, variables)


def _one_more(value: Plain) -> Plain:
    return value + 1 if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**9 else value


def _as_it_is(value: Plain) -> Plain:
    return value


_RETRIES = ((ROUTER, "num_retries"), (ROUTER, "max_retries"), (SETTINGS, "num_retries"), (SETTINGS, "num_retries_per_request"))
_FAILS = ((ROUTER, "allowed_fails"), (SETTINGS, "allowed_fails"))
_NUMBERS: Sequence[tuple[str, tuple[tuple[str, str], ...], str, Callable[[Plain], Plain]]] = (
    ("retries_per_model", _RETRIES, "", _as_it_is),
    ("backoff_initial_s", ((ROUTER, "retry_after"),), "the first wait before a retry; a provider's own Retry-After counts more", _as_it_is),
    ("breaker_failures", _FAILS, "one more: the failure that opens the circuit, within 60 s", _one_more),
    ("breaker_pause_s", ((ROUTER, "cooldown_time"), (SETTINGS, "cooldown_time")), "how long a circuit stays open", _as_it_is),
)  # fmt: skip


def _put_budgets(settings: Settings, models: Models, policies: Draft) -> None:
    budgets = _Budgets(settings.findings)
    for section in (SETTINGS, GENERAL):
        note = "" if section == SETTINGS else "LiteLLM has no such setting here, so it never stopped anything; "
        budgets.add(settings.pick((section, "max_budget")), settings.pick((section, "budget_duration")), [], note=note)
    user = settings.pick((SETTINGS, "max_end_user_budget"))
    budgets.add(user, None, ["user"])
    internal = settings.pick(
        (SETTINGS, "max_internal_user_budget"), (SETTINGS, "default_max_internal_user_budget"), (SETTINGS, "max_user_budget")
    )
    budgets.add(internal, settings.pick((SETTINGS, "internal_user_budget_duration")), ["user"])
    defaults = settings.pick((SETTINGS, "default_internal_user_params"))
    if defaults is not None:
        settings.findings.no_counterpart(defaults[1], "client keys have budgets, limits and models: paymaster keys create")
        fields = fields_at({"": defaults[0]}, ("",))
        inner = {name: (value, (*defaults[1], name)) for name, (value, _) in fields.items()}
        budgets.add(inner.get("max_budget"), inner.get("budget_duration"), ["user"])
    _add_provider_budgets(settings, models, budgets)
    if budgets.made:
        policies.values["budgets"] = budgets.made
        policies.sources |= {("budgets", index): tuple(paths) for index, paths in enumerate(budgets.paths)}
        policies.values["hard_stop_on_budget"] = True


@dataclass(slots=True)
class _Budgets:
    findings: Findings
    made: list[Plain] = field(default_factory=list)
    paths: list[list[KeyPath]] = field(default_factory=list)

    def add(
        self,
        amount: tuple[Plain, KeyPath] | None,
        duration: tuple[Plain, KeyPath] | None,
        who: list[str],
        *,
        only: list[str] | None = None,
        note: str = "",
    ) -> None:
        """One more hard budget, unless there is already one for the same callers and time."""
        if amount is None:
            if duration is not None:
                self.findings.no_counterpart(duration[1], "a duration needs a budget")
            return
        per = budget_per(None if duration is None else duration[0])
        paths = [amount[1]] if duration is None else [amount[1], duration[1]]
        dimensions: list[Plain] = [] if per is None else [*who, *per.dimensions]
        budget: dict[str, Plain] = {
            "usd": amount[0],
            "per": (dimensions if len(dimensions) > 1 else dimensions[0]) if dimensions else "total",
        } | ({} if only is None else {"models": [*only]})
        others = [{key: value for key, value in each.items() if key != "usd"} for each in self.made if isinstance(each, dict)]
        for path in paths:
            if per is None:
                self.findings.no_counterpart(
                    path, "a budget is per day, per month or for all time: write the one that you need to policies.budgets"
                )
            elif {key: value for key, value in budget.items() if key != "usd"} in others:
                self.findings.no_counterpart(path, "there is already a budget for the same callers and time")
            else:
                self.findings.changed(path, f"{note}a hard budget; {per.how}")
        if per is not None and {key: value for key, value in budget.items() if key != "usd"} not in others:
            self.made.append(budget)
            self.paths.append(paths)


def _add_provider_budgets(settings: Settings, models: Models, budgets: _Budgets) -> None:
    """A budget for all models of a provider."""
    picked = settings.pick((ROUTER, "provider_budget_config"))
    if picked is None:
        return
    if not isinstance(picked[0], dict):
        settings.findings.no_counterpart(picked[1], "this is no map of providers")
        return
    for prefix, config in picked[0].items():
        path = (*picked[1], prefix)
        provider = provider_named(prefix)
        only = [name for name, members in models.groups.items() if {each.target.provider for each in members} == {provider}]
        if not isinstance(config, dict) or not only:
            settings.findings.no_counterpart(path, "no model of the registry is called at this provider alone")
            continue
        settings.findings.no_counterpart(path, "limits are at the models: rpm, tpm")
        inner = {name: (value, (*path, name)) for name, value in config.items()}
        amount, duration = inner.get("budget_limit") or inner.get("max_budget"), inner.get("time_period") or inner.get("budget_duration")
        budgets.add(amount, duration, [], only=only)


def _say_of_redis(settings: Settings, variables: Variables) -> None:
    """The ledger is named by a variable, which the list of variables explains."""
    for name in ("redis_url", "redis_host", "redis_port", "redis_password", "redis_db", "redis_username", "redis_ssl"):
        if settings.pick((ROUTER, name)) is not None:
            variables.use("PAYMASTER_LEDGER", "the ledger that all processes share: redis://HOST:6379/0")
            instead = "not in the registry: PAYMASTER_LEDGER or --ledger has the address of the shared ledger, redis://HOST:6379/0"
            settings.findings.no_counterpart((ROUTER, name), instead)


def put_balance(settings: Settings, sections: Mapping[str, Draft]) -> None:
    """Put LiteLLM's strategy into every model with several endpoints; an order of their own counts more."""
    several = [section for section in sections.values() if "endpoints" in section.values and "balance" not in section.values]
    picked = settings.pick((ROUTER, "routing_strategy"))
    if picked is None:
        for section in several:
            endpoints = section.values["endpoints"]
            if isinstance(endpoints, list) and any(isinstance(each, dict) and "weight" in each for each in endpoints):
                section.values["balance"] = "weighted"
        return
    value, path = picked
    if str(value) not in _STRATEGIES:
        known = near(str(value), _STRATEGIES)
        settings.findings.no_counterpart(
            path, f"LiteLLM has no such strategy ({known}); balance is order, weighted, least_loaded, cheapest or fastest"
        )
        return
    balance, how = _STRATEGIES[str(value)]
    for section in several:
        section.put(("balance",), balance, path)
    if several:
        settings.findings.changed(path, how or "how conversations are distributed; each stays where its cache is warm (affinity)")
    else:
        settings.findings.changed(path, "left out: no model has several endpoints")


def read_chains(settings: Settings, models: Models, policies: Draft) -> Chains:
    """The fallbacks of all kinds, joined."""
    findings = settings.findings
    chains = Chains(models.names)
    picked = settings.pick((ROUTER, "fallbacks"), (SETTINGS, "fallbacks"))
    if picked is not None:
        chains.read(*picked, findings)
    picked = settings.pick((ROUTER, "context_window_fallbacks"), (SETTINGS, "context_window_fallbacks"))
    if picked is not None:
        chains.read(*picked, findings, _JOINED)
    picked = settings.pick((ROUTER, "content_policy_fallbacks"), (SETTINGS, "content_policy_fallbacks"))
    if picked is not None and chains.read(*picked, findings, _CONTENT):
        policies.values["fall_back_on_content_policy"] = True
    picked = settings.pick((ROUTER, "default_fallbacks"), (SETTINGS, "default_fallbacks"))
    if picked is not None:
        chains.read_common(*picked, findings)
    return chains


def say_of_the_rest(settings: Settings) -> None:
    """Say what became of the fields that no other rule has read."""
    findings = settings.findings
    for section, without in ((ROUTER, ROUTER_WITHOUT), (SETTINGS, SETTINGS_WITHOUT), (GENERAL, GENERAL_WITHOUT)):
        for name, (value, path) in settings.sections[section].items():
            if (section, name) in settings.read or findings.has(path):
                continue
            if value is None or (value is False and name not in (*MEANS_OFF, *_SAID)):
                findings.carried(path, "it asks for nothing")
            elif name in _SAID:
                _SAID[name](value, path, findings)
            else:
                known = {*without, *_SAID, *(each for at, each in settings.read if at == section)}
                findings.no_counterpart(path, without.get(name) or _instead_of(name) or _unknown(name, known))


def _instead_of(name: str) -> str | None:
    """What to do instead of a setting that belongs into another section, or that no list has."""
    tables = (ROUTER_WITHOUT, SETTINGS_WITHOUT, GENERAL_WITHOUT)
    return next((table[name] for table in tables if name in table), None) or by_prefix(name)


def by_prefix(name: str) -> str | None:
    """What to do instead of a setting that no list has, by how its name begins."""
    return next((text for prefix, text in BY_PREFIX.items() if name.startswith(prefix)), None)


def _unknown(name: str, known: Iterable[str]) -> str:
    hint = near(name, sorted(known))
    return f"no setting of LiteLLM's that is known here{f' ({hint})' if hint.startswith('did you mean') else ''}"


def _say_always(text: str) -> Callable[[Plain, KeyPath, Findings], None]:
    def say(value: Plain, path: KeyPath, findings: Findings) -> None:
        if value is True:
            findings.carried(path, text)
        else:
            findings.changed(path, text)

    return say


def _say_of_checks(value: Plain, path: KeyPath, findings: Findings) -> None:
    del value
    findings.changed(path, "always: limits and budgets are held for, and a conversation stays where its cache is warm (affinity)")


_SAID: Mapping[str, Callable[[Plain, KeyPath, Findings], None]] = {
    "drop_params": say_of_drop_params,
    "enable_pre_call_checks": _say_always(_WINDOW),
    "enable_pre_call_check": _say_always(_WINDOW),
    "fail_closed_rate_limit_enforcement": _say_always(_ALWAYS),
    "optional_pre_call_checks": _say_of_checks,
}
