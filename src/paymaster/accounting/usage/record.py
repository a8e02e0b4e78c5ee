"""One canonical record of what a call used, whatever its provider calls it; knows no price and no wire format."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

UnknownReason = Literal["missing_usage", "inconsistent_usage"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Token counts that never overlap: each token stands in exactly one `*_tokens` field, so that a cost is a plain sum of products.

    `input_tokens` are those billed at the full rate: neither read from nor written to a cache, neither audio nor image. `output_tokens`
    contain the reasoning; `reasoning_tokens` repeats it for readers and is never billed a second time. `service_tier`, `speed` and
    `inference_geo` are the provider's own words (`priority`, `fast`, `us`), None where it said nothing. `reported_cost_usd` is the bill as
    the provider stated it. `parts` is set where one answer took several model passes (Anthropic's compaction): each falls into a price
    tier of its own, and the fields here are their sums.
    """

    input_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    input_audio_tokens: int = 0
    cache_read_audio_tokens: int = 0
    input_image_tokens: int = 0
    cache_read_image_tokens: int = 0
    output_tokens: int = 0
    output_audio_tokens: int = 0
    output_image_tokens: int = 0
    reasoning_tokens: int = 0
    web_search_requests: int = 0
    service_tier: str | None = None
    speed: str | None = None
    inference_geo: str | None = None
    reported_cost_usd: Decimal | None = None
    parts: "tuple[Usage, ...]" = ()

    @property
    def counts(self) -> tuple[int, ...]:
        """The billed token counts, in the order of `prices_rates.TOKEN_METERS`."""
        return (
            self.input_tokens,
            self.cache_read_tokens,
            self.cache_write_5m_tokens,
            self.cache_write_1h_tokens,
            self.input_audio_tokens,
            self.cache_read_audio_tokens,
            self.input_image_tokens,
            self.cache_read_image_tokens,
            self.output_tokens,
            self.output_audio_tokens,
            self.output_image_tokens,
        )

    @property
    def prompt_tokens(self) -> int:
        """All input: cached or not, of every kind. Price tiers look at this number."""
        return sum(self.counts[:8])

    @property
    def completion_tokens(self) -> int:
        """All output, with the reasoning."""
        return sum(self.counts[8:])

    @property
    def total_tokens(self) -> int:
        """Input and output together: what a tokens-per-minute limit counts."""
        return sum(self.counts)

    @property
    def cache_write_tokens(self) -> int:
        """Tokens written to a cache, however long they are kept."""
        return self.cache_write_5m_tokens + self.cache_write_1h_tokens


@dataclass(frozen=True, slots=True)
class UnknownUsage:
    """Nobody can say what the call used, so its hold is charged: `missing_usage` or `inconsistent_usage`, and what exactly is wrong."""

    reason: UnknownReason
    detail: str
