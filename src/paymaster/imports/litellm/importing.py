"""Makes a registry of a LiteLLM config: the order of the steps, the default model, the comments; knows no field of a deployment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from textwrap import wrap

from paymaster.errors import Problem, RegistryInvalid, UsageMistake, near
from paymaster.imports.draft import Draft, Tree, leave_out_mistakes, value_at
from paymaster.imports.findings import Finding, Findings, Outcome
from paymaster.imports.litellm.chains import find_model, read_aliases
from paymaster.imports.litellm.entries import LIST, fields_at, read_entries
from paymaster.imports.litellm.fields import TOP_WITHOUT
from paymaster.imports.litellm.including import INCLUDE, Joined
from paymaster.imports.litellm.models import Models, model_section, read_models
from paymaster.imports.litellm.settings import (
    GENERAL,
    ROUTER,
    SETTINGS,
    Settings,
    by_prefix,
    defaults_of,
    put_balance,
    put_policies,
    read_chains,
    read_settings,
    say_of_the_rest,
)
from paymaster.imports.litellm.variables import Variables, names_in, written_names
from paymaster.imports.yaml_writing import yaml_text
from paymaster.registry.secrets import looks_like_a_secret
from paymaster.registry.yamltext import KeyPath

UNKNOWN = "no field of LiteLLM's that is known here"
_ENVIRONMENT = "environment_variables"
_LEDGER = "PAYMASTER_LEDGER"
_REASONS_SHOWN = 5
_WIDTH = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """A registry made of a config: its values and its text, the variables to set with what they are for, and a finding for each field.

    `skipped` has the models that were left out, with the reasons.
    """

    tree: Tree
    text: str
    variables: Mapping[str, Sequence[str]]
    findings: tuple[Finding, ...]
    skipped: Sequence[tuple[str, str]] = field(default_factory=tuple)


def import_config(joined: Joined) -> Imported:
    """The registry of a config. Raises RegistryInvalid if it is no map of sections, and UsageMistake if no model can be carried."""
    document = joined.document
    if not isinstance(document.tree, dict):
        message = "the file is empty" if document.tree is None else "must be a map of sections, with model_list: at its top"
        raise RegistryInvalid([Problem(document.file, document.line(()), "", message, "this is no config of LiteLLM's proxy")])
    findings = Findings(document, UNKNOWN)
    variables = Variables(frozenset({*names_in(document.tree), *fields_at(document.tree, (_ENVIRONMENT,))}))
    settings = read_settings(document.tree, findings)
    models = read_models(read_entries(document.tree, defaults_of(settings), findings), findings, variables)
    draft = _draft(settings, models, findings, variables)
    _choose_default(draft, models)
    while removed := leave_out_mistakes(draft, findings):
        models.skipped += _removed_models(removed, models)
        _choose_default(draft, models)
    if not draft.values["models"]:
        raise _no_models(document.file, document.tree, models)
    say_of_the_rest(settings)
    used = _variables(variables, models, draft)
    _say_of_the_file(document.tree, used, findings)
    listed = joined.located(findings.listed(draft.sources))
    return Imported(
        tree=draft.values,
        text=_text(document.file, draft, models, listed),
        variables=used,
        findings=listed,
        skipped=tuple(models.skipped),
    )


def _removed_models(removed: Mapping[KeyPath, str], models: Models) -> list[tuple[str, str]]:
    """The models and endpoints among what was removed, by LiteLLM's name."""
    called = {name: each for each, name in models.names.items()}
    whole = [(path, reason) for path, reason in removed.items() if path[0] == "models" and (len(path) == 2 or path[2:-1] == ("endpoints",))]
    return [(called[str(path[1])] if len(path) == 2 else f"an endpoint of {called[str(path[1])]}", reason) for path, reason in whole]


