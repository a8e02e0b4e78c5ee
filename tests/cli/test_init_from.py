"""`paymaster init --from litellm`: files are written, findings shown, mistakes named, and nothing is overwritten."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from cli.programs import terminal_process

CONFIG = """\
model_list:
  - model_name: gpt
    litellm_params: {model: openai/gpt-4o, api_key: sk-Aa11Bb22Cc33Dd44Ee55, rpm: 60, tags: [free]}
  - model_name: gpt-mini
    litellm_params: {model: openai/gpt-4o-mini, api_key: os.environ/OPENAI_API_KEY}
router_settings:
  num_retries: 2
  fallbacks: [{gpt: [gpt-mini]}]
"""
FILES = [".env.example", "registry.schema.json", "registry.yaml"]


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG)
    return path


def names(folder):
    return sorted(path.name for path in Path(folder).iterdir() if path.name != "config.yaml")


def test_a_registry_is_made_that_check_accepts(paymaster, config):
    ended = paymaster("init", "--from", "litellm", config, "--output", "new/dir/")
    assert (ended.status, ended.err) == (0, "")
    assert names("new/dir") == FILES
    assert "10 fields: 8 carried, 1 changed, 1 without a counterpart." in ended.out
    assert ended.out.endswith("Next: paymaster check new/dir/registry.yaml\n")
    assert paymaster("check", "new/dir/registry.yaml").status == 0
    assert "OPENAI_API_KEY=\n" in Path("new/dir/.env.example").read_text()


def test_the_files_are_beside_a_named_file_and_here_without_a_name(paymaster, config):
    assert paymaster("init", "--from", "litellm", config, "-o", "mine.yaml").status == 0
    assert names(".") == [".env.example", "mine.yaml", "registry.schema.json"]
    Path(".env.example").unlink()
    assert paymaster("init", "--from", "litellm", config).status == 0
    assert names(".") == [".env.example", "mine.yaml", "registry.schema.json", "registry.yaml"]


@pytest.mark.parametrize("existing", [*FILES])
def test_nothing_is_overwritten_without_force(paymaster, config, existing):
    Path(existing).write_text("mine")
    ended = paymaster("init", "--from", "litellm", config)
    assert ended.status == 2
    assert f"{existing} already exists" in ended.err
    assert "--force" in ended.err
    assert names(".") == [existing]
    assert Path(existing).read_text() == "mine"
    assert paymaster("init", "--from", "litellm", config, "--force").status == 0
    assert Path(existing).read_text() != "mine"


def test_json_has_a_finding_for_each_field(paymaster, config):
    ended = paymaster("init", "--from", "litellm", config, "--json", "-o", "out/")
    made = json.loads(ended.out)
    assert (ended.status, made["registry"], made["left_out"]) == (0, "out/registry.yaml", [])
    assert made["variables"] == ["GPT_OPENAI_API_KEY", "OPENAI_API_KEY"]
    assert [each["field"] for each in made["findings"]] == [
        "model_list[0].model_name",
        "model_list[0].litellm_params.model",
        "model_list[0].litellm_params.api_key",
        "model_list[0].litellm_params.rpm",
        "model_list[0].litellm_params.tags",
        "model_list[1].model_name",
        "model_list[1].litellm_params.model",
        "model_list[1].litellm_params.api_key",
        "router_settings.num_retries",
        "router_settings.fallbacks[0].gpt",
    ]
    rpm = made["findings"][3]
    assert (rpm["file"], rpm["line"], rpm["finding"], rpm["registry"]) == (str(config), 3, "carried", ["models.gpt.rpm"])
    assert {each["finding"] for each in made["findings"]} == {"carried", "changed", "no counterpart"}


def test_no_key_is_in_any_output(paymaster, config):
    written = ""
    for flags in (("--json", "-o", "a/"), ("-o", "b/"), ("-o", "-")):
        ended = paymaster("init", "--from", "litellm", config, *flags)
        assert ended.status == 0
        written += ended.out + ended.err
    written += "".join(path.read_text() for folder in ("a", "b") for path in Path(folder).iterdir())
    assert "Aa11Bb22" not in written


def test_the_registry_on_standard_output(paymaster, config):
    ended = paymaster("init", "--from", "litellm", config, "-o", "-")
    assert ended.status == 0
    assert "models:" in ended.out
    assert f"{config}:3: model_list[0].litellm_params.tags: no counterpart: " in ended.err
    assert names(".") == []


def test_entries_with_the_same_finding_are_one_row(paymaster, tmp_path):
    entries = [f"  - {{model_name: m{number}, litellm_params: {{model: groq/x{number}, tags: [a]}}}}\n" for number in range(12)]
    (tmp_path / "many.yaml").write_text("model_list:\n" + "".join(entries))
    ended = paymaster("init", "--from", "litellm", "many.yaml", "-o", "out/")
    assert ended.out.count("litellm_params.tags") == 1
    assert "model_list[0-11].litellm_params.tags" in ended.out


def test_included_files_are_read_from_where_they_are_named(paymaster, tmp_path):
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "models.yaml").write_text("include: [more.yaml]\n" + CONFIG)
    (tmp_path / "parts" / "more.yaml").write_text("include: [models.yaml, ../top.yaml]\nlitellm_settings: {drop_params: true}\n")
    (tmp_path / "top.yaml").write_text("include: [parts/models.yaml]\n")
    made = json.loads(paymaster("init", "--from", "litellm", "top.yaml", "--json", "-o", "out/").out)
    places = [f"{Path(each['file']).name}:{each['line']}" for each in made["findings"]]
    assert places[:2] == ["top.yaml:1", "models.yaml:3"]
    assert "more.yaml:2" in places


@pytest.mark.usefixtures("config")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--from", "litelm", "config.yaml"), "did you mean litellm?"),
        (("--from", "litellm"), "--from needs the config"),
        (("config.yaml",), "config.yaml needs --from"),
        (("--json",), "--json needs --from"),
        (("--from", "litellm", "config.yaml", "--preset", "mixed"), "--from and --preset can't be used together"),
        (("--from", "litellm", "config.yaml", "--for", "mini"), "--from and --for can't be used together"),
        (("--from", "litellm", "config.yaml", "--json", "-o", "-"), "two outputs"),
        (("--from", "litellm", "missing.yaml"), "cannot read missing.yaml"),
        (("--from", "litellm", "includes.yaml"), "cannot read missing.yaml: No such file or directory\nincludes.yaml includes it."),
        (("--from", "litellm", "list.yaml"), "list.yaml"),
        (("--from", "litellm", "binary.yaml"), "binary.yaml is not UTF-8"),
        (("--from", "litellm", "config.yaml", "-o", "config.yaml/"), "config.yaml"),
    ],
)
def test_mistakes_are_one_error_with_status_2(paymaster, words, said):
    Path("includes.yaml").write_text("include: [missing.yaml]\n")
    Path("list.yaml").write_text("- a\n")
    Path("binary.yaml").write_bytes(b"\xff\xfe\x00")
    ended = paymaster("init", *words)
    assert ended.status == 2
    assert said in ended.err
    assert "Traceback" not in ended.err
    assert not Path("registry.yaml").exists()


@pytest.mark.parametrize("output", ["top.yaml", "sub/../top.yaml", "parts/registry.yaml"])
def test_a_config_is_never_replaced_by_its_registry(paymaster, output):
    texts = {Path("top.yaml"): "include: [parts/registry.yaml]\n", Path("parts/registry.yaml"): CONFIG}
    Path("parts").mkdir()
    Path("sub").mkdir()
    for file, text in texts.items():
        file.write_text(text)
    ended = paymaster("init", "--from", "litellm", "top.yaml", "-o", output, "--force")
    assert (ended.status, ended.err.splitlines()[0]) == (2, f"Error: {output} is the config itself")
    assert {file: file.read_text() for file in texts} == texts


def test_a_config_on_standard_input_has_a_name(paymaster, config, monkeypatch):
    with config.open(encoding="utf-8") as stream:
        monkeypatch.setattr("sys.stdin", stream)
        ended = paymaster("init", "--from", "litellm", "-", "-o", "out/")
    assert ended.status == 0
    assert "Made from standard input" in Path("out/registry.yaml").read_text()


def test_the_tables_fit_a_terminal_of_80_columns(config):
    with terminal_process("init", "--from", "litellm", config, "-o", "out/", COLUMNS="80") as (process, finish):
        shown = re.sub(r"\x1b\[[0-9;]*m", "", finish())
    tables, _, _ = shown.partition("fields:")
    assert process.returncode == 0
    assert "policies.retries_per_model" in tables.replace("\n", "")
    assert max(len(line) for line in tables.splitlines()) <= 80
