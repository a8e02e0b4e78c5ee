"""Fetches price data from a file or over HTTP, within bounds of size and time; knows no price.

A redirection may lead to HTTP only, and never from HTTPS to an address without it: the data decides what calls are charged.
"""

import asyncio
import zlib
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from paymaster.errors import PricesNotUpdated, UsageMistake
from paymaster.price_store.folder import MOST_BYTES, read_bounded
from paymaster.price_store.updating import NewData

if TYPE_CHECKING:
    import aiohttp

LIMIT_S = 30.0
"""For the whole download, from the name of the host to the last byte."""
MOST_REDIRECTIONS = 5
_SCHEMES = ("https", "http")
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_CHUNK_BYTES = 65_536
_DATE_CHARS = 60
_ADVICE = "The prices in use stay. Try again later, or name a file: paymaster prices update --from FILE."


def published_address() -> str:
    """Where genai-prices publishes its data, as the installed package states it."""
    from genai_prices.update_prices import DEFAULT_UPDATE_URL

    return DEFAULT_UPDATE_URL


def is_address(source: str) -> bool:
    """Whether a source is a URL and not a file."""
    return "://" in source


def fetch(source: str, limit_s: float = LIMIT_S) -> NewData:
    """The data of a file or URL. Raises PricesNotUpdated, and UsageMistake for a source that can't be one."""
    return asyncio.run(fetch_url(source, limit_s)) if is_address(source) else read_file(source)


def read_file(source: str) -> NewData:
    """The data of a file. Raises UsageMistake."""
    try:
        return NewData(text=read_bounded(Path(source).expanduser()), source=str(Path(source).expanduser().absolute()))
    except (OSError, ValueError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageMistake(f"cannot read {source}: {reason}", advice="Name a file or a URL with the data of genai-prices.") from error


async def fetch_url(source: str, limit_s: float = LIMIT_S) -> NewData:
    """The data at a URL. Raises PricesNotUpdated, and UsageMistake for a URL that isn't HTTP."""
    if urlsplit(source).scheme not in _SCHEMES:
        raise UsageMistake(f"{source} is not an HTTP address", advice="Name a file, or a URL with https://.")
    import aiohttp

    try:
        async with asyncio.timeout(limit_s), aiohttp.ClientSession(trust_env=True, auto_decompress=False) as session:
            return await _follow(session, source)
    except TimeoutError as error:
        raise PricesNotUpdated(f"{_shown(source)} did not send its data within {limit_s:g} s", advice=_ADVICE) from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise PricesNotUpdated(f"cannot fetch {_shown(source)}: {str(error) or type(error).__name__}", advice=_ADVICE) from error


async def _follow(session: "aiohttp.ClientSession", source: str) -> NewData:
    """The answer at the end of all redirections."""
    address = source
    for _ in range(MOST_REDIRECTIONS + 1):
        headers = {"Accept": "application/json", "Accept-Encoding": "gzip"}
        async with session.get(address, headers=headers, allow_redirects=False) as answer:
            if answer.status in _REDIRECTS:
                address = _redirected(address, answer.headers.get("Location", ""))
                continue
            if answer.status != 200:
                raise PricesNotUpdated(f"{_shown(address)} answered with HTTP {answer.status}", advice=_ADVICE)
            text = await _body(answer)
            return NewData(text=text, source=_shown(source), published=answer.headers.get("Last-Modified", "")[:_DATE_CHARS] or None)
    raise PricesNotUpdated(f"{_shown(source)} redirects more than {MOST_REDIRECTIONS} times", advice=_ADVICE)


def _redirected(address: str, location: str) -> str:
    """The address of a redirection. Raises PricesNotUpdated for one that isn't HTTP, or leaves HTTPS."""
    target = urljoin(address, location)
    before, after = urlsplit(address).scheme, urlsplit(target).scheme
    if after not in _SCHEMES or (before == "https" and after != "https"):
        raise PricesNotUpdated(f"{_shown(address)} redirects to {_shown(target)}, which is not followed", advice=_ADVICE)
    return target


async def _body(answer: "aiohttp.ClientResponse") -> bytes:
    """The whole body, unpacked piece by piece, so that a small answer cannot become a large one. Raises PricesNotUpdated."""
    encoding = answer.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in {"identity", "gzip", "deflate"}:
        raise PricesNotUpdated(f"{_shown(str(answer.url))} sent its data as {encoding}", advice=_ADVICE)
    unpacker = None if encoding == "identity" else zlib.decompressobj(zlib.MAX_WBITS | 32)
    body = bytearray()
    async for chunk in answer.content.iter_chunked(_CHUNK_BYTES):
        try:
            body += chunk if unpacker is None else unpacker.decompress(chunk, MOST_BYTES + 1 - len(body))
        except zlib.error as error:
            raise PricesNotUpdated(f"{_shown(str(answer.url))} sent damaged data: {error}", advice=_ADVICE) from error
        if len(body) > MOST_BYTES:
            raise PricesNotUpdated(f"{_shown(str(answer.url))} sent more than {MOST_BYTES // 1024 // 1024} MiB", advice=_ADVICE)
    if unpacker is not None and not unpacker.eof:
        raise PricesNotUpdated(f"{_shown(str(answer.url))} sent only a part of its data", advice=_ADVICE)
    return bytes(body)


def _shown(address: str) -> str:
    """The address without a name and a password in it."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return address
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
