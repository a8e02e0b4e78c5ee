"""The golden pairs: configs of LiteLLM's shapes, each with the registry, the variables and the findings that it becomes.

`python tests/imports/goldens.py` writes the results anew; read the difference before you keep it.
"""

from __future__ import annotations

from pathlib import Path

from paymaster.imports.litellm.importing import Imported, import_config, variables_text
from paymaster.imports.litellm.including import Joined, included, join
from paymaster.registry.yamltext import read_file, read_yaml

FOLDER = Path(__file__).parent / "golden"
NAMES = tuple(sorted(path.name for path in FOLDER.iterdir()))
RESULTS = ("registry.yaml", "env.example", "findings.txt")


def read(name: str) -> Imported:
    """What a config becomes, with the files that it includes."""
    main = read_yaml(read_file(FOLDER / name / "config.yaml"), "config.yaml")
    joined = Joined(main)
    for file in included(main.tree):
        joined = join(joined, read_yaml(read_file(FOLDER / name / file), file))
    return import_config(joined)


def results(name: str) -> dict[str, str]:
    """The text of each result by its file name."""
    made = read(name)
    lines = [f"{each.file}:{each.line}: {each.field} | {each.outcome} | {each.text}".rstrip(" |") for each in made.findings]
    return dict(zip(RESULTS, (made.text, variables_text("config.yaml", made.variables), "\n".join(lines) + "\n"), strict=True))


if __name__ == "__main__":
    for each in NAMES:
        for file_name, text in results(each).items():
            (FOLDER / each / file_name).write_text(text, encoding="utf-8")