def _draft(settings: Settings, models: Models, findings: Findings, variables: Variables) -> Draft:
    """The whole registry, with the mistakes that its values may have."""
    policies = Draft()
    put_policies(settings, models, variables, policies)
    chains = read_chains(settings, models, policies)
    sections = {name: model_section(name, models, findings) for name in models.groups}
    named = [settings.pick((ROUTER, "model_group_alias")), settings.pick((SETTINGS, "model_alias_map"))]
    fields = {
        alias: found
        for each in reversed(named)
        if each is not None
        for alias, found in fields_at(settings.findings.document.tree, each[1]).items()
    }
    for each in named:
        if each is not None and not isinstance(each[0], dict):
            findings.no_counterpart(each[1], "this is no map of other names")
    for name, aliases in read_aliases(fields, models.names, findings).items():
        sections[name].put(("aliases",), [alias for alias, _ in aliases], *(path for _, path in aliases))
    put_balance(settings, sections)
    chains.put_common(policies)
    for name, section in sections.items():
        chains.put(name, section)
    draft = Draft()
    _put_default(settings, models, draft, findings)
    draft.values["models"] = {name: section.values for name, section in sections.items()}
    for name, section in sections.items():
        draft.place(section, ("models", name))
    if policies.values:
        draft.values["policies"] = policies.values
        draft.place(policies, ("policies",))
    return draft


def _put_default(settings: Settings, models: Models, draft: Draft, findings: Findings) -> None:
    """The default model, if the config names one."""
    picked = settings.pick(
        (GENERAL, "completion_model"), (SETTINGS, "default_model"), (GENERAL, "default_model"), (ROUTER, "default_model")
    )
    if models.default is not None:
        draft.put(("default",), models.default[0], models.default[1])
        if picked is not None:
            findings.changed(picked[1], "the model that is called default counts")
    elif picked is not None and "*" not in (found := find_model(str(picked[0]), models.names) or "*"):
        draft.put(("default",), found, picked[1])
        findings.carried(picked[1])
    elif picked is not None:
        findings.no_counterpart(picked[1], "the default is one model of the registry, by its name")


def _choose_default(draft: Draft, models: Models) -> None:
    """Choose the first model that answers, if the registry has no default or has lost it."""
    sections, default = draft.values["models"], draft.values.get("default")
    if not isinstance(sections, dict) or not sections:
        return
    if isinstance(default, str) and find_model(default, {name: name for name in sections}) is not None:
        return
    plain = [name for name in sections if "*" not in name and not any(each.embeds for each in models.members(name))]
    draft.values = {"default": (plain or list(sections))[0], **{key: value for key, value in draft.values.items() if key != "default"}}


def _no_models(file: str, tree: Tree, models: Models) -> UsageMistake:
    """Why there is nothing to make a registry of."""
    general = tree.get(GENERAL)
    if models.skipped:
        reasons = [f"{name}: {reason}" for name, reason in models.skipped[:_REASONS_SHOWN]]
        more = len(models.skipped) - len(reasons)
        return UsageMistake(f"{file}: no model can be carried: {'; '.join(reasons)}{f'; and {more} more' if more > 0 else ''}")
    if isinstance(general, dict) and general.get("store_model_in_db") is True:
        advice = "Its models are in a database. Write them into model_list first; GET /model/info of the proxy lists them."
        return UsageMistake(f"{file} has no models in model_list", advice=advice)
    if LIST in tree:
        return UsageMistake(
            f"{file}: model_list has no model with model_name and litellm_params", advice="Add one, or begin anew: paymaster init"
        )
    if isinstance(tree.get("proxy_config"), dict):
        return UsageMistake(f"{file} has no model_list", advice="It may be the values of a Helm chart: save what is under proxy_config.")
    advice = "Give the config of LiteLLM's proxy, which has model_list at its top; a registry is checked by: paymaster check FILE"
    return UsageMistake(f"{file} has no model_list", advice=advice)


def _variables(variables: Variables, models: Models, draft: Draft) -> dict[str, list[str]]:
    """The variables of the models that are in the registry, with these models."""
    sections = draft.values["models"]
    kept = {called for called, name in models.names.items() if isinstance(sections, dict) and name in sections}
    used = {
        name: [models.names.get(each, each) for each in uses if each in kept or name == _LEDGER] for name, uses in variables.uses.items()
    }
    named = {name for name in written_names(draft.values) if name not in used}
    found = {name: uses for name, uses in used.items() if uses} | {name: [] for name in sorted(named)}
    return {name: uses for name, uses in found.items() if not looks_like_a_secret(name)}


