"""`paymaster prices` shows what is in use and where it is from, and updates it."""

import json
import re
from pathlib import Path

import pytest
from genai_prices.data import providers as shipped

from paymaster.accounting.prices.published import write_published
from paymaster.views.words import age
from price_servers import PriceServer, sends

TEXT = write_published(shipped)


@pytest.fixture
def data(tmp_path: Path):
    """A file with the shipped prices, and `gpt-4.1` at another input rate."""

    def write(usd: str, name: str = "data.json") -> Path:
        file = tmp_path / name
        file.write_text(re.sub(r'("id":"gpt-4\.1",.*?"input_mtok":)[\d.]+', rf"\g<1>{usd}", TEXT, count=1))
        return file

    return write


def input_rates(shown: dict) -> list[str]:
    return [row["usd_per_1m"]["input"] for row in shown["prices"] if row["tier"] is None]


def test_the_installed_prices_are_shown_with_their_version(paymaster) -> None:
    shown = paymaster("prices")
    assert shown.status == 0
    assert "The prices installed with Paymaster are in use (genai-prices 0.2.3)." in shown.out
    assert json.loads(paymaster("prices", "--json").out)["current"] is None
    rows = [re.split("  +", line) for line in shown.out.splitlines()[3:]]
    assert [row[0] for row in rows] == ["paymaster", "paymaster", "genai-prices"]
    assert all(re.fullmatch(r"[\d,]+ (days|h|min)|[\d.]+ s", row[2]) for row in rows)
    assert re.fullmatch(r"in use, 2,\d\d\d models, newest price of 2026-\d\d-\d\d", rows[-1][-1])


@pytest.mark.parametrize(
    ("past_ms", "text"),
    [(0, "0 ms"), (59_999, "59.9 s"), (60_000, "1 min"), (7_200_000, "2 h"), (172_799_999, "47 h"), (10**11, "1,157 days")],
)
def test_an_age_has_one_unit(past_ms, text) -> None:
    assert age(past_ms) == text


def test_a_price_is_shown_with_every_row_and_its_source(paymaster) -> None:
    shown = paymaster("prices", "show", "gemini/gemini-2.5-pro")
    assert shown.status == 0
    assert "200,001 or more" in shown.out
    assert "batch" in shown.out
    assert "catalogue genai-prices 0.2.3" in shown.out
    assert "Context window: 128,000 tokens" in paymaster("prices", "show", "openai/gpt-4o").out
    assert input_rates(json.loads(paymaster("prices", "show", "gemini-2.5-pro", "--json").out)) == ["1.25", "2.5"]


@pytest.mark.parametrize(
    ("words", "columns", "cells"),
    [
        (["openai/gpt-4o"], ["input", "cache read", "output", "web search"], ["batch", "flex", "priority"]),
        (["openai/gpt-5.4", "--region", "eu"], ["input", "cache read", "output", "web search"], ["1.1 x for eu"]),
        (["gemini/gemini-2.5-flash"], ["input", "cache read", "input audio", "cache read audio", "output", "web search"], ["0.54"]),
        (["dashscope/qwen-plus"], ["input", "output"], ["thinking"]),
        (
            ["deepseek/deepseek-v4-pro"],
            ["input", "cache read", "output"],
            ["peak 01:00-04:00, 06:00-10:00 UTC, Monday to Friday, 6 days off"],
        ),
        (["cohere/rerank-v3.5"], ["input", "output", "search unit"], [" 2 "]),
        (["openai/whisper-1"], ["input", "output", "audio hour"], [" 0.36 "]),
        (["cohere/embed-english-v3.0"], ["input", "output"], []),
    ],
)
def test_a_price_has_the_columns_that_say_something(paymaster, words, columns, cells) -> None:
    shown = paymaster("prices", "show", *words).out
    heads = re.split("  +", shown.splitlines()[2].strip())
    assert heads == ["from", "tier", "prompt", *columns, "source"]
    assert [cell for cell in cells if cell not in shown] == []


