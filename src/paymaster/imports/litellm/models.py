"""The models of a registry that LiteLLM's deployments make: one of each name, with an endpoint for each of several; knows no setting."""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain, count
from math import gcd
from urllib.parse import urlsplit

from paymaster.accounting.account_names import can_be_subject
from paymaster.imports.draft import Draft, Tree
from paymaster.imports.findings import Findings
from paymaster.imports.litellm.deployments import read_deployment
from paymaster.imports.litellm.making import Deployment, Entry, number_of
from paymaster.imports.litellm.variables import Variables
from paymaster.registry.providers import host
from paymaster.registry.secrets import looks_like_a_secret
from paymaster.registry.yamltext import KeyPath, Plain

_RESERVED, _MARK = "default", "*"
_CALLED = ("provider", "model_id", "base_url", "api_key_env", "api_version", "region")
_FIRST = (
    "provider",
    "model_id",
    "dialect",
    "base_url",
    "api_version",
    "api_key_env",
    "price",
    "price_as",
    "rpm",
    "tpm",
    "max_parallel",
    "weight",
)
_SHARED = ("timeouts", "params", "capabilities", "max_input_tokens", "max_output_tokens", "dialect")
"""What endpoints of one model take from it, if all have the same."""
_PLACES = ("aws_region_name", "vertex_location", "vertex_ai_location", "aws_profile_name", "vertex_project", "aws_role_name")
_NOT_IN_LABELS = re.compile(r"[^a-z0-9._-]+")
_LONGEST_LABEL = 40
_MOST_DECIMALS = 3
_MOST_ORDERS = 10**9


@dataclass(slots=True)
class Models:
    """The models that were read: deployments by the registry's name, and that name by LiteLLM's.

    `skipped` has the name of each entry that was left out, with the reason. `default` is a model that LiteLLM's callers call `default`.
    """

    groups: dict[str, list[Deployment]] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    default: tuple[str, KeyPath] | None = None

    def members(self, name: str) -> Sequence[Deployment]:
        """The deployments of a model."""
        return self.groups.get(name, ())


def read_models(entries: Iterable[Entry], findings: Findings, variables: Variables) -> Models:
    """Every deployment that can be carried, by its name. Says of each field what became of it."""
    models = Models()
    by_name: dict[str, list[Deployment]] = {}
    for entry in entries:
        made = _name_mistake(entry) or read_deployment(entry, findings, variables)
        if isinstance(made, str):
            is_shown = entry.name and not looks_like_a_secret(entry.name)
            models.skipped.append((entry.name if is_shown else f"model_list[{entry.path[1]}]", made))
            findings.drop(entry.path, f"left out: {made}")
        else:
            by_name.setdefault(entry.name, []).append(made)
    for called, deployments in by_name.items():
        name = _name(called, deployments[0], (by_name, models.groups))
        models.names[called] = name
        models.groups[name] = _distinct(deployments, findings)
        if called == _RESERVED:
            models.default = (name, deployments[0].entry.name_path)
        for deployment in deployments:
            path = deployment.entry.name_path
            if path[-1] != "model_name":
                continue
            if called == _RESERVED:
                findings.changed(path, "default is a reserved name: calls for default get this model, the registry's default")
            elif name != called:
                findings.changed(path, "another name, as accounts of the ledger have such names")
            else:
                findings.carried(path)
    return models


def _name_mistake(entry: Entry) -> str | None:
    """Why a model can't have this name: above all, why a wildcard can't be a family of models here."""
    model = entry.params.get("model", (None, ()))[0]
    if looks_like_a_secret(entry.name):
        return "its name looks like a key"
    if not isinstance(model, str) or _MARK not in f"{entry.name}{model}":
        return None
    if _MARK not in model:
        return "every name would get one model; give callers the model's name, or add aliases"
    if not entry.name.endswith(_MARK):
        return "a family of models needs a name that ends in *, such as openai/*"
    if model.strip() in ("*", "*/*"):
        return "a family belongs to one provider: write one for each provider that you use, such as openai/*"
    _, _, ids = model.strip().partition("/")
    if entry.name.count(_MARK) > 1 or ids != entry.name.rpartition("/")[2]:
        return "the id of a family's member is its name behind the family's last slash, and here it would be another"
    return None


def _name(called: str, first: Deployment, taken: Sequence[Collection[str]]) -> str:
    """The registry's name of what LiteLLM's callers ask for."""
    wished = first.target.model_id.rpartition("/")[2] if called == _RESERVED else called
    plain = "".join(char if char.isprintable() else "-" for char in wished)
    if not can_be_subject(plain):
        plain = plain.replace("/", "-")
    names = chain((plain,), (f"{plain}-{number}" for number in count(2)))
    return next(name for name in names if name != _RESERVED and (name == called or not any(name in each for each in taken)))


def _distinct(deployments: Sequence[Deployment], findings: Findings) -> list[Deployment]:
    """The deployments without those that call the same server with the same key once more."""
    first: dict[str, Deployment] = {}
    for deployment in deployments:
        called = repr([_called(deployment), [_params(deployment).get(key) for key in _PLACES]])
        if called in first:
            findings.drop(
                deployment.entry.path, f"left out: it calls what model_list[{first[called].entry.path[1]}] calls, with the same key"
            )
        else:
            first[called] = deployment
    kept = list(first.values())
    if any(deployment.order is not None for deployment in kept):
        kept.sort(key=lambda deployment: _MOST_ORDERS if deployment.order is None else deployment.order)
    return kept


