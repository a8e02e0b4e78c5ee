"""What a row about files of another program has: how such a file is recognised, and what to do with it; knows no such program."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherFile:
    """A kind of file that is no registry.

    `title` completes "this is …", `advice` says what to do; in it `{file}` is the file's name for a shell, `{path}` the same with a
    folder. `signs` are alternatives, each
    with all the signs that such a file has. A sign is one of

    - `form:toml`: its form: yaml, json, toml, lines (of JSON), csv, env, sqlite, gzip, zip;
    - `name:compose*.yaml`: its name, without the folder, as a pattern;
    - `model_list.[].model_name`: a path of keys, each of them a pattern, that leads to a value; `[]` is any item of a list;
    - `apiVersion=*.example.dev/*`: such a path to a text that fits a pattern.

    `embeds`: it may have a registry of its own under `model_registry:`.
    """

    title: str
    advice: str
    signs: tuple[tuple[str, ...], ...]
    embeds: bool = False
