"""What is frozen for the type checker alone compares, hashes, prints and copies itself as a frozen dataclass does."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from paymaster.frozen import frozen_dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Plain:
    """A value."""

    name: str
    cost_nanousd: int = 0


@frozen_dataclass(frozen=True, slots=True, kw_only=True)
class Quick:
    """The same."""

    name: str
    cost_nanousd: int = 0


def test_it_behaves_like_a_frozen_dataclass():
    plain, quick = Plain(name="a", cost_nanousd=1), Quick(name="a", cost_nanousd=1)
    assert repr(quick) == repr(plain).replace("Plain", "Quick")
    assert hash(quick) == hash(plain)
    assert quick == Quick(name="a", cost_nanousd=1) != replace(quick, name="b")
    assert [each.name for each in fields(Quick)] == [each.name for each in fields(Plain)]
    assert not hasattr(quick, "__dict__")
