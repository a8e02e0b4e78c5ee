"""Recognises how other tools name an environment variable in a config, and words how it is written here; knows no section.

LiteLLM writes `os.environ/NAME`, opencode `{env:NAME}`, Bifrost `env.NAME`, TensorZero `env::NAME`. A registry writes `$NAME`, or the name
alone in `api_key_env`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from paymaster.registry.secrets import looks_like_a_secret
from paymaster.registry.yamltext import KeyPath, Plain

_NAME = r"([A-Za-z_][A-Za-z0-9_]*)"
_CAPITALS = r"([A-Z_][A-Z0-9_]*)"
_KEY, _VARIABLE = "api_key", "api_key_env"
_FILLED = frozenset({"base_url", "extra_headers", "params"})
"""The keys of a section in whose values `$NAME` is replaced."""


@dataclass(frozen=True, slots=True)
class _Form:
    """One way to write a variable: whose it is, and its pattern with the name as its group. `anywhere`: also inside of a longer text."""

    whose: str
    pattern: re.Pattern[str]
    anywhere: bool = False


def _anywhere(whose: str, pattern: str) -> _Form:
    return _Form(whose, re.compile(pattern), anywhere=True)


def _whole(whose: str, pattern: str) -> _Form:
    return _Form(whose, re.compile(pattern))


# What could be a part of any text, as `env.NAME`, is a variable only if it is the whole value, and its name has capitals alone.
_FORMS: tuple[_Form, ...] = (
    _anywhere("LiteLLM", rf"os\.environ/{_NAME}"),
    _anywhere("an editor", rf"\$\{{env[:.]{_NAME}\}}"),
    _anywhere("opencode", rf"\{{env:{_NAME}\}}"),
    _anywhere("GitHub Actions or Continue", rf"\$\{{\{{\s*(?:secrets|env|vars|inputs)\.{_NAME}\s*\}}\}}"),
    _anywhere("a template", rf"\{{\{{\s*(?:\.?[Ee]nv\.|env\s+[\"']?|secrets\.){_NAME}[\"']?\s*\}}\}}"),
    _anywhere("a shell with a default", rf"\$\{{{_NAME}:?[-=?+][^}}]*\}}"),
    _anywhere("Python", rf"os\.(?:environ\.get|getenv|environ)[(\[][\"']{_NAME}[\"'][^)\]]*[)\]]"),
    _anywhere("JavaScript", rf"process\.env\.{_NAME}"),
    _whole("TensorZero", rf"env::{_NAME}"),
    _whole("Bifrost", rf"env\.{_CAPITALS}"),
    _whole("another tool", rf"env[:/]{_CAPITALS}"),
    _whole("another tool", rf"(?:env|ENV|getenv)[(\[][\"']?{_CAPITALS}[\"']?[)\]]"),
    _whole("PowerShell", rf"\$env:{_NAME}"),
    _whole("Windows", rf"%{_CAPITALS}%"),
    _whole("Kubernetes", rf"\$\({_NAME}\)"),
)
_SCHEME = re.compile(r"\s*(?:[A-Za-z]+ +)?")
"""What may come before a value in a header: `Bearer`."""

_NAMED_KEY = re.compile(r"[A-Z][A-Z0-9_]*_(?:KEYS?|TOKEN|SECRET|PAT)")
_OWN = re.compile(rf"\$\{{?{_NAME}\}}?")


def other_reference(path: KeyPath, text: str) -> tuple[str, str] | None:
    """What is wrong with a text in a section, and what to write; None if it is no variable as another tool writes it."""
    key = next((part for part in reversed(path) if isinstance(part, str)), "")
    for form in _FORMS:
        if (found := _found(form, text)) is not None:
            written = f"{text[: found.start()]}${found[1]}{text[found.end() :]}" if path[0] in _FILLED else "its value"
            return f"this names a variable as {form.whose} does", _advice(key, found[1], written)
    if key == _VARIABLE and (own := _OWN.fullmatch(text.strip())) and not looks_like_a_secret(own[1]):
        return "a variable is named without $ here", f"write {key}: {own[1]}"
    if key == _KEY and _NAMED_KEY.fullmatch(text.strip()) and not looks_like_a_secret(text):
        return "this is the name of a variable, and no key", _advice(key, text.strip(), "")
    return None


def other_references(value: Plain, path: KeyPath = ()) -> Iterator[tuple[KeyPath, str, str]]:
    """Each variable in a section that is written as another tool does: its path, what is wrong, what to write."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from other_references(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from other_references(item, (*path, index))
    elif isinstance(value, str) and (found := other_reference(path, value)) is not None:
        yield path, *found


def _found(form: _Form, text: str) -> re.Match[str] | None:
    """The variable in a text. What looks like a key is none, so that no message repeats it."""
    found = form.pattern.search(text)
    if found is None or looks_like_a_secret(found[1]):
        return None
    is_whole = _SCHEME.fullmatch(text, 0, found.start()) is not None and not text[found.end() :].strip()
    return found if form.anywhere or is_whole else None


def _advice(key: str, name: str, text: str) -> str:
    """How it is written here."""
    if key == _VARIABLE:
        return f"write {key}: {name}"
    if key == _KEY:
        return f"write {_VARIABLE}: {name}"
    return f"write ${name}" if looks_like_a_secret(text) else f"write {key}: {text}"