def test_a_price_that_only_looks_new_is_not_repeated(paymaster) -> None:
    assert [row["from"] for row in json.loads(paymaster("prices", "show", "claude-opus-5", "--json").out)["prices"]] == [None] * 4


def test_units_that_are_no_tokens_are_shown_per_thousand_and_per_hour(paymaster) -> None:
    (units, *_), (hour, *_) = (
        json.loads(paymaster("prices", "show", name, "--json").out)["prices"] for name in ("cohere/rerank-v3.5", "openai/whisper-1")
    )
    assert units["usd_per_1k"] == {"search_unit": "2"}
    assert (hour["usd_per_1"], "audio_hour" in hour["usd_per_1m"]) == ({"audio_hour": "0.36"}, False)


def test_a_price_that_depends_on_the_place_says_so(paymaster) -> None:
    assert "depends on where the call is served" in paymaster("prices", "show", "azure/gpt-5.6").err
    assert paymaster("prices", "show", "azure/gpt-5.6", "--region", "eu").err == ""
    assert paymaster("prices", "show", "openai/gpt-4o").err == ""


def test_a_price_is_shown_as_of_a_day(paymaster) -> None:
    every = json.loads(paymaster("prices", "show", "deepseek/deepseek-v4-pro", "--json").out)
    assert len({row["from"] for row in every["prices"]}) > 1
    past = json.loads(paymaster("prices", "show", "deepseek/deepseek-v4-pro", "--at", "2026-08-01", "--json").out)
    assert input_rates(past) == ["0.435"]
    gone = paymaster("prices", "show", "cohere/embed-english-v3.0", "--at", "2026-08-01")
    assert gone.status == 0
    bad = paymaster("prices", "show", "gpt-4o", "--at", "soon")
    assert (bad.status, "--at soon: not a time" in bad.err) == (2, True)


def test_a_price_is_shown_for_a_region(paymaster) -> None:
    def rate(*words: str) -> list[str]:
        return input_rates(json.loads(paymaster("prices", "show", "bedrock/anthropic.claude-opus-5-5", *words, "--json").out))

    assert rate("--region", "us")[-1] == "4.4"
    assert rate("--region", "global")[-1] == "4"


def test_a_name_without_a_price_is_refused_with_names_that_have_one(paymaster) -> None:
    shown = paymaster("prices", "show", "openai/gpt-4.1-min")
    assert shown.status == 2
    assert "openai/gpt-4.1-min: no price is known" in shown.err
    assert "openai/gpt-4.1-mini" in shown.err
    assert "openai/gpt-4o" in paymaster("prices", "show", "openai/gpt-4oo").err
    assert paymaster("prices", "show", "no-such-model").status == 2
    assert paymaster("prices", "show", "ollama/anything").status == 0


def test_an_update_is_used_at_once_and_named_in_costs(paymaster, data, tmp_path: Path) -> None:
    updated = paymaster("prices", "update", "--from", data("3"))
    assert updated.status == 0
    assert re.search(r"The prices 20\d\d-\d\d-\d\d [0-9a-f]{8} are in use, from .*data\.json \(models changed: 1, new: 0", updated.out)
    name = json.loads(paymaster("prices", "--json").out)["current"]["name"]
    line = tmp_path / "line.jsonl"
    line.write_text('{"provider": "openai", "model": "gpt-4.1", "raw_usage": {"prompt_tokens": 1000000, "completion_tokens": 1}}')
    priced = json.loads(paymaster("cost", line).out)
    assert priced["cost_source"] == f"catalogue genai-prices {name}"
    assert priced["cost_usd"].startswith("3.0000")
    elsewhere = json.loads(paymaster("cost", line, "--state-dir", tmp_path / "elsewhere").out)
    assert elsewhere["cost_usd"].startswith("2.0000")
    again = paymaster("prices", "update", "--from", data("3"))
    assert "are up to date" in again.out
    assert f"The prices {name} are in use" in paymaster("prices").out


