"""Every key of a price in a registry file with its type, meaning and an example; knows no catalogue and no other key of a model."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field, model_validator

from paymaster.registry.values import Count, Factor, Fee, Moment, Rate, Switch, Windows, WrittenDates, refuse


class BaseSection(BaseModel):
    """The base of all sections: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class RatesSection(BaseSection):
    """Prices per 1,000 or per 1,000,000 tokens; one of the two for each kind of token."""

    usd_per_1k_input: Rate | None = Field(None, description="Dollars per 1,000 prompt tokens.", examples=[0.0025])
    usd_per_1k_output: Rate | None = Field(None, description="Dollars per 1,000 output tokens, reasoning included.", examples=[0.01])
    usd_per_1k_cache_read: Rate | None = Field(None, description="Dollars per 1,000 prompt tokens read from the provider's cache.")
    usd_per_1k_cache_write: Rate | None = Field(None, description="Dollars per 1,000 prompt tokens written to the provider's cache.")
    usd_per_1m_input: Rate | None = Field(None, description="Dollars per 1,000,000 prompt tokens.", examples=[2.5])
    usd_per_1m_output: Rate | None = Field(None, description="Dollars per 1,000,000 output tokens, reasoning included.", examples=[10])
    usd_per_1m_cache_read: Rate | None = Field(
        None, description="Dollars per 1,000,000 prompt tokens read from the cache.", examples=[1.25]
    )
    usd_per_1m_cache_write: Rate | None = Field(
        None, description="Dollars per 1,000,000 prompt tokens written to the cache.", examples=[3.75]
    )
    usd_per_1m_cache_write_1h: Rate | None = Field(None, description="The same for tokens that the cache keeps an hour.", examples=[6])
    usd_per_1m_input_audio: Rate | None = Field(None, description="Dollars per 1,000,000 tokens of audio in the prompt.", examples=[40])
    usd_per_1m_input_image: Rate | None = Field(None, description="Dollars per 1,000,000 tokens of images in the prompt.")
    usd_per_1m_cache_read_audio: Rate | None = Field(None, description="Dollars per 1,000,000 tokens of audio read from the cache.")
    usd_per_1m_cache_read_image: Rate | None = Field(None, description="Dollars per 1,000,000 tokens of images read from the cache.")
    usd_per_1m_output_audio: Rate | None = Field(None, description="Dollars per 1,000,000 tokens of audio in the answer.", examples=[80])
    usd_per_1m_output_image: Rate | None = Field(None, description="Dollars per 1,000,000 tokens of images in the answer.")
    usd_per_1m_input_video: Rate | None = Field(None, description="Dollars per 1,000,000 tokens of video in the prompt.")
    usd_per_1m_output_video: Rate | None = Field(None, description="Dollars per 1,000,000 tokens of video in the answer.")
    usd_per_web_search: Fee | None = Field(None, description="Dollars for each web search that the provider runs.", examples=[0.01])
    usd_per_request: Fee | None = Field(None, description="Dollars for each request, whatever its length.", examples=[0.005])


class TierSection(RatesSection):
    """Prices of the whole request if its prompt is long. Give either `above_tokens` or `from_tokens`.

    A missing price is that of the base price.
    """

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": ["above_tokens"]}, {"required": ["from_tokens"]}]})

    above_tokens: Count | None = Field(
        None,
        description="The tier starts above this many prompt tokens, cached ones included (Google, OpenAI, Anthropic).",
        examples=[200_000],
    )
    from_tokens: Count | None = Field(None, description="The tier starts at exactly this many prompt tokens (xAI).", examples=[200_000])

    @model_validator(mode="after")
    def _starts_once(self) -> "TierSection":
        if (self.above_tokens is None) == (self.from_tokens is None):
            refuse("must start with either above_tokens (only longer prompts) or from_tokens (this length too)")
        return self

    @property
    def first_tokens(self) -> int:
        """The shortest prompt with these prices."""
        return self.from_tokens or 0 if self.above_tokens is None else self.above_tokens + 1


class ServiceTierSection(RatesSection):
    """The price of a service tier: a factor of the model's price, or prices of its own, of which a missing one is the model's."""

    price_factor: Factor | None = Field(None, description="A factor of the price of every token.", examples=[2])

    @model_validator(mode="after")
    def _is_factor_or_prices(self) -> "ServiceTierSection":
        given = any(getattr(self, key) is not None for key in RatesSection.model_fields)
        if given == (self.price_factor is not None):
            refuse("must have either price_factor or prices", "price_factor: 2")
        return self


class PeakSection(ServiceTierSection):
    """Hours in which the price is another: a factor of the model's price, or prices of its own."""

    hours: Windows = Field(description="The hours, in UTC, as `HH:MM-HH:MM`.", examples=[["01:00-04:00", "06:00-10:00"]])
    weekdays_only: Switch | None = Field(None, description="Whether Saturday and Sunday have none. Default false.")
    days_off: WrittenDates | None = Field(None, description="Days without peak hours.", examples=[["2026-10-01"]])


class PriceSection(RatesSection):
    """A price with everything that may change it."""

    tiers: list[TierSection] | None = Field(None, description="Prices for long prompts, shortest first.")
    service_tiers: dict[str, ServiceTierSection] | None = Field(
        None,
        description="Prices of service tiers, by the provider's word for the tier in its answers.",
        examples=[{"priority": {"price_factor": 2}}],
    )
    peak: PeakSection | None = Field(None, description="Hours with another price.")


class DatedPriceSection(PriceSection):
    """The price of a model for a time: from one moment, until another, or both. What is missing is that of the model's own price."""

    from_date: Moment | None = Field(None, description="The first day, or moment, of this price (UTC).", examples=["2027-01-01"])
    until_date: Moment | None = Field(
        None, description="The day, or moment, from which it no longer counts (UTC).", examples=["2027-03-01"]
    )

    @model_validator(mode="after")
    def _has_dates_in_order(self) -> "DatedPriceSection":
        if self.from_date is None and self.until_date is None:
            refuse("must have a date: from_date, until_date or both", "from_date: 2027-01-01")
        if self.from_date is not None and self.until_date is not None and self.from_date >= self.until_date:
            refuse(f"ends on {_day(self.until_date)}, before it starts on {_day(self.from_date)}")
        return self


def _day(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d}"
