"""One row per provider whose hosts or prices differ by region: its hosts, and what names the region; knows rows only, and no price."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RegionalHost:
    """Hosts of a provider beside its usual one, as a regular expression for the host. The provider's facts count there too.

    The region is `region`, else the pattern's group of that name, else the location in the path (`/locations/us-east5/`).
    """

    pattern: str
    region: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionFacts:
    """`hosts` are the provider's hosts beside its `base_url`.

    `region` is that of a call that says nothing, None if it is not known. `params` of the registry's parameters, then `variables` of the
    environment, say otherwise.
    """

    hosts: tuple[RegionalHost, ...] = ()
    region: str | None = None
    params: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()


_GOOGLE_CLOUD = (
    RegionalHost(r"aiplatform\.googleapis\.com"),
    RegionalHost(r"(?P<region>[a-z0-9-]+)-aiplatform\.googleapis\.com"),
    RegionalHost(r"aiplatform\.(?P<region>[a-z]+)\.rep\.googleapis\.com"),
)

REGIONS: Mapping[str, RegionFacts] = {
    # developers.openai.com/api/docs/guides/your-data (regional hosts)
    "openai": RegionFacts(region="global", hosts=(RegionalHost(r"(?P<region>[a-z]+)\.api\.openai\.com"),)),
    "google": RegionFacts(region="global", hosts=_GOOGLE_CLOUD),
    # litellm's own order, and the location that it chooses itself
    "vertex": RegionFacts(
        region="us-central1", hosts=_GOOGLE_CLOUD, params=("vertex_location", "vertex_ai_location"), variables=("VERTEXAI_LOCATION",)
    ),
    "bedrock": RegionFacts(
        hosts=(RegionalHost(r"bedrock[a-z-]*\.(?P<region>[a-z0-9-]+)\.amazonaws\.com"),),
        params=("aws_region_name",),
        variables=("AWS_REGION_NAME", "AWS_REGION", "AWS_DEFAULT_REGION"),
    ),
    # An address does not say whether a deployment is global, in a data zone or in one region.
    "azure": RegionFacts(hosts=(RegionalHost(r".+\.azure\.us", "us-gov"),)),
    "xai": RegionFacts(hosts=(RegionalHost(r"(?P<region>[a-z0-9-]+)\.api\.x\.ai"),)),
    # openrouter.ai/docs/guides/features/in-region-routing
    "openrouter": RegionFacts(hosts=(RegionalHost(r"(?P<region>[a-z]+)\.openrouter\.ai"),)),
    "dashscope": RegionFacts(
        region="intl",
        hosts=(RegionalHost(r"dashscope\.aliyuncs\.com", "cn"), RegionalHost(r"dashscope-us\.aliyuncs\.com", "us")),
    ),
}
"""By canonical id."""
