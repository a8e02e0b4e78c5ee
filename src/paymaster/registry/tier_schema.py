"""The keys of a model about tiers of service, beside their prices; knows no file and no provider's tiers."""

from pydantic import Field

from paymaster.registry.price_schema import PriceSection
from paymaster.registry.values import Seconds


class TieredSection(PriceSection):
    """What a model may say about tiers of service."""

    tier_patience_s: Seconds | None = Field(
        None,
        description=(
            "With several tiers of service (`params: {service_tier: [flex, default]}`): how long a call waits for one that is paused "
            "before it goes on to the next. Default 2."
        ),
        examples=[5],
    )
    flex_first_token_s: Seconds | None = Field(
        None,
        description="To the first token of a stream at the tier `flex`. Default 300, or `timeouts.first_token_s` if longer.",
        examples=[120],
    )
