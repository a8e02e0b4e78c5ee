"""The prompt tokens of an image or a sound by the published formulas; knows sizes and providers' rules, no messages and no text.

Every rule gives an upper bound. An unknown size (a remote URL, an unknown format) costs the rule's maximum.
"""

import base64
import binascii
from dataclasses import dataclass
from typing import Protocol, TypeAlias

Size: TypeAlias = tuple[int, int]
"""Width and height in pixels."""

# A JPEG's size comes after previews and colour profiles; beyond this many bytes it is not searched.
_HEAD_BYTES = 196_608
# 32 tokens a second (Gemini, the dearest published rate) at 4 kbit/s, below what any speech codec in use delivers.
_AUDIO_BYTES_PER_TOKEN = 15


class ImageRule(Protocol):
    """How one family of models counts an image."""

    def tokens(self, size: Size | None, detail: str) -> int:
        """The most tokens an image of `size` can cost; `detail` is OpenAI's (`low`, `high`, `auto`, `original`, or empty)."""
        ...


@dataclass(frozen=True, slots=True)
class Tiles:
    """OpenAI's tiles: fit into 2048 x 2048, shorter side down to 768, then `base` + `per_tile` for each 512 x 512.

    Source: OpenAI, "Images and vision", calculating costs. gpt-4o-mini: 2833 + 5667, the others at most 85 + 170.
    """

    base: int
    per_tile: int

    def tokens(self, size: Size | None, detail: str) -> int:
        """At most 8 tiles; `low` is the base alone."""
        if detail == "low":
            return self.base
        return self.base + self.per_tile * (8 if size is None else _tiles(*size))


@dataclass(frozen=True, slots=True)
class Patches:
    """One token for each square of `edge` pixels, at least `least` and at most `most` of them, times `percent` / 100.

    Sources: OpenAI (32 px; 1,536 patches, 10,000 for newer models; multipliers up to 2.46), Anthropic (width x height / 750 is a square
    of 27 px; 1,600, from Claude 4.7 on 4,800), Qwen-VL (28 px, 16,384), Pixtral (16 px).
    """

    edge: int
    most: int
    least: int = 0
    percent: int = 100

    def tokens(self, size: Size | None, detail: str) -> int:
        """The same at every detail: the setting does not lower the bill of these models."""
        patches = self.most
        if size is not None:
            patches = min(self.most, max(self.least, _cover(size[0], self.edge) * _cover(size[1], self.edge)))
        return -(-patches * self.percent // 100)


@dataclass(frozen=True, slots=True)
class Crops:
    """Gemini 1 and 2: 258 for up to 384 x 384, else 258 for each crop of min(width, height) / 1.5 pixels, kept within 256 and 768.

    Source: Google, "Image understanding", token calculation. Images are first fitted into 3072 x 3072, which leaves at most 26 crops.
    """

    per_crop: int = 258

    def tokens(self, size: Size | None, detail: str) -> int:
        """At most 26 crops."""
        if size is None:
            return self.per_crop * 26
        width, height = size
        if max(width, height) <= 384:
            return self.per_crop
        if max(width, height) > 3072:
            width, height = width * 3072 // max(width, height), height * 3072 // max(width, height)
        edge = min(768, max(256, min(width, height) * 2 // 3))
        return self.per_crop * min(26, _cover(width, edge) * _cover(height, edge))


def _cover(length: int, edge: int) -> int:
    """How many pieces of `edge` cover `length`; at least one."""
    return max(1, -(-length // edge))


def _tiles(width: int, height: int) -> int:
    # The provider's rounding is unknown: one pixel is added after each division, so that no tile is missed.
    longest, shortest = max(width, height, 1), max(1, min(width, height))
    if longest > 2048:
        longest, shortest = 2048, max(1, shortest * 2048 // longest + 1)
    if shortest > 768:
        longest, shortest = longest * 768 // shortest + 1, 768
    return min(8, _cover(longest, 512) * _cover(shortest, 512))


def image_size(url: str) -> Size | None:
    """Width and height of an image in a `data:` URL or in plain base64, else None. Reads PNG, GIF, WebP and JPEG."""
    if url.startswith("data:"):
        url = url.partition(",")[2]
    try:
        head = base64.b64decode(url[: _HEAD_BYTES // 3 * 4])
    except (binascii.Error, ValueError):  # a remote URL, or no base64
        return None
    if head.startswith(b"\x89PNG\r\n\x1a\n") and len(head) >= 24:
        size = int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")
    elif head.startswith((b"GIF87a", b"GIF89a")) and len(head) >= 10:
        size = int.from_bytes(head[6:8], "little"), int.from_bytes(head[8:10], "little")
    elif head[8:12] == b"WEBP" and len(head) >= 30:
        size = _webp_size(head)
    elif head.startswith(b"\xff\xd8"):
        size = _jpeg_size(head)
    else:
        return None
    return size if min(size) > 0 else None


def _webp_size(head: bytes) -> Size:
    """The three layouts of WebP: extended, lossless, lossy."""
    if head[12:16] == b"VP8X":
        return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    if head[12:16] == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return int.from_bytes(head[26:28], "little") & 0x3FFF, int.from_bytes(head[28:30], "little") & 0x3FFF


def _jpeg_size(head: bytes) -> Size:
    """The size in the frame header, found segment by segment; (0, 0) if it is not in `head`."""
    at = 2
    while at + 9 <= len(head) and head[at] == 0xFF:
        marker = head[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in {0xC4, 0xC8, 0xCC}:
            return int.from_bytes(head[at + 7 : at + 9], "big"), int.from_bytes(head[at + 5 : at + 7], "big")
        # Fill bytes have no length; every other segment has its own.
        at += 1 if marker == 0xFF else 2 + int.from_bytes(head[at + 2 : at + 4], "big")
    return 0, 0


def audio_tokens(data: str) -> int:
    """The most tokens that sound in base64 can cost: one for every 15 bytes (32 tokens a second at 4 kbit/s)."""
    return len(data) * 3 // 4 // _AUDIO_BYTES_PER_TOKEN + 1
