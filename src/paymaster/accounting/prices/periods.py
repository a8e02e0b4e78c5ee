"""How a price changes over time; knows neither where the figures come from nor what they are for."""

from dataclasses import dataclass
from datetime import UTC, datetime

from paymaster.accounting.prices.price import Price

ALWAYS = datetime.min.replace(tzinfo=UTC)
FOREVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Period:
    """A price (None: no price any more) and the moment from which it is in force."""

    start: datetime
    price: Price | None