def test_what_moves_too_far_is_listed_until_it_is_accepted(paymaster, data) -> None:
    updated = paymaster("prices", "update", "--from", data("200"))
    assert updated.status == 0
    assert re.search(r"openai/gpt-4\.1 +moved +.*input_mtok \$2 became \$200", updated.out)
    assert "paymaster prices update --accept" in updated.out
    listed = paymaster("prices")
    assert "openai/gpt-4.1" in listed.out
    assert "prices held back: 1" in listed.err
    assert input_rates(json.loads(paymaster("prices", "show", "openai/gpt-4.1", "--json").out)) == ["2"]
    assert json.loads(paymaster("prices", "update", "--accept", "--json").out)["held_back"] == []
    assert "200" in input_rates(json.loads(paymaster("prices", "show", "openai/gpt-4.1", "--json").out))
    assert "Held back" not in paymaster("prices").out


def test_the_installed_prices_can_be_used_again(paymaster, data) -> None:
    paymaster("prices", "update", "--from", data("3"))
    assert paymaster("prices", "update", "--from", "shipped").out == "The installed prices are in use.\n"
    assert input_rates(json.loads(paymaster("prices", "show", "openai/gpt-4.1", "--json").out)) == ["2"]
    assert json.loads(paymaster("prices", "update", "--from", "shipped", "--json").out)["current"] is None


def test_an_update_that_fails_leaves_the_prices_and_says_so(paymaster, data, tmp_path: Path) -> None:
    paymaster("prices", "update", "--from", data("3"))
    before = paymaster("prices", "--json").out
    bad = tmp_path / "bad.json"
    bad.write_text(TEXT[:-100])
    failed = paymaster("prices", "update", "--from", bad)
    assert failed.status == 1
    assert "has no usable price data: it is not JSON" in failed.err
    assert "The prices in use stay." in failed.err
    assert paymaster("prices", "update", "--from", tmp_path / "missing.json").status == 2
    assert paymaster("prices", "update", "--from", "file:///etc/passwd").status == 2
    assert paymaster("prices", "--json").out == before


def test_prices_that_were_installed_after_an_update_are_mentioned(paymaster, data, own_state: Path) -> None:
    paymaster("prices", "update", "--from", data("3"))
    index = own_state / "prices" / "index.json"
    index.write_text(index.read_text().replace('"shipped": "0.2.3"', '"shipped": "0.1.0"'))
    assert "genai-prices 0.2.3 was installed after this update" in paymaster("prices").err
    index.write_text(re.sub(r'"checked_at_ms": \d+', '"checked_at_ms": 1', index.read_text().replace('"0.1.0"', '"0.2.3"')))
    assert re.search(r"the last update is .* old", paymaster("prices").err)


def test_an_update_from_a_server_keeps_no_password(paymaster, own_state: Path) -> None:
    server = PriceServer()
    try:
        server.answers["/data.json"] = sends(TEXT)
        address = f"{server.url}/data.json"
        assert paymaster("prices", "update", "--from", address.replace("//", "//ann:secret@")).status == 0
        assert json.loads(paymaster("prices", "--json").out)["current"]["source"] == address
        assert "secret" not in (own_state / "prices" / "index.json").read_text()
    finally:
        server.close()


def test_check_names_the_limits_that_are_guesses(paymaster, tmp_path: Path) -> None:
    registry = tmp_path / "r.yaml"
    registry.write_text("models: {glm: {provider: openrouter, model_id: z-ai/glm-5.3, api_key_env: K}}")
    shown = paymaster("check", registry)
    assert "~128000" in shown.out or "~128,000" in shown.out
    assert "glm: max_output_tokens 128" in shown.err
    assert "is a guess, from zai in litellm" in shown.err
    origins = paymaster("check", registry, "--origins").out
    assert "guess: zai in litellm" in origins
