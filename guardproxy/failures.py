"""The upstream's own errors, in the envelope of the front door where that promises one. Pure."""

from typing import Any

from guardproxy.document import decode, parse, rendered
from guardproxy.errors import Uninspectable, UpstreamError
from guardproxy.profiles import Envelope, Profile
from guardproxy.types import is_text

_TYPES = {401: "authentication_error", 403: "authentication_error", 429: "rate_limit_exceeded"}
_MEMBERS = ("message", "type", "code", "param")


def told(profile: Profile, status: int, body: bytes) -> tuple[int, bytes]:
    """Status and body of the answer in the place of the upstream's error, which was inspected.

    Its message, code and param stay, the type is that of the status. What is no error of the API's, such as
    a gateway's page, is told of by its status alone.
    """
    if not profile.own_errors or status < 400:
        return status, body
    error = _error(body) or {"message": f"The upstream answered with {status}.", "code": UpstreamError.code}
    kind = "server_error" if status >= 500 else _TYPES.get(status, "invalid_request_error")
    inner = {**dict.fromkeys(_MEMBERS), **error, "type": kind}
    if status >= 500 and profile.bad_gateway:
        status, inner["code"] = UpstreamError.status, UpstreamError.code
    whole = inner if profile.envelope is Envelope.FLAT else {"error": inner}
    return status, rendered(whole).encode()


def _error(body: bytes) -> dict[str, Any] | None:
    try:
        value = parse(decode(body).removeprefix("\ufeff"))
    except Uninspectable:
        return None
    error = value.get("error", value) if isinstance(value, dict) else None
    if is_text(error):
        return {"message": error}
    return error if isinstance(error, dict) and is_text(error.get("message")) else None
