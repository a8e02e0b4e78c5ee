"""What numeric error codes of some providers mean; knows no wording.

The codes are Z.ai's and Zhipu's (docs.z.ai/api-reference/api-code) and MiniMax's, which gives them in
`base_resp` or at the end of a message.
"""

import re
from dataclasses import dataclass

from paymaster.providers.error_bodies import BASE_RESP, ErrorBody
from paymaster.routing.failures import FailureKind


@dataclass(frozen=True, slots=True)
class Meaning:
    """The kind of failure, and the HTTP status for it where the answer has none of its own."""

    kind: FailureKind
    status: int


_AUTHENTICATION = Meaning(FailureKind.AUTHENTICATION, 401)
_BAD_REQUEST = Meaning(FailureKind.BAD_REQUEST, 400)
_CONTENT = Meaning(FailureKind.CONTENT_POLICY, 400)
_OVERLOADED = Meaning(FailureKind.OVERLOADED, 503)
_PERMISSION = Meaning(FailureKind.PERMISSION, 403)
_QUOTA = Meaning(FailureKind.QUOTA_EXHAUSTED, 402)
_SERVER_ERROR = Meaning(FailureKind.SERVER_ERROR, 500)
_THROTTLED = Meaning(FailureKind.THROTTLED, 429)
_TOO_LONG = Meaning(FailureKind.CONTEXT_TOO_LONG, 400)
_UNKNOWN_MODEL = Meaning(FailureKind.UNKNOWN_MODEL, 404)

_ZAI = {
    **dict.fromkeys(("1000", "1001", "1002", "1003", "1004"), _AUTHENTICATION),
    **dict.fromkeys(("1110", "1111", "1112", "1121", "1220", "1311"), _PERMISSION),
    **dict.fromkeys(("1113", "1304", "1308", "1309", "1310", "1316", "1317", "1318", "1319", "1320", "1321"), _QUOTA),
    **dict.fromkeys(("1210", "1213", "1214", "1215"), _BAD_REQUEST),
    **dict.fromkeys(("1211", "1212", "1221", "1222"), _UNKNOWN_MODEL),
    **dict.fromkeys(("1120", "1230", "1234"), _SERVER_ERROR),
    "1261": _TOO_LONG,
    "1301": _CONTENT,
    **dict.fromkeys(("1302", "1303", "1313"), _THROTTLED),
    **dict.fromkeys(("1305", "1312"), _OVERLOADED),
}
_MINIMAX = {
    **dict.fromkeys(("1004", "2049"), _AUTHENTICATION),
    **dict.fromkeys(("1008", "2056"), _QUOTA),
    **dict.fromkeys(("1026", "1027"), _CONTENT),
    **dict.fromkeys(("1002", "1039", "1041", "2045"), _THROTTLED),
    **dict.fromkeys(("1042", "2013", "20132"), _BAD_REQUEST),
    **dict.fromkeys(("1000", "1001", "1013", "1024", "1033"), _SERVER_ERROR),
    "2061": _PERMISSION,
}
_AT_THE_END = re.compile(r"\((1002|1004|1008|1026|1027|1039|1041|2013|2045|2049|2056|2061)\)\s*$")


def meaning_of(error: ErrorBody) -> Meaning | None:
    """What a code of the error means, in the numbering of its provider; None if it has none that is known."""
    for code in error.codes:
        if code.startswith(BASE_RESP):
            return _MINIMAX.get(code.removeprefix(BASE_RESP), _SERVER_ERROR)
    at_the_end = _AT_THE_END.search(error.message)
    if at_the_end is not None:
        return _MINIMAX[at_the_end[1]]
    return next((_ZAI[code] for code in error.codes if code in _ZAI), None)
