"""Words the mistakes in a registry: file, line, key, what was expected, nearest spelling; knows no rule that was broken."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from paymaster.errors import Problem, near
from paymaster.registry.budget_schema import BudgetSection
from paymaster.registry.compat_schema import CompatSection
from paymaster.registry.model_schema import EndpointSection, ModelSection, ServerToolSection, TimeoutsSection
from paymaster.registry.other_references import other_references
from paymaster.registry.price_schema import BaseSection, DatedPriceSection, PeakSection, ServiceTierSection, TierSection
from paymaster.registry.schema import PolicySection
from paymaster.registry.yamltext import Document, KeyPath, Plain, dotted

# Keys of other tools, and what they are called here.
_OTHER_NAMES: Mapping[str, str] = {
    "api_base": "base_url", "endpoint": "base_url", "url": "base_url", "host": "base_url",
    "model": "model_id", "model_name": "model_id", "name": "model_id", "id": "model_id",
    "max_tokens": "max_output_tokens", "max_completion_tokens": "max_output_tokens", "context_length": "context_window",
    "requests_per_minute": "rpm", "tokens_per_minute": "tpm", "requests_per_day": "rpd", "concurrency": "max_parallel",
    "max_parallel_requests": "max_parallel", "input_cost_per_token": "usd_per_1m_input", "output_cost_per_token": "usd_per_1m_output",
    "budget_usd": "budget_usd_per_run", "max_budget": "budget_usd_per_run", "usd_per_run": "budget_usd_per_run",
    "budget_tokens": "budget_tokens_per_run", "max_total_tokens": "budget_tokens_per_run", "tokens_per_run": "budget_tokens_per_run",
    "token_budget": "budget_tokens_per_run", "budget_requests": "budget_requests_per_run", "max_requests": "budget_requests_per_run",
    "request_budget": "budget_requests_per_run", "requests_per_run": "budget_requests_per_run", "max_calls": "budget_requests_per_run",
    "usd_per_month": "budget_usd_per_month", "usd_per_day": "budget_usd_per_day",
    "timeout": "timeouts", "headers": "extra_headers", "kwargs": "params", "model_kwargs": "params", "completion_kwargs": "params",
    "supports": "capabilities", "hard_stop": "hard_stop_on_budget", "fallback": "fallbacks", "chain": "fallback_chain",
    "budget": "budgets", "policy": "policies", "default_model": "default", "max_retries": "retries_per_model",
    "num_retries": "retries_per_model", "deployments": "endpoints", "servers": "endpoints", "targets": "endpoints",
    "fallback_chain": "fallbacks", "fallbacks": "fallback_chain",
    "strategy": "balance", "routing_strategy": "balance", "load_balancing": "balance", "sticky": "affinity", "session_affinity": "affinity",
}  # fmt: skip
_BY_SQUEEZED = {name.replace("_", ""): meant for name, meant in _OTHER_NAMES.items()}
_PARAMETERS = frozenset({"temperature", "top_p", "top_k", "seed", "stop", "reasoning_effort", "presence_penalty", "frequency_penalty", "n"})


@dataclass(slots=True)
class Findings:
    """Collects every problem of one document."""

    document: Document
    problems: list[Problem] = field(default_factory=list)

    def add(self, path: KeyPath, message: str, suggestion: str = "") -> None:
        """Add a problem with the value at `path`, counted from the top of the file."""
        problem = Problem(self.document.file, self.document.line(path), dotted(path), message, suggestion)
        if problem not in self.problems:  # what several endpoints take from their model is wrong once
            self.problems.append(problem)

    def add_validation(self, error: ValidationError, section: type[BaseSection], path: KeyPath, *, besides: Collection[str] = ()) -> None:
        """Add every mistake that pydantic found in the `section` at `path`, besides those in keys that were reported."""
        for detail in error.errors(include_url=False):
            loc = tuple(detail["loc"])
            if loc and loc[0] in besides:
                continue
            message, suggestion = _explain(detail, section, loc)
            self.add((*path, *loc), message, suggestion)

    def add_other_references(self, value: Plain, path: KeyPath) -> frozenset[str]:
        """Add every variable in a section that is written as another tool does. Returns the section's keys that have one."""
        keys: set[str] = set()
        for inner, message, suggestion in other_references(value):
            self.add((*path, *inner), message, suggestion)
            keys.add(str(inner[0]))
        return frozenset(keys)

    def add_unknown_key(self, path: KeyPath, known: Iterable[str]) -> None:
        """Report that the last key of `path` is none of `known`."""
        self.add(path, "unknown key", near_key(str(path[-1]), list(known)))

    def sorted(self) -> list[Problem]:
        """All problems, in the order of the file."""
        return sorted(self.problems, key=lambda problem: problem.line)


def near_key(key: str, known: Sequence[str]) -> str:
    """A suggestion: the section's key of the same meaning, else where the key belongs, else the section's key of the nearest spelling."""
    squeezed = key.lower().replace("_", "").replace("-", "")
    if (meant := _BY_SQUEEZED.get(squeezed)) in known:
        return f"did you mean {meant}?"
    if key in _PARAMETERS and "params" in known:
        return f"request parameters go under params: {{{key}: …}}"
    place = next((place for place, section in _PLACES.items() if key in section.model_fields), None)
    return near(key, known) if place is None else f"it is a key of {place}"


def _explain(detail: ErrorDetails, section: type[BaseSection], loc: KeyPath) -> tuple[str, str]:
    """One of pydantic's errors as message and suggestion."""
    context = detail.get("ctx", {})
    match detail["type"]:
        case "registry":
            return str(context["message"]), str(context["suggestion"])
        case "extra_forbidden":
            if section is EndpointSection and len(loc) == 1 and loc[0] in ModelSection.model_fields:
                return f"{loc[0]} belongs to the model, not to one of its endpoints", "write it beside endpoints:"
            return "unknown key", near_key(str(loc[-1]), list(_section_at(section, loc[:-1]).model_fields))
        case "missing":
            return "this key is required", ""
        case "literal_error":
            return f"must be {context['expected']}", _INSTEAD.get(str(loc[-1])) or _near_word(detail["input"], str(context["expected"]))
        case "list_type":
            return "must be a list", ""
        case _:
            return "must be a map of keys and values", ""


def _section_at(section: type[BaseSection], loc: KeyPath) -> type[BaseSection]:
    """The section at `loc` inside another."""
    for part in loc:
        section = _INNER.get(str(part), section)
    return section


def _near_word(written: object, expected: str) -> str:
    """The fixed word of the nearest spelling. What was written is not repeated: it may be a secret."""
    suggestion = near(str(written), re.findall(r"'([^']+)'", expected))
    return "" if suggestion.startswith("known: ") else suggestion


_PLACES: Mapping[str, type[BaseSection]] = {"policies": PolicySection, "a model, under models": ModelSection}
"""Sections whose keys are easily written in another one."""

_INSTEAD: Mapping[str, str] = {"price": "a price is written as usd_per_1m_input: 3 and usd_per_1m_output: 15, beside model_id"}
"""What is meant by a value that a key with fixed words doesn't take."""

_INNER: Mapping[str, type[BaseSection]] = {
    "timeouts": TimeoutsSection,
    "compat": CompatSection,
    "tiers": TierSection,
    "service_tiers": ServiceTierSection,
    "peak": PeakSection,
    "prices": DatedPriceSection,
    "server_tools": ServerToolSection,
    "budgets": BudgetSection,
}
