"""Writes CSV for spreadsheets: a text stays a text, and no cell is run as a formula; knows rows, and not what they mean.

A spreadsheet runs a cell that begins with `=`, `+`, `-` or `@`, and names in a ledger may come from any caller. Such a text gets an
apostrophe in front, as OWASP advises (https://owasp.org/www-community/attacks/CSV_Injection). So does what follows a semicolon, a tab or a
line break in a text: where the decimal sign is a comma, a spreadsheet splits cells at semicolons, quoted or not.
"""

import csv
import io
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

from paymaster.printable import printable

_FORMULA = frozenset("=+-@\N{MINUS SIGN}")
_SPLITS_A_CELL = frozenset("\t\r\n")
_SEPARATORS = re.compile(r"([;\t\r\n])")
_SKIPPED = re.compile(
    r"\A[\s\x00-\x20\x7f-\xa0\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff"
    r"\"'`\u2018-\u201f\uff02\uff07]*"
)
"""What a spreadsheet may drop before it looks at the first character: white space, invisible characters and quotes."""


def write_csv(columns: Sequence[str], rows: Iterable[Mapping[str, object]], *, texts: Iterable[str]) -> str:
    """The rows below their column names, without a line break at the end. Only the columns in `texts` hold a text of somebody else."""
    out, foreign = io.StringIO(), frozenset(texts)
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: text_cell(value) if name in foreign else value for name, value in row.items()} for row in rows)
    return out.getvalue().removesuffix("\n")


def text_cell(value: object) -> str | None:
    """A text as a cell that no spreadsheet runs, without control characters; None is an empty cell."""
    if value is None:
        return None
    text = str(value)
    quoted = "".join(f"'{part}" if _is_run(part) else part for part in _SEPARATORS.split(text))
    return printable(f"'{quoted}" if text[:1] in _SPLITS_A_CELL else quoted)


def _is_run(part: str) -> bool:
    first = _SKIPPED.sub("", part, count=1)[:1]
    return unicodedata.normalize("NFKC", first) in _FORMULA
