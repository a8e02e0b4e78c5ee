"""The fallbacks and the other names of models in a LiteLLM config, as chains and aliases of a registry; knows no deployment."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from paymaster.imports.draft import Draft
from paymaster.imports.findings import Findings
from paymaster.imports.litellm.making import Fields
from paymaster.registry.secrets import looks_like_a_secret
from paymaster.registry.yamltext import KeyPath, Plain

_EVERY = "*"
_NO_MODEL = "no model of the registry has this name"


@dataclass(slots=True)
class Chains:
    """The fallbacks of each model, in order, with the fields that they come from."""

    names: Mapping[str, str]
    chains: dict[str, list[str]] = field(default_factory=dict)
    sources: dict[str, list[KeyPath]] = field(default_factory=dict)
    common: list[str] = field(default_factory=list)
    common_sources: list[KeyPath] = field(default_factory=list)

    def read(self, given: Plain, path: KeyPath, findings: Findings, how: str = "") -> bool:
        """Add the fallbacks of a list such as `[{a: [b, c]}, {"*": [d]}]`; whether there were any. `how` words what is different here."""
        before = len(self.sources) + len(self.common_sources)
        for name, targets, at in _pairs(given, path, findings):
            known = [found for each in targets if (found := find_model(each, self.names)) is not None]
            lost = [each if not looks_like_a_secret(each) else "a name" for each in targets if find_model(each, self.names) is None]
            without = f"without {', '.join(lost)}, which is no model of the registry" if lost else ""
            if name == _EVERY and known:
                self._add_common(known, at)
            elif name not in self.names:
                is_member = find_model(name, self.names) is not None
                instead = "one model of a family has no fallbacks of its own: write it as a model" if is_member else _NO_MODEL
                findings.no_counterpart(at, instead)
                continue
            elif not known:
                findings.no_counterpart(at, "none of these models is in the registry")
                continue
            else:
                own = self.names[name]
                chain = self.chains.setdefault(own, [])
                chain += [each for each in dict.fromkeys(known) if each not in chain and each != own]
                self.sources.setdefault(own, []).append(at)
            if text := "; ".join(part for part in (how, without) if part):
                findings.changed(at, text)
            else:
                findings.carried(at)
        return len(self.sources) + len(self.common_sources) > before

    def read_common(self, given: Plain, path: KeyPath, findings: Findings) -> None:
        """Add the fallbacks of every model that has none of its own."""
        names = given if isinstance(given, list) else [given]
        known = [found for each in names if isinstance(each, str) and (found := find_model(each, self.names)) is not None]
        if known:
            self._add_common(known, path)
            findings.changed(path, "what follows every model that has no fallbacks of its own")
        else:
            findings.no_counterpart(path, "none of these models is in the registry")

    def _add_common(self, known: list[str], path: KeyPath) -> None:
        self.common += [each for each in dict.fromkeys(known) if each not in self.common]
        self.common_sources.append(path)

    def put(self, name: str, section: Draft) -> None:
        """Put the fallbacks of a model into its section."""
        if chain := self.chains.get(name):
            section.put(("fallbacks",), list(chain), *self.sources[name])

    def put_common(self, policies: Draft) -> None:
        """Put the common fallbacks into the policies."""
        if self.common:
            policies.put(("fallback_chain",), list(self.common), *self.common_sources)


def find_model(called: str, names: Mapping[str, str]) -> str | None:
    """The registry's name of a model, or of a member of a family such as `openai/*`."""
    if called in names:
        return names[called]
    is_member = any(name.endswith(_EVERY) and called.startswith(name.removesuffix(_EVERY)) for name in names)
    return called if is_member and _EVERY not in called else None


def _pairs(given: Plain, path: KeyPath, findings: Findings) -> Iterator[tuple[str, list[str], KeyPath]]:
    """Each model with the names of its fallbacks."""
    items = given if isinstance(given, list) else [given]
    for index, item in enumerate(items):
        at: KeyPath = (*path, index) if isinstance(given, list) else path
        if not isinstance(item, dict):
            findings.no_counterpart(at, "a fallback is written as {model: [other models]}")
            continue
        for name, targets in item.items():
            listed = targets if isinstance(targets, list) else [targets]
            texts = [str(each) for each in listed if isinstance(each, str | int) and not isinstance(each, bool)]
            if len(texts) < len(listed):
                findings.no_counterpart((*at, name), "fallbacks are names of models; parameters of their own make another model")
            if texts:
                yield name, texts, (*at, name)


def read_aliases(fields: Fields, names: Mapping[str, str], findings: Findings) -> dict[str, list[tuple[str, KeyPath]]]:
    """The aliases of each model, from maps of other names to names of models."""
    aliases: dict[str, list[tuple[str, KeyPath]]] = {}
    used = {*names, *names.values(), "default"}
    for alias, (value, path) in fields.items():
        target = value.get("model") if isinstance(value, dict) else value
        if not isinstance(target, str) or target not in names:
            findings.no_counterpart(path, "the name it stands for is no model of the registry")
        elif alias in used:
            findings.no_counterpart(path, "this is already the name of a model")
        else:
            used.add(alias)
            aliases.setdefault(names[target], []).append((alias, path))
            if isinstance(value, dict):
                findings.changed(path, "an alias; GET /v1/models lists what a key may ask for")
            else:
                findings.carried(path)
    return aliases