def _say_of_the_file(tree: Tree, used: Mapping[str, Sequence[str]], findings: Findings) -> None:
    """Say what became of the sections beside models and settings."""
    known = (LIST, ROUTER, SETTINGS, GENERAL, _ENVIRONMENT, INCLUDE, "credential_list", *TOP_WITHOUT)
    for name, value in tree.items():
        path: KeyPath = (name,)
        if findings.has(path) or name in (ROUTER, SETTINGS, GENERAL):
            continue
        if name == INCLUDE:
            findings.changed(path, "what these files have is in the registry")
        elif name in (_ENVIRONMENT, "credential_list") and not isinstance(value, dict if name == _ENVIRONMENT else list):
            findings.no_counterpart(path, f"this is no {'map' if name == _ENVIRONMENT else 'list'}, as LiteLLM has it")
        elif name == _ENVIRONMENT:
            _say_of_environment(fields_at(tree, path), used, findings)
        elif name in TOP_WITHOUT:
            findings.no_counterpart(path, TOP_WITHOUT[name])
        elif name not in known and (instead := by_prefix(name)) is not None:
            findings.no_counterpart(path, instead)
        elif name == LIST and not value:
            findings.no_counterpart(path, "it is empty")
        elif name not in known:
            hint = near(name, known)
            findings.no_counterpart(
                path, f"no section of LiteLLM's that is known here{f' ({hint})' if hint.startswith('did you mean') else ''}"
            )


def _say_of_environment(fields: Mapping[str, object], used: Mapping[str, Sequence[str]], findings: Findings) -> None:
    for name in fields:
        if name in used:
            findings.changed((_ENVIRONMENT, name), "a registry sets no variables: .env.example names it, without its value")
        else:
            findings.no_counterpart((_ENVIRONMENT, name), "nothing in the registry reads it")


def _text(file: str, draft: Draft, models: Models, findings: Sequence[Finding]) -> str:
    """The registry as a file, with what a reader has to know above it and above each model."""
    sections = draft.values["models"]
    lost: dict[KeyPath, list[str]] = {}
    for finding in findings:
        if finding.outcome is Outcome.NO_COUNTERPART and finding.path[:1] == (LIST,):
            name = str(finding.path[3] if len(finding.path) > 3 else finding.path[-1])
            lost.setdefault(finding.path[:2], []).append("a key" if looks_like_a_secret(name) else name)
    comments: dict[KeyPath, list[str]] = {}
    for name, deployments in models.groups.items():
        names = [each for deployment in deployments for each in lost.get(deployment.entry.path, ())]
        if names and isinstance(sections, dict) and name in sections:
            comments["models", name] = wrap(f"Without a counterpart: {_printable(', '.join(dict.fromkeys(names)))}", _WIDTH)
    if value_at(draft.values, ("policies", "hard_stop_on_budget")) is True:
        comments["policies",] = [
            "hard_stop_on_budget: a call that a budget can't pay for is refused before it is sent, as LiteLLM means to."
        ]
    if not any(keys == ("default",) for keys in draft.sources):
        comments["default",] = ["For calls that name no model; LiteLLM has no default."]
    head = [
        "yaml-language-server: $schema=registry.schema.json",
        f"Made from {_printable(file)}, a config of LiteLLM's, by: paymaster init --from litellm",
        "Check it with: paymaster check. It has no keys: .env.example lists the variables to set.",
    ]
    left = [line for name, reason in models.skipped for line in wrap(f"Left out: {_printable(name)}: {_printable(reason)}", _WIDTH)]
    return "".join(f"# {line}\n" for line in (*head, *left)) + "\n" + yaml_text(draft.values, comments)


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text)


def variables_text(file: str, variables: Mapping[str, Sequence[str]]) -> str:
    """The list of variables to set, as a file."""
    lines = [
        f"# The variables that the registry made from {_printable(file)} reads. Set them where Paymaster runs; keep their values out of",
        "# files under version control.",
    ]
    for name, uses in sorted(variables.items()):
        shown = ", ".join(map(_printable, uses[:_REASONS_SHOWN])) + (
            f" and {len(uses) - _REASONS_SHOWN} more" if len(uses) > _REASONS_SHOWN else ""
        )
        lines += ["", *([f"# {shown}"] if shown else []), f"{name}="]
    return "\n".join(lines) + "\n"
