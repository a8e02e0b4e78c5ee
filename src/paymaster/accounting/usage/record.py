"""The canonical record of a call's usage, the same for every provider; knows no price and no wire format."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from paymaster.frozen import frozen_dataclass

UnknownReason = Literal["missing_usage", "inconsistent_usage"]

_PROMPT_COUNTS = 9


@frozen_dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Token counts that never overlap: each token is in exactly one `*_tokens` field, so that a cost is a plain sum of products.

    `input_tokens` are billed at the full rate: neither read from nor written to a cache, neither audio nor image. `output_tokens` include
    the reasoning; `reasoning_tokens` repeats it for readers and is not billed again. `service_tier`, `speed` and `inference_geo` are the
    provider's own words (`priority`, `fast`, `us`), None if it sent none. `reported_cost_usd` is the cost that the provider reports.
    `parts` is set if one answer took several model passes (Anthropic's compaction and advisor): each has its own price tier, and the
    fields here are their sums. `model` is set in a part that names the model which made it; the others are the caller's model's.
    `ran_nothing`: the answer lists what its provider ran by itself, and has nothing in the list.
    `search_units` are those of a reranker (Cohere: a query with up to 100 documents), `audio_seconds` those of speech that is billed by its
    length.
    """

    input_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    input_audio_tokens: int = 0
    cache_read_audio_tokens: int = 0
    input_image_tokens: int = 0
    cache_read_image_tokens: int = 0
    input_video_tokens: int = 0
    output_tokens: int = 0
    output_audio_tokens: int = 0
    output_image_tokens: int = 0
    output_video_tokens: int = 0
    reasoning_tokens: int = 0
    web_search_requests: int = 0
    ran_nothing: bool = False
    search_units: int = 0
    audio_seconds: Decimal = Decimal(0)
    model: str | None = None
    service_tier: str | None = None
    speed: str | None = None
    inference_geo: str | None = None
    reported_cost_usd: Decimal | None = None
    parts: "tuple[Usage, ...]" = ()

    @property
    def counts(self) -> tuple[int, ...]:
        """The billed token counts, in the order of `prices.rates.TOKEN_METERS`."""
        return (
            self.input_tokens,
            self.cache_read_tokens,
            self.cache_write_5m_tokens,
            self.cache_write_1h_tokens,
            self.input_audio_tokens,
            self.cache_read_audio_tokens,
            self.input_image_tokens,
            self.cache_read_image_tokens,
            self.input_video_tokens,
            self.output_tokens,
            self.output_audio_tokens,
            self.output_image_tokens,
            self.output_video_tokens,
        )

    @property
    def prompt_tokens(self) -> int:
        """All input, cached or not, of every kind. Price tiers depend on it."""
        return sum(self.counts[:_PROMPT_COUNTS])

    @property
    def completion_tokens(self) -> int:
        """All output, with the reasoning."""
        return sum(self.counts[_PROMPT_COUNTS:])

    @property
    def total_tokens(self) -> int:
        """Input and output together, as a tokens-per-minute limit counts them."""
        return sum(self.counts)

    @property
    def cache_write_tokens(self) -> int:
        """Tokens written to a cache, however long they are kept."""
        return self.cache_write_5m_tokens + self.cache_write_1h_tokens


@dataclass(frozen=True, slots=True)
class UnknownUsage:
    """The usage is unknown, so the hold is charged. `reason` is `missing_usage` or `inconsistent_usage`; `detail` says more."""

    reason: UnknownReason
    detail: str
