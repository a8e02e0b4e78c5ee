"""Knows what the files around the code promise: versions that agree, pins for every dependency, and house rules that are kept."""

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


def test_constraints_are_plain_pins_without_any_address():
    for line in constraint_lines():
        assert re.fullmatch(r"[a-z0-9.-]+==[^\s:/@]+( ; [^:/@]+)?", line), line


def test_the_compromised_litellm_releases_are_not_pinned():
    assert not {"litellm==1.82.7", "litellm==1.82.8"} & set(constraint_lines())


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="the versions that are tested end at 3.13")
def test_the_running_python_is_a_promised_one():
    promised = importlib.metadata.metadata("paymaster").get_all("Classifier")
    assert f"Programming Language :: Python :: {sys.version_info.major}.{sys.version_info.minor}" in promised


@pytest.mark.parametrize(
    ("line", "findings"),
    [
        ("import os  # " + "noqa: F401", 1),
        ("import os  # " + "noqa: F401 -- the name is part of the public face", 0),
        ("x = y  # " + "type: ignore[assignment]", 1),
        ("x = y  # " + "type: ignore[assignment]  # the stub forgets the second form", 0),
        ("x = y  # an ordinary comment", 0),
    ],
)
def test_a_suppression_without_a_reason_is_found(line: str, findings: int):
    assert len(list(load_house_rules().check_lines(line))) == findings


def test_a_function_longer_than_a_screen_is_found_and_its_docstring_is_not_counted():
    rules = load_house_rules()
    body = "".join(f"    x = {n}\n" for n in range(59))
    docstring = '    """A.\n' + "\n    more" * 30 + '\n    """\n'
    assert list(rules.check_shape("calls", f"def f():\n{docstring}{body}")) == []
    assert len(list(rules.check_shape("calls", f"def f():\n{body}    return x\n"))) == 1


@pytest.mark.parametrize("stem", ["utils", "http_helpers", "ledger_manager"])
def test_a_vague_module_name_is_found(stem: str):
    assert len(list(load_house_rules().check_shape(stem, "x = 1\n"))) == 1
