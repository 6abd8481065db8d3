"""From what LiteLLM raises to one status of the contract: by the status it carries, by class only where that lies."""

import re
from collections.abc import Mapping

from dep_mcp.adapters.outcome import BY_CODE, outcome
from dep_mcp.models.retry_after import retry_after_s
from dep_mcp.protocol import Item
from dep_mcp.protocol.errors import ModelCallError

BY_CLASS: Mapping[str, int] = {
    "ContextWindowExceededError": 413,
    "ContentPolicyViolationError": 451,
    "RejectedRequestError": 451,
    "GuardrailRaisedException": 451,
    "BlockedPiiEntityError": 451,
    "BudgetExceededError": 402,
    "UnsupportedParamsError": 400,
    "JSONSchemaValidationError": 502,
    "APIResponseValidationError": 502,
    "APIConnectionError": 502,
    "MidStreamFallbackError": 502,
    "ImageFetchError": 400,
    "ModifyResponseException": 451,
    "SensitiveDataRouteException": 451,
}
"""Most specific first: classes whose own status is missing, or says another thing than what happened."""

BY_STATUS_ONLY = frozenset(
    {
        "APIError",
        "AuthenticationError",
        "BadGatewayError",
        "BadRequestError",
        "InternalServerError",
        "InvalidRequestError",
        "NotFoundError",
        "OpenAIError",
        "PaymentRequiredError",
        "PermissionDeniedError",
        "RateLimitError",
        "ServiceUnavailableError",
        "Timeout",
        "UnprocessableEntityError",
        "LiteLLMUnknownProvider",
        "ModelNotMappedError",
        "CallerCredentialAuthenticationError",
        "CallerCredentialRateLimitError",
        "EndpointNotSupportedByModelError",
        "MalformedRequestFieldError",
        "MockException",
        "UnsupportedEndpointError",
        "VectorStoreSearchError",
    }
)
"""Classes whose `status_code` tells what happened; a test walks the library and finds each class in one of both."""

_CODES: Mapping[str, int] = {
    "insufficient_quota": 402,
    "billing_hard_limit_reached": 402,
    "credit balance": 402,
    "content_policy_violation": 451,
    "content_filter": 451,
    "context_length_exceeded": 413,
    "exceed_context_size": 413,
}
"""What the body's own code says more exactly than the status it came with."""

_PREFIX = re.compile(r"^(?:(?:litellm\.)?\w+(?:Error|Exception|Timeout): ?|\w+Exception - ?)+")
"""The library's own class names before what the provider said."""

_UNREACHABLE = frozenset({"ClientConnectorError", "ConnectError", "ConnectionRefusedError", "gaierror"})
"""Causes of a call that never left, under whatever status the library gives it."""


def translate(error: Exception, *, item: Item, api_key: str | None) -> ModelCallError:
    """The error of the contract; its detail is what the provider said, without prompt and key."""
    headers = getattr(error, "litellm_response_headers", None)
    wait_s = retry_after_s(headers) if isinstance(headers, Mapping) else None
    said = str(getattr(error, "message", "") or error)
    detail = _PREFIX.sub("", " ".join(said.split()))
    status = _status(error)
    if status == 503 and _never_left(error):  # noqa: PLR2004 (as given below)
        detail = f"the provider can't be reached ({detail}): check the network and the address"
    return outcome(detail, status, item=item, api_key=api_key, retry_after_s=wait_s)


def _status(error: Exception) -> int:
    for kind in type(error).__mro__:
        if kind.__name__ in BY_CLASS:
            return BY_CLASS[kind.__name__]
        if kind.__name__ in BY_STATUS_ONLY:
            break
    carried = str(getattr(error, "status_code", None)).lower()
    if getattr(error, "litellm_response_headers", None) is None and carried in ("500", "none"):
        # No reply that could be read: the connection broke or never was, or a 200 held no answer.
        return 503 if _never_left(error) else 502
    status = int(carried) if carried.isdigit() else BY_CODE.get(carried, 502)
    body = getattr(error, "body", None)
    named = f"{body.get('code')} {body.get('type')}" if isinstance(body, Mapping) else ""
    text = f"{named} {error}".lower()
    if status in (400, 403, 422, 429):
        status = next((meaning for code, meaning in _CODES.items() if code in text), status)
    return status


def _never_left(error: Exception) -> bool:
    cause: BaseException | None = error
    for _ in range(20):  # a chain may be a circle
        if cause is None:
            return False
        if type(cause).__name__ in _UNREACHABLE:
            return True
        cause = cause.__cause__ or cause.__context__
    return False
