"""Makes control characters in a text visible, so that no text can drive a terminal; knows no stream."""

import re

_DRIVES_A_TERMINAL = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"  # C0 but for tab and line feed, DEL, C1
    r"\u061c\u202a-\u202e\u2066-\u206f"  # characters that turn the direction of text
    r"\u2028\u2029"  # line breaks that a reader of lines does not see
    r"\u2060-\u2064\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"  # invisible
    r"|\r(?!\n)"
)
"""What a text must not bring to a terminal. Joiners and direction marks stay: words of many languages, and emoji, need them."""

_LAST_OF_LATIN_1, _LAST_OF_BMP = 0xFF, 0xFFFF


def printable(text: str) -> str:
    r"""The text with every control character as a visible escape: `\x1b`. Tabs and line breaks stay."""
    return _DRIVES_A_TERMINAL.sub(_escape, text)


def printable_line(text: str) -> str:
    """The same on one line: each run of white space is one space."""
    return printable(" ".join(text.split()))


def json_printable(text: str) -> str:
    r"""JSON that means the same, with every control character in its strings as JSON writes it: `\u001b`."""
    return _DRIVES_A_TERMINAL.sub(_json_escape, text)


def json_line_printable(line: bytes) -> bytes:
    """The same for a line in UTF-8. JSON escapes C0 by itself, so that nearly every line is ASCII and stays as it is."""
    return line if line.isascii() and b"\x7f" not in line else json_printable(line.decode()).encode()


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code <= _LAST_OF_LATIN_1:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= _LAST_OF_BMP else f"\\U{code:08x}"


def _json_escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code <= _LAST_OF_BMP:
        return f"\\u{code:04x}"
    high, low = divmod(code - _LAST_OF_BMP - 1, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"
