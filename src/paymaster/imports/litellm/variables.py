"""Which environment variables a LiteLLM config names, and which stand for the keys that are written in it; keeps no key in any output."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from paymaster.registry.secrets import variable_names
from paymaster.registry.yamltext import Plain

_REFERENCE = re.compile(r"os\.environ/\s*([A-Za-z_][A-Za-z0-9_]*)|\$\{([A-Za-z_][A-Za-z0-9_]*)\}|\$([A-Za-z_][A-Za-z0-9_]*)")
_INSIDE = re.compile(r"os\.environ/([A-Za-z_][A-Za-z0-9_]*)")
_DOLLAR = re.compile(r"\$(?=[$A-Za-z_{])")
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9]+")
_NO_KEY = re.compile(
    r"|none|null|nil|na|n/a|no|x+|empty|dummy([-_ ]?key)?|fake([-_ ]?(api[-_ ]?)?key)?|any(thing)?|test|token|key|placeholder|"
    r"(sk-)?(no[-_ ]?key|not[-_ ]?(needed|required|used))([-_ ]?(needed|required))?|sk-(dummy|fake|none|empty|anything|xxx+)|ollama|"
    r"lm[-_ ]?studio|vllm|hosted_vllm|llama\.?cpp|local",
    re.IGNORECASE,
)


@dataclass(slots=True)
class Variables:
    """The variables that the registry reads, each with what it is for. `taken` are the names that the config itself uses."""

    taken: frozenset[str] = frozenset()
    uses: dict[str, dict[str, None]] = field(default_factory=dict)
    _of_text: dict[str, str] = field(default_factory=dict, repr=False)

    def use(self, name: str, purpose: str) -> str:
        """Note that the registry reads this variable."""
        self.uses.setdefault(name, {})[purpose] = None
        return name

    def instead_of(self, text: str, wished: str, owner: str, purpose: str) -> str:
        """A variable for a secret that is written in the config: the same one wherever the secret is. `owner` makes the name unique."""
        if text not in self._of_text:
            names = (wished, variable_name(f"{owner}_{wished}"))
            used = {*self.taken, *self._of_text.values()}
            numbered = (f"{names[-1]}_{number}" for number in range(2, len(used) + 3))
            self._of_text[text] = next(name for name in (*names, *numbered) if name not in used)
        return self.use(self._of_text[text], purpose)


def reference(value: Plain) -> str | None:
    """The variable that a whole value names: `os.environ/NAME`, `${NAME}` or `$NAME`."""
    found = _REFERENCE.fullmatch(value.strip()) if isinstance(value, str) else None
    return next(name for name in found.groups() if name) if found is not None else None


def referenced(value: Plain) -> Plain:
    """The value as a registry writes it: `$NAME` for every variable in it, and `$$` for a dollar sign that would begin one.

    What is under a key that begins with `$` stays: it belongs to a JSON Schema.
    """
    match value:
        case str() if (name := reference(value)) is not None:
            return f"${name}"
        case str():
            return _INSIDE.sub(r"$\1", _DOLLAR.sub("$$", value))
        case list():
            return [referenced(item) for item in value]
        case dict():
            return {key: item if key.startswith("$") else referenced(item) for key, item in value.items()}
        case _:
            return value


def written_names(value: Plain) -> Iterator[str]:
    """Every variable that a registry's value names."""
    match value:
        case str():
            yield from variable_names(value)
        case list():
            for item in value:
                yield from written_names(item)
        case dict():
            for key, item in value.items():
                if not key.startswith("$"):
                    yield from written_names(item)
        case _:
            pass


def names_in(value: Plain) -> Iterator[str]:
    """Every variable that is named anywhere in a value."""
    match value:
        case str():
            yield from (next(name for name in found.groups() if name) for found in _REFERENCE.finditer(value))
        case list():
            for item in value:
                yield from names_in(item)
        case dict():
            for item in value.values():
                yield from names_in(item)
        case _:
            pass


def means_no_key(value: Plain) -> bool:
    """Whether a text in place of a key only fills the field, as servers without keys need it."""
    return value is None or (isinstance(value, str) and _NO_KEY.fullmatch(value.strip()) is not None)


def variable_name(text: str) -> str:
    """A text as the name of a variable: `my-model/eu` becomes `MY_MODEL_EU`."""
    plain = _NOT_IN_NAMES.sub("_", text).strip("_").upper()
    return f"MODEL_{plain}" if not plain or plain[0].isdigit() else plain
