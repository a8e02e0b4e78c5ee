"""A model is found by its common names; an unknown name has no price."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from genai_prices.types import (
    ClauseEquals,
    ClauseStartsWith,
    ConditionalPrice,
    ModelInfo,
    ModelPrice,
    PriceVariant,
    StartDateConstraint,
    Tier,
    TieredPrices,
    TimeOfDateConstraint,
)

from paymaster.accounting.prices.catalogue import Catalogue
from paymaster.accounting.prices.genai_prices import extract_periods, is_named
from paymaster.accounting.prices.names import canonical_provider, is_local, is_same_model, spellings, split_prefix, without_snapshots
from paymaster.accounting.prices.price import ALWAYS, Period
from paymaster.accounting.prices.supplement import Supplement, load_supplement, read_supplement

if TYPE_CHECKING:
    from paymaster.accounting.prices.price import Price

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return Catalogue()


def input_rate(price: Price | None) -> str | None:
    return None if price is None else str(price.table.rates(0).input)


@pytest.mark.parametrize(
    ("provider", "model", "usd_per_mtok"),
    [
        ("openai", "gpt-4o", "2.5"),
        ("OpenAI", "GPT-4o", "2.5"),
        ("openai", "openai/gpt-4o", "2.5"),
        ("openai", "gpt-4o-2024-08-06", "2.5"),
        ("openai", "gpt-4o-2024-05-13", "5"),
        ("openai", "gpt-5.2-20251211", "1.75"),
        ("openai", "gpt-5-nano-2025-08-07", "0.05"),
        ("openai", "gpt-5.6-luna-2026-08-01", "0.2"),
        ("openai", "ft:gpt-4o-2024-08-06:team::id", "3.75"),
        ("openai", "ft:gpt-4o-mini-2024-07-18:team::id", "0.3"),
        ("azure", "azure/gpt-4o", "2.5"),
        ("azure_openai", "gpt-4o", "2.5"),
        ("anthropic", "claude-sonnet-4-5-20250929", "3"),
        ("anthropic", "anthropic/claude-haiku-4-5", "1"),
        ("anthropic", "claude-3-5-haiku-latest", "0.8"),
        ("vertex", "claude-sonnet-4-5@20250929", "3"),
        ("google", "claude-3-5-sonnet-v2@20241022", "3"),
        ("gemini", "gemini/gemini-2.5-pro", "1.25"),
        ("google", "models/gemini-2.5-flash", "0.3"),
        ("vertex_ai", "publishers/google/models/gemini-2.5-pro", "1.25"),
        ("google", "gemini-2.5-pro-preview-05-06", "1.25"),
        ("google", "gemini-2.0-flash-001", "0.1"),
        ("bedrock", "us.anthropic.claude-sonnet-4-6", "3.3"),
        ("bedrock", "global.anthropic.claude-sonnet-4-6-v1:0", "3"),
        ("bedrock", "bedrock/converse/us-east-1/us.anthropic.claude-sonnet-4-6", "3.3"),
        ("aws", "arn:aws:bedrock:us-east-1:1:inference-profile/us.anthropic.claude-sonnet-4-6", "3.3"),
        ("aws", "amazon.nova-pro-v1:0", "0.8"),
        ("xai", "xai/grok-4.7", "2"),
        ("x-ai", "x-ai/grok-4.7", "2"),
        ("groq", "groq/openai/gpt-oss-120b", "0.15"),
        ("together_ai", "together_ai/meta-llama/Llama-3.3-70B-Instruct-Turbo", "1.04"),
        ("deepseek", "deepseek/deepseek-v4-flash", "0.15"),
        ("openrouter", "openrouter/google/gemini-2.5-pro", "1.25"),
        ("openrouter", "deepseek/deepseek-r1:free", "0"),
        ("LM Studio", "anything", "0"),
        ("hosted-vllm", "anything", "0"),
        (None, "ollama/anything", "0"),
        (None, "gpt-4o", "2.5"),
        (None, "anthropic/claude-haiku-4-5", "1"),
    ],
)
def test_common_names_of_models_are_understood(provider: str | None, model: str, usd_per_mtok: str, catalogue: Catalogue) -> None:
    assert input_rate(catalogue.lookup(provider, model, NOW)) == usd_per_mtok


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "gpt-4o-hyper-2027-01-01"),
        ("openai", "gpt-4o-2027-01-01"),
        ("openai", "gpt-5-nano-hyper"),
        ("openai", "tts-1"),
        ("openai", "ft:gpt-7:team::id"),
        ("openai", "gemini-2.5-pro"),
        ("openai", "gemini/gemini-2.5-pro"),
        ("google", "gemini-2.5-pro-max"),
        ("google", "gemini-3.5-flash-8b"),
        ("google", "gemma-3"),
        ("anthropic", "claude-opus-4-9"),
        ("anthropic", "claude-opus-4-55"),
        ("anthropic", "claude-sonnet-4-5-turbo"),
        ("aws", "us.anthropic.claude-sonnet-4-6-turbo"),
        ("azure", "o4-mini-hyper"),
        ("azure", "my-deployment"),
        ("openrouter", "openai/gpt-4o:hyper"),
        ("deepseek", "deepseek-chat"),
        ("nobody", "gpt-4o"),
        (None, "some-lab/brand-new-model"),
        (None, "brand-new-model"),
    ],
)
def test_an_unknown_name_has_no_price(provider: str | None, model: str, catalogue: Catalogue) -> None:
    assert catalogue.lookup(provider, model, NOW) is None


def test_every_name_that_the_catalogue_lists_itself_is_accepted() -> None:
    from genai_prices.data import providers

    listed = [(provider.id, model) for provider in providers for model in provider.models if isinstance(model.match, ClauseEquals)]
    assert len(listed) > 1000
    assert [model.id for provider, model in listed if not is_named(provider, model.match.equals.lower(), model)] == []


def test_prices_change_on_their_day(catalogue: Catalogue) -> None:
    assert input_rate(catalogue.lookup("openai", "o3", datetime(2025, 6, 9, 23, 59))) == "10"  # noqa: DTZ001  # a naive time is UTC
    assert input_rate(catalogue.lookup("openai", "o3", datetime(2025, 6, 10, tzinfo=UTC))) == "2"
    assert input_rate(catalogue.lookup("deepseek", "deepseek-v4-flash", datetime(2026, 9, 10, 3, 59, tzinfo=UTC))) == "0.22"
    assert input_rate(catalogue.lookup("deepseek", "deepseek-v4-flash", datetime(2026, 9, 10, 4, tzinfo=UTC))) == "0.15"


def test_each_price_names_its_source(catalogue: Catalogue) -> None:
    sources = [catalogue.lookup(*name, NOW).source for name in (("openai", "gpt-4o"), ("deepseek", "deepseek-flash"), ("ollama", "x"))]
    assert sources[0].startswith("catalogue genai-prices ")
    assert sources[1].startswith("catalogue paymaster ")
    assert sources[2] == "local provider ollama"


def test_providers_that_write_to_the_cache_unasked_are_known(catalogue: Catalogue) -> None:
    unasked = {name: catalogue.lookup(None, name, NOW).writes_cache_unasked for name in ("gpt-6.1-sol", "gpt-4o", "claude-sonnet-4-5")}
    assert unasked == {"gpt-6.1-sol": True, "gpt-4o": False, "claude-sonnet-4-5": False}


def test_a_look_up_is_remembered(catalogue: Catalogue) -> None:
    assert catalogue.lookup("openai", "gpt-4o", NOW) is catalogue.lookup("openai", "gpt-4o", NOW)


def test_importing_costs_nothing_and_local_models_load_nothing() -> None:
    program = (
        "import sys, datetime\n"
        "from paymaster.accounting.prices.catalogue import Catalogue\n"
        "assert Catalogue().lookup('ollama', 'x', datetime.datetime.now()).is_free\n"
        "assert 'genai_prices' not in sys.modules and 'pydantic' not in sys.modules, 'loaded too early'\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_names_and_prefixes_are_split() -> None:
    assert canonical_provider(" Vertex-AI ") == "google"
    assert canonical_provider("someone") == "someone"
    assert is_local("text-generation-webui")
    assert not is_local("openai")
    assert split_prefix("gemini/gemini-2.5-pro") == ("google", "gemini-2.5-pro")
    assert split_prefix("gpt-4o") == (None, "gpt-4o")
    assert list(spellings("openai", "Gemini/x")) == ["gemini/x"]
    assert list(without_snapshots("gemini-2.5-pro-preview-05-06")) == [
        "gemini-2.5-pro-preview-05-06",
        "gemini-2.5-pro-preview",
        "gemini-2.5-pro",
    ]


@pytest.mark.parametrize(
    ("provider", "one", "other", "same"),
    [
        ("anthropic", "claude-opus-4-8", "claude-opus-4-8-20260601", True),
        ("anthropic", "claude-opus-4-8-20260601", "anthropic/claude-opus-4-8", True),
        ("bedrock", "us.anthropic.claude-opus-4-8", "claude-opus-4-8", True),
        ("anthropic", "claude-opus-4-8", "claude-opus-4-7", False),
        ("anthropic", "claude-opus-4-8-20260601", "claude-opus-4-8-20260701", False),
        ("openai", "gpt-4o", "gpt-4o-mini", False),
    ],
)
def test_two_names_may_mean_the_same_model(provider: str, one: str, other: str, same: bool) -> None:
    assert is_same_model(provider, one, other) is same
    assert is_same_model(provider, other, one) is same


# --- What genai-prices' entries can say --------------------------------------------------------------------------------


def entry(prices: ModelPrice | list[ConditionalPrice], *variants: PriceVariant, name: str = "m") -> ModelInfo:
    return ModelInfo(id=name, match=ClauseStartsWith(name), prices=prices, price_variants=list(variants))


def since(month: int) -> StartDateConstraint:
    return StartDateConstraint(date(2026, month, 1))


def mtok(input_: str, **more: Decimal | TieredPrices) -> ModelPrice:
    return ModelPrice(input_mtok=Decimal(input_), output_mtok=Decimal(10), **more)


def only(model: ModelInfo, supplement: Supplement | None = None) -> Price | None:
    (period,) = extract_periods("p", model, supplement or Supplement(version="0"), "catalogue")
    assert period.start == ALWAYS
    return period.price


def test_tiers_of_single_rates_become_tiers_of_the_whole() -> None:
    tiered = TieredPrices(base=Decimal(1), tiers=[Tier(start=100, price=Decimal(2)), Tier(start=200, price=Decimal(4))])
    price = only(entry(mtok("1", cache_read_mtok=tiered)))
    assert [(tier.from_prompt_tokens, tier.rates.cache_read) for tier in price.table.tiers] == [(0, 1), (101, 2), (201, 4)]
    assert {tier.rates.output for tier in price.table.tiers} == {10}


@pytest.mark.parametrize("key", ["input_mchars", "output_reasoning_mtok"])
def test_a_meter_that_no_usage_reports_makes_a_model_unpriced(key: str) -> None:
    assert only(entry(mtok("1", **{key: Decimal(1)}))) is None


def test_a_price_by_the_hour_of_the_day_is_not_guessed() -> None:
    night = TimeOfDateConstraint(start_time=datetime(2026, 1, 1, 1).time(), end_time=datetime(2026, 1, 1, 4).time())  # noqa: DTZ001  # hours only
    assert only(entry([ConditionalPrice(prices=mtok("1")), ConditionalPrice(night, prices=mtok("2"))])) is None


@pytest.mark.parametrize("rate", ["NaN", "Infinity", "-1", "1e30", "1000001"])
def test_a_rate_that_nobody_can_mean_makes_a_model_unpriced(rate: str) -> None:
    assert only(entry(mtok(rate))) is None
    assert only(entry(mtok("1", cache_read_mtok=TieredPrices(base=Decimal(1), tiers=[Tier(start=9, price=Decimal(rate))])))) is None
    price = only(entry(mtok("1"), PriceVariant(when={"service_tier": "priority"}, prices=mtok(rate))))
    assert price is not None
    assert price.mode("priority") is None


def test_an_empty_price_is_free_only_by_name() -> None:
    assert only(entry(ModelPrice())) is None
    assert only(entry(ModelPrice(), name="m:free")).is_free


def test_video_and_images_have_rates_of_their_own() -> None:
    price = only(entry(mtok("1", input_image_mtok=Decimal(2), input_video_mtok=Decimal(5), requests_kcount=Decimal(3))))
    rates = price.table.rates(0)
    assert (rates.input_image, rates.input_video, rates.request) == (2, 5, 3000)


def test_a_model_may_be_billed_by_the_hour_of_audio() -> None:
    price = only(entry(ModelPrice(audio_hours=Decimal("0.36"), input_audio_hours=Decimal("0.36"))))
    rates = price.table.rates(0)
    assert (rates.audio_hour, rates.counts_no_tokens, price.is_free, price.bills_tokens_only) == (360_000, True, False, False)
    both = only(entry(mtok("1", audio_hours=Decimal(1))))
    assert (both.table.rates(0).counts_no_tokens, both.bills_tokens_only) == (False, False)


def test_an_embedding_s_output_costs_no_less_than_its_input() -> None:
    assert only(entry(ModelPrice(input_mtok=Decimal(1)))).table.rates(0).output == 1


def test_variants_hold_from_their_day_and_before_it_while_the_list_price_was_the_same() -> None:
    model = entry(
        [ConditionalPrice(prices=mtok("8")), ConditionalPrice(since(3), prices=mtok("4"))],
        PriceVariant(when={"processing": "batch"}, prices=ModelPrice(input_mtok=Decimal(1)), constraint=since(9)),
        PriceVariant(when={"processing": "batch"}, prices=ModelPrice(input_mtok=Decimal(2), output_mtok=Decimal(5)), constraint=since(6)),
        PriceVariant(when={"speed": "fast", "service_tier": "x"}, prices=ModelPrice(input_mtok=Decimal(9))),
        PriceVariant(when={"route": "eu"}, prices=ModelPrice(input_mtok=Decimal(9))),
    )
    periods = extract_periods("p", model, Supplement(version="0"), "catalogue")
    batches = {period.start.month: period.price.mode("batch") for period in periods if period.start != ALWAYS}
    assert [period.price.mode("batch") for period in periods if period.start == ALWAYS] == [None]
    assert {month: (table.rates(0).input, table.rates(0).output) for month, table in batches.items()} == {3: (1, 5), 6: (2, 5), 9: (1, 5)}
    assert {name for period in periods for name, _ in period.price.modes} == {"batch"}


# --- Our own figures ---------------------------------------------------------------------------------------------------


def test_the_shipped_file_is_valid() -> None:
    supplement = load_supplement()
    for (provider, name), periods in supplement.histories().items():
        assert canonical_provider(provider) == provider, name
        assert [period.start for period in periods] == sorted({period.start for period in periods}), name
    sources = [row.source for row in (*supplement.model, *supplement.correction, *supplement.factor)]
    assert all(source.startswith("https://") for source in sources)


def test_corrections_and_factors_apply_only_to_the_models_they_name() -> None:
    supplement = read_supplement(
        """
        version = "1"
        [us_factors]
        p = "1.1"
        [[correction]]
        provider = "p"
        models = ["m"]
        source = "https://example.com"
        from = 2026-03-01T00:00:00Z
        until = 2026-04-01T00:00:00Z
        rates = { cache_read = "7" }
        [[factor]]
        provider = "p"
        mode = "batch"
        factor = "0.5"
        meters = ["input"]
        only_if_missing = true
        source = "https://example.com"
        [[factor]]
        provider = "p"
        models = ["other"]
        mode = "fast"
        factor = "6"
        source = "https://example.com"
        """
    )
    periods = extract_periods("p", entry(mtok("2")), supplement, "catalogue")
    assert [period.price.table.rates(0).cache_read for period in periods] == [None, 7, None]
    batch = periods[0].price.mode("batch").rates(0)
    assert (batch.input, batch.output) == (1, 10)
    assert periods[0].price.us_factor == Decimal("1.1")
    assert periods[0].price.mode("fast") is None
    assert only(entry(mtok("2"), name="other"), supplement).mode("fast").rates(0).output == 60
    own = PriceVariant(when={"processing": "batch"}, prices=ModelPrice(input_mtok=Decimal("1.5")))
    assert only(entry(mtok("2"), own, name="other"), supplement).mode("batch").rates(0).input == Decimal("1.5")


def test_a_history_may_end() -> None:
    supplement = read_supplement(
        'version = "1"\n[[model]]\nprovider = "p"\nnames = ["a"]\nsource = "https://example.com"\n'
        'until = 2026-01-01T00:00:00Z\nperiods = [{ input = "1", output = "2" }]\n'
    )
    (start, end) = supplement.histories()["p", "a"]
    assert start.price.source == "catalogue paymaster 1"
    assert end == Period(datetime(2026, 1, 1, tzinfo=UTC), None)


def test_a_mistake_in_the_file_is_refused() -> None:
    with pytest.raises(ValueError, match="Extra inputs are not permitted"):
        read_supplement('version = "1"\n[us_factor]\np = "1.1"\n')
    model = '[[model]]\nprovider = "p"\nnames = ["a"]\nsource = "https://example.com"\n'
    with pytest.raises(ValueError, match="a price needs input and output, or search_unit"):
        read_supplement(f'version = "1"\n{model}periods = [{{ input = "1" }}]\n')
