"""The files around the code: versions agree, every dependency is pinned, and the house rules find what they should."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import sys
import tomllib
from pathlib import Path

import pytest

import paymaster

ROOT = Path(__file__).resolve().parent.parent


def requirement_name(requirement: str) -> str:
    return re.split(r"[\s\[<>=!;~]", requirement, maxsplit=1)[0].lower().replace(".", "-").replace("_", "-")


def constraint_lines() -> list[str]:
    return [line for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if not line.startswith("#")]


def load_house_rules():
    spec = importlib.util.spec_from_file_location("house_rules", ROOT / "scripts" / "house_rules.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_installed_version_is_the_one_the_package_names():
    assert importlib.metadata.version("paymaster") == paymaster.__version__


def test_the_package_ships_its_type_marker():
    assert (Path(paymaster.__file__).parent / "py.typed").is_file()


def test_every_declared_dependency_is_pinned():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {requirement_name(text) for group in (project["dependencies"], *project["optional-dependencies"].values()) for text in group}
    pinned = {requirement_name(line) for line in constraint_lines()}
    assert declared - {"paymaster"} <= pinned


@pytest.mark.parametrize("variable", ["MODEL_PACKAGES", "NODE_PACKAGES"])
def test_the_packages_of_the_real_model_and_of_node_are_pinned(variable):
    [names] = re.findall(rf"^{variable} := (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(names.split()) <= {requirement_name(line) for line in constraint_lines()}


def test_constraints_are_plain_pins_without_any_address():
    for line in constraint_lines():
        assert re.fullmatch(r"[a-z0-9.-]+==[^\s:/@]+( ; [^:/@]+)?", line), line


def test_the_compromised_litellm_releases_are_not_pinned():
    assert not {"litellm==1.82.7", "litellm==1.82.8"} & set(constraint_lines())


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="the tested versions end at 3.13")
def test_the_running_python_is_a_supported_one():
    classifiers = importlib.metadata.metadata("paymaster").get_all("Classifier")
    assert f"Programming Language :: Python :: {sys.version_info.major}.{sys.version_info.minor}" in classifiers


@pytest.mark.parametrize(
    ("line", "findings"),
    [
        ("import os  # " + "noqa: F401", 1),
        ("import os  # " + "noqa: F401 -- the name is public", 0),
        ("x = y  # " + "type: ignore[assignment]", 1),
        ("x = y  # " + "type: ignore[assignment]  # the stub lacks the second form", 0),
        ("x = y  # an ordinary comment", 0),
    ],
)
def test_a_suppression_without_a_reason_is_found(line: str, findings: int):
    assert len(list(load_house_rules().check_lines(line))) == findings


def test_a_long_function_is_found_and_its_docstring_is_not_counted():
    rules = load_house_rules()
    body = "".join(f"    x = {n}\n" for n in range(59))
    docstring = '    """A.\n' + "\n    more" * 30 + '\n    """\n'
    assert list(rules.check_shape("calls", f"def f():\n{docstring}{body}")) == []
    assert len(list(rules.check_shape("calls", f"def f():\n{body}    return x\n"))) == 1


@pytest.mark.parametrize("stem", ["utils", "http_helpers", "ledger_manager"])
def test_a_vague_module_name_is_found(stem: str):
    assert len(list(load_house_rules().check_shape(stem, "x = 1\n"))) == 1


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("witness = 1", "witness"),
        ("call_witness = 1", "witness"),
        ("class CallWitness: pass", "witness"),
        ("def tell_callers(): pass", "tell"),
        ("HEIR_OF = {}", "heir"),
        ("value.mended", "mended"),
    ],
)
def test_a_private_word_in_a_part_of_an_identifier_is_found(line: str, part: str):
    [(number, rule)] = load_house_rules().check_words(f"\n{line}\n", frozenset())
    assert number == 2
    assert f"“{part}” is a private word; say “" in rule


@pytest.mark.parametrize("line", ["eyewitness = 1", "intelligence = 1", "untold = 1", "storytelling = 1", "lines = 'all keepers'"])
def test_a_word_that_only_contains_a_private_one_is_no_finding(line: str):
    assert list(load_house_rules().check_words(line, frozenset())) == []


@pytest.mark.parametrize(
    "text",
    [
        "x = 1  # whoever comes next",
        'x = "the model rests for a while"',
        'x = f"{model} is away again"',
        'def f():\n    """Passed over, as nobody mends it."""',
    ],
)
def test_a_private_word_in_a_string_a_comment_or_a_docstring_is_found(text: str):
    assert list(load_house_rules().check_words(text + "\n", frozenset()))


def test_a_private_word_in_prose_is_found_on_its_line_whatever_its_case():
    found = list(load_house_rules().check_text("A call.\n\nWhoever waits in line\nis told so."))
    assert [(line, rule.split("”")[0]) for line, rule in found] == [(2, "“Whoever"), (2, "“waits in line"), (3, "“told")]


def test_a_file_may_use_the_words_on_its_list_and_no_others():
    rules = load_house_rules()
    allowed = frozenset({"witness", "tells?|telling|told"})
    assert list(rules.check_words("witness = 'a witness is told'\n", allowed)) == []
    assert len(list(rules.check_words("witness = keeper = 'a witness rests'\n", allowed))) == 2


def test_only_existing_files_have_a_list_of_allowed_words_and_only_of_known_words():
    rules = load_house_rules()
    for place, words in rules.ALLOWED.items():
        assert (ROOT / place).is_file(), place
        assert words <= frozenset(rules.PRIVATE_NAMES) | frozenset(rules.PRIVATE_WORDS), place


def test_every_private_word_has_a_replacement_that_is_not_private():
    rules = load_house_rules()
    for better in (*rules.PRIVATE_NAMES.values(), *rules.PRIVATE_WORDS.values()):
        assert list(rules.check_text(better)) == [], better
        assert not {part for word in better.split() for part in word.split("_")} & set(rules.PRIVATE_NAMES), better
