"""The error answers of a script's faults, as status and body; knows no time and no transport."""

from collections.abc import Mapping
from dataclasses import dataclass

from paymaster.providers.scripted.script import FaultKind, FaultPlan


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error that is sent instead of an answer."""

    status: int
    message: str
    code: str
    type: str

    def body(self, message: str | None = None) -> dict[str, object]:
        """As OpenAI writes errors."""
        return {"error": {"message": message or self.message, "type": self.type, "param": None, "code": self.code}}


REFUSALS: Mapping[FaultKind, Refusal] = {
    FaultKind.THROTTLE: Refusal(429, "Rate limit reached for this model.", "rate_limit_exceeded", "requests"),
    FaultKind.THROTTLE_NO_HEADER: Refusal(429, "Rate limit reached for this model.", "rate_limit_exceeded", "requests"),
    FaultKind.ABSURD_WAIT: Refusal(429, "Rate limit reached for this model.", "rate_limit_exceeded", "requests"),
    FaultKind.QUOTA: Refusal(429, "You have no credits left on this account.", "insufficient_quota", "insufficient_quota"),
    FaultKind.OVERLOADED: Refusal(503, "The model is overloaded.", "overloaded", "server_error"),
    FaultKind.SERVER_ERROR: Refusal(500, "The server had an error.", "server_error", "server_error"),
    FaultKind.CONTEXT_TOO_LONG: Refusal(
        400, "The prompt is longer than this model's maximum context length.", "context_length_exceeded", "invalid_request_error"
    ),
    FaultKind.CONTENT_FILTER: Refusal(400, "The prompt was stopped by the content filter.", "content_filter", "invalid_request_error"),
    FaultKind.AUTH: Refusal(401, "The key is not valid.", "invalid_api_key", "authentication_error"),
    FaultKind.PERMISSION: Refusal(403, "This key has no access to the model.", "permission_denied", "permission_error"),
    FaultKind.UNKNOWN_MODEL: Refusal(404, "There is no such model.", "model_not_found", "invalid_request_error"),
    FaultKind.BAD_REQUEST: Refusal(400, "A parameter has a value that is not allowed.", "invalid_value", "invalid_request_error"),
}
"""The faults that are answered with an error. All others damage an answer."""


def is_billed(plan: FaultPlan) -> bool:
    """Whether the request is billed: a damaged answer is, an error is not, unless the script says otherwise."""
    return plan.kind not in REFUSALS if plan.billed is None else plan.billed