def _called(deployment: Deployment) -> list[Plain]:
    return [deployment.draft.values.get(key) for key in _CALLED]


def _params(deployment: Deployment) -> Tree:
    params = deployment.draft.values.get("params")
    return params if isinstance(params, dict) else {}


def model_section(name: str, models: Models, findings: Findings) -> Draft:
    """The section of a model: one deployment itself, or what several share, with an endpoint for each."""
    deployments = models.groups[name]
    if len(deployments) == 1:
        return _single(deployments[0], findings)
    section = Draft()
    shared = {key: value for key in _shared_keys(deployments) if (value := deployments[0].draft.values[key]) is not None}
    for key, value in shared.items():
        section.put((key,), value, *(path for each in deployments for path in each.draft.sources_at((key,))))
    _scale_weights(deployments, findings)
    labels = _labels(name, models)
    endpoints: list[Plain] = []
    for label, deployment in zip(labels, deployments, strict=True):
        own: Tree = {"name": label, **{key: value for key, value in _ordered(deployment.draft.values).items() if key not in shared}}
        if _differs_in_place(deployment, deployments):
            own["account"] = label
        at: KeyPath = ("endpoints", len(endpoints))
        for keys, sources in deployment.draft.sources.items():
            if keys[0] not in shared:
                section.sources[*at, *keys] = sources
        section.sources[at] = (deployment.entry.name_path,)
        section.sources[*at, "name"] = (deployment.entry.info["id"][1],) if "id" in deployment.entry.info else ()
        endpoints.append(own)
        if deployment.budget is not None:
            for path in deployment.budget[2]:
                findings.no_counterpart(
                    path, "a budget is for all endpoints of a model: write it at the model, or give this one its own name"
                )
    section.values["endpoints"] = endpoints
    if any(deployment.order is not None for deployment in deployments):
        orders = [each.entry.params["order"][1] for each in deployments if each.order is not None]
        section.put(("balance",), "order", *orders)
    return section


def _single(deployment: Deployment, findings: Findings) -> Draft:
    """A model with one endpoint: neither weight nor order means anything."""
    section = deployment.draft
    section.values = _ordered(section.values)
    section.sources[()] = (deployment.entry.name_path,)
    for key in ("weight", "order"):
        if key in deployment.entry.params:
            findings.changed(deployment.entry.params[key][1], "left out: the model has one endpoint")
    if "weight" in section.values:
        section.remove([("weight",)])
    if "id" in deployment.entry.info:
        findings.changed(deployment.entry.info["id"][1], "left out: the model has one endpoint, and is known by its name")
    if deployment.budget is not None:
        usd, dimensions, paths = deployment.budget
        section.put(
            ("budgets",), [{"usd": usd, "per": (dimensions if len(dimensions) > 1 else dimensions[0]) if dimensions else "total"}], *paths
        )
    return section


def _ordered(values: Tree) -> Tree:
    """The section in the order in which a person writes it: what is called first."""
    return {**{key: values[key] for key in _FIRST if key in values}, **values}


def _shared_keys(deployments: Sequence[Deployment]) -> list[str]:
    """The keys that can be written once, at the model. Without a common provider nothing of a provider's own is shared."""
    drafts = [deployment.draft.values for deployment in deployments]
    same = [key for key in ("provider", "model_id", *_SHARED) if all(key in each and each[key] == drafts[0][key] for each in drafts)]
    return same if "provider" in same else [key for key in same if key not in ("model_id", "dialect")]


def _differs_in_place(deployment: Deployment, deployments: Sequence[Deployment]) -> bool:
    """Whether another endpoint differs only in the place or the account of a cloud."""
    return sum(_called(other) == _called(deployment) for other in deployments) > 1


def _scale_weights(deployments: Sequence[Deployment], findings: Findings) -> None:
    """Weights as whole numbers in the same proportion."""
    given = [(each, weight) for each in deployments if (weight := number_of(each.draft.values.get("weight"))) is not None]
    exponents = [weight.normalize().as_tuple().exponent for _, weight in given]
    decimals = max((-exponent for exponent in exponents if isinstance(exponent, int)), default=0)
    if not 0 < decimals <= _MOST_DECIMALS:
        return
    whole = [int(weight * 10**decimals) for _, weight in given]
    divisor = gcd(*whole) or 1
    for (deployment, _), share in zip(given, whole, strict=True):
        deployment.draft.values["weight"] = share // divisor
        findings.changed(deployment.entry.params["weight"][1], "as whole numbers in the same proportion")


def _labels(name: str, models: Models) -> list[str]:
    """A name for each endpoint of a model: what the config calls it, else where it is."""
    labels: list[str] = []
    for deployment in models.groups[name]:
        plain = _NOT_IN_LABELS.sub("-", (deployment.label or _location(deployment)).lower()).strip("-._")[:_LONGEST_LABEL].strip("-._")
        plain = plain or str(deployment.target.provider)
        names = chain((plain,), (f"{plain}-{number}" for number in count(2)))
        labels.append(next(label for label in names if label not in labels and f"{name}/{label}" not in models.groups))
    return labels


def _location(deployment: Deployment) -> str:
    for key in _PLACES[:3]:
        if (place := _params(deployment).get(key)) is not None:
            return str(place)
    base_url = deployment.target.base_url
    if base_url is None or base_url.startswith("$"):
        return deployment.target.provider
    try:
        name, port = host(base_url), urlsplit(base_url).port
    except ValueError:
        return deployment.target.provider
    if deployment.target.provider == "azure":
        return name.partition(".")[0]
    return f"{name}-{port}" if port is not None else name
