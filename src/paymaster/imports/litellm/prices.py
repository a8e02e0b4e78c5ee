"""What LiteLLM's prices are in a registry: dollars per token become dollars per million; knows no catalogue."""

import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation

from paymaster.imports.draft import Draft
from paymaster.imports.findings import Findings
from paymaster.registry.yamltext import KeyPath, Plain

_PER_TOKEN: Mapping[str, str] = {
    "input_cost_per_token": "usd_per_1m_input",
    "output_cost_per_token": "usd_per_1m_output",
    "cache_read_input_token_cost": "usd_per_1m_cache_read",
    "input_cost_per_token_cache_hit": "usd_per_1m_cache_read",
    "cache_creation_input_token_cost": "usd_per_1m_cache_write",
    "cache_creation_input_token_cost_above_1hr": "usd_per_1m_cache_write_1h",
    "input_cost_per_audio_token": "usd_per_1m_input_audio",
    "output_cost_per_audio_token": "usd_per_1m_output_audio",
    "cache_read_input_audio_token_cost": "usd_per_1m_cache_read_audio",
    "input_cost_per_image_token": "usd_per_1m_input_image",
    "output_cost_per_image_token": "usd_per_1m_output_image",
    "cache_read_input_image_token_cost": "usd_per_1m_cache_read_image",
    "input_cost_per_video_token": "usd_per_1m_input_video",
    "output_cost_per_video_token": "usd_per_1m_output_video",
}
_INPUT, _OUTPUT = "usd_per_1m_input", "usd_per_1m_output"
_LONG = re.compile(r"(.+)_above_(\d{1,6})k_tokens")
_TIER = re.compile(r"(.+)_(flex|priority)")
_PRICE = re.compile(r"(^|_)cost(_|$)|tiered_pricing")
_MILLION = 1_000_000


def is_price(name: str) -> bool:
    """Whether a field of LiteLLM's states a price."""
    return _PRICE.search(name) is not None


def put_prices(fields: Mapping[str, tuple[Plain, KeyPath]], draft: Draft, findings: Findings, *, embeds: bool) -> bool:
    """Put the prices into the draft of a model; whether it has a price then. `fields` are those of which `is_price` is true."""
    read = {name: (_per_million(value), path) for name, (value, path) in fields.items()}
    plain = {_PER_TOKEN[name]: (usd, path) for name, (usd, path) in read.items() if name in _PER_TOKEN and usd is not None}
    needed = (_INPUT,) if embeds else (_INPUT, _OUTPUT)
    whole = all(key in plain for key in needed)
    for name, (usd, path) in read.items():
        findings.no_counterpart(path, _why_not(name, usd, whole=whole))
    if not whole:
        return False
    paths = [path for _, path in plain.values()]
    long, tiers = _grouped(_LONG, read), _grouped(_TIER, read)
    if not any(usd for usd, _ in plain.values()) and not long and not tiers:
        draft.put(("price",), "free", *paths)
        for path in paths:
            findings.changed(path, "a price of 0 is written as free")
        return True
    for key, (usd, path) in plain.items():
        draft.put((key,), usd, path)
        findings.changed(path, "dollars per 1,000,000 tokens")
    _put_tiers(long, draft, findings)
    for tier, prices in tiers.items():
        for key, (usd, path) in prices.items():
            draft.put(("service_tiers", tier, key), usd, path)
            findings.changed(path, "dollars per 1,000,000 tokens")
    return True


def _put_tiers(long: Mapping[str, Mapping[str, tuple[Decimal, KeyPath]]], draft: Draft, findings: Findings) -> None:
    """The prices of long prompts, the shortest first."""
    steps: list[Plain] = []
    for thousands in sorted(long, key=int):
        prices = long[thousands]
        steps.append({"above_tokens": int(thousands) * 1_000, **{key: usd for key, (usd, _) in prices.items()}})
        for _, path in prices.values():
            findings.changed(path, "dollars per 1,000,000 tokens, as a tier")
    if steps:
        draft.put(("tiers",), steps, *(path for prices in long.values() for _, path in prices.values()))


def _grouped(pattern: re.Pattern[str], read: Mapping[str, tuple[Decimal | None, KeyPath]]) -> dict[str, dict[str, tuple[Decimal, KeyPath]]]:
    """The prices whose names match, by what the pattern's second group found."""
    groups: dict[str, dict[str, tuple[Decimal, KeyPath]]] = {}
    for name, (usd, path) in read.items():
        found = pattern.fullmatch(name)
        if found is not None and usd is not None and found[1] in _PER_TOKEN:
            groups.setdefault(found[2], {})[_PER_TOKEN[found[1]]] = (usd, path)
    return groups


def _why_not(name: str, usd: Decimal | None, *, whole: bool) -> str:
    known = name in _PER_TOKEN or any((found := pattern.fullmatch(name)) and found[1] in _PER_TOKEN for pattern in (_LONG, _TIER))
    if not known:
        return "Paymaster prices tokens, searches and requests: see docs/pricing.md"
    if usd is None:
        return "this is no price in dollars"
    return "" if whole else "a price needs both input_cost_per_token and output_cost_per_token; the catalogue's price counts"


def _per_million(value: Plain) -> Decimal | None:
    """Dollars per million tokens; None for what is no amount."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal | str):
        return None
    try:
        usd = Decimal(str(value).strip().replace("_", ""))
    except InvalidOperation:
        return None
    if not usd.is_finite() or usd < 0 or usd.adjusted() > 12:
        return None
    return (usd * _MILLION).normalize()
