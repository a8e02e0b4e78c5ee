"""ARCHITECTURE.md is a map: its list of rooms is that of the import contract, and it stays short."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CONTRACT = """
[tool.importlinter]
root_package = "shop"

[[tool.importlinter.contracts]]
type = "forbidden"
source_modules = ["shop.till"]

[[tool.importlinter.contracts]]
type = "layers"
containers = ["shop"]
layers = [{layers}]
"""


@pytest.fixture(scope="module")
def builder():
    spec = importlib.util.spec_from_file_location("build_architecture", ROOT / "scripts" / "build_architecture.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def shop(tmp_path):
    rooms = {
        "front/__init__.py": '"""Sells things to\npeople; knows no stock. It is open all day.\n\nMore about it."""\n',
        "front/windows/__init__.py": "",
        "stock.py": '"""What there is: a | b."""\n',
        "prices.py": '"""What it costs."""\n',
    }
    for name, text in rooms.items():
        file = tmp_path / "src" / "shop" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return tmp_path


def write_contract(root, *layers):
    (root / "pyproject.toml").write_text(CONTRACT.format(layers=", ".join(f'"{layer}"' for layer in layers)))


def test_the_list_of_rooms_is_current(builder):
    assert builder.main(["--check"]) == 0, "run scripts/build_architecture.py"


def test_the_map_is_short(builder):
    text = builder.MAP.read_text(encoding="utf-8")
    assert len(text) <= builder.LARGEST_CHARS, f"{len(text)} characters; move details to docs/design/"


def test_a_room_is_listed_with_its_layer_its_folders_and_its_first_sentence(builder, shop):
    write_contract(shop, "(front)", "(__main__)", "stock | (cellar) | prices")
    assert builder.rooms_text(shop).splitlines()[2:] == [
        "| 1 | `front/` with `windows/` | Sells things to people; knows no stock. |",
        "| 3 | `stock.py` | What there is: a \\| b. |",
        "|  | `prices.py` | What it costs. |",
    ]


def test_only_the_part_between_the_marks_is_generated(builder, shop):
    write_contract(shop, "prices")
    made = builder.map_text(f"before\n{builder.BEGIN}\nold\n{builder.END}\nafter\n", shop)
    assert made.startswith(f"before\n{builder.BEGIN}\n\n| layer |")
    assert made.endswith(f"| What it costs. |\n\n{builder.END}\nafter\n")
    assert builder.map_text(made, shop) == made


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("cellar", "'cellar': .*shop has neither a package nor a module of this name"),
        ("stock : prices", "rooms of one layer don't import one another"),
        ("front.windows", "has neither a package nor a module"),
    ],
)
def test_a_layer_without_a_room_fails(builder, shop, layer, message):
    write_contract(shop, layer)
    with pytest.raises(SystemExit, match=message):
        builder.rooms_text(shop)


def test_a_room_without_a_first_sentence_fails(builder, shop):
    write_contract(shop, "prices")
    (shop / "src" / "shop" / "prices.py").write_text("x = 1\n")
    with pytest.raises(SystemExit, match=r"prices\.py: a room must open with one sentence"):
        builder.rooms_text(shop)
