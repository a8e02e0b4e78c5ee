"""A file of registries that no program should take long to refuse: nested too deeply, or anchors inside of anchors."""

from __future__ import annotations

import pytest

from paymaster.errors import RegistryInvalid
from paymaster.registry import yamltext
from paymaster.registry.yamltext import read_yaml


def test_values_nested_too_deeply_are_one_error():
    with pytest.raises(RegistryInvalid, match="nested too deeply"):
        read_yaml("- " * 2_000 + "x", "r.yaml")


def test_anchors_inside_of_anchors_are_counted(monkeypatch):
    monkeypatch.setattr(yamltext, "MOST_VALUES", 1_000)
    lines = [
        "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]",
        *(f"{name}: &{name} [{', '.join([f'*{inner}'] * 10)}]" for inner, name in ("ab", "bc", "cd")),
    ]
    with pytest.raises(RegistryInvalid, match=r"r.yaml:1: more than 1,000 values, counting each use of an anchor"):
        read_yaml("\n".join(lines), "r.yaml")
