"""The errors that a client can see, one class per outcome, and their envelope.

GuardProxyError
├── InvalidRequest         400 invalid_request_error
│   ├── Unauthorized       401 authentication_error
│   ├── NotFound           404 not_found
│   ├── MethodNotAllowed   405 method_not_allowed
│   ├── ModelNotAllowed    403 model_not_allowed
│   ├── BodyTooLarge       413 body_too_large
│   ├── UnsupportedMedia   415 unsupported_media_type
│   ├── Uninspectable      400 uninspectable
│   └── Violation          400 guardrail_violation (a block)
├── RateLimited            429 rate_limit_exceeded
├── GuardFailed            500 guardrail_failed
├── InternalError          500 internal_error
├── NotImplementedYet      501 not_implemented
├── UpstreamError          502 upstream_error
├── NoAccounts             503 no_accounts
├── LimitsUnavailable      503 limits_unavailable
├── Overloaded             503 overloaded
├── ShuttingDown           503 shutting_down
├── StoreUnavailable       503 store_unavailable
└── UpstreamTimeout        504 upstream_timeout
ConfigError                startup only; never reaches a client
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

# Why there is no answer of the upstream that could be delivered, or not all of it: the words of `failure`.
UpstreamFailure = Literal["dns", "refused", "unreachable", "proxy", "tls", "broke_off", "invalid", "redirect"]
# How a guard failed: over `guard_timeout`, over `queue_timeout`, its worker ended, or all else.
GuardFailure = Literal["timeout", "overloaded", "died", "raised"]


class GuardProxyError(Exception):
    """An outcome with a status and an OpenAI error envelope; its message never holds a match or a key."""

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    code: ClassVar[str] = "internal_error"
    # The OpenAI SDKs retry 5xx. True means: do not, the answer was paid for or would be the same.
    final: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.error_code = code or self.code
        self.headers: dict[str, str] = dict(headers or {})
        if self.final:
            self.headers["x-should-retry"] = "false"

    @property
    def envelope(self) -> dict[str, Any]:
        """The body: `{"error": {"message", "type", "code", "param"}}`."""
        return {
            "error": {
                "message": self.message,
                "type": self.type,
                "code": self.error_code,
                "param": self.param,
            }
        }


class InvalidRequest(GuardProxyError):
    """The client sent something wrong; the message says what, where, and what would be right."""

    status = 400
    type = "invalid_request_error"
    code = "invalid_request"


class Unauthorized(InvalidRequest):
    """No credential, or one that is not known."""

    status = 401
    type = "authentication_error"
    code = "invalid_api_key"


class NotFound(InvalidRequest):
    """A path that guardproxy does not serve."""

    status = 404
    code = "not_found"


class MethodNotAllowed(InvalidRequest):
    """A known path with a method that it does not have."""

    status = 405
    code = "method_not_allowed"


class ModelNotAllowed(InvalidRequest):
    """A model that the client's key may not use; `model` is its name, where that is one."""

    status = 403
    code = "model_not_allowed"

    def __init__(self, message: str, *, param: str | None = None, model: str | None = None) -> None:
        super().__init__(message, param=param)
        self.model = model


class BodyTooLarge(InvalidRequest):
    """A body over `max_body`."""

    status = 413
    code = "body_too_large"


class UnsupportedMedia(InvalidRequest):
    """A content encoding that cannot be undone for inspection."""

    status = 415
    code = "unsupported_media_type"


class Uninspectable(InvalidRequest):
    """A guard is on, and a part of the request cannot be inspected."""

    code = "uninspectable"


class Violation(InvalidRequest):
    """A guard's action was block, and it found something. `guards` is the report."""

    code = "guardrail_violation"
    final = True

    def __init__(self, message: str, *, param: str | None, guards: list[dict[str, Any]]) -> None:
        super().__init__(message, param=param)
        self.guards = guards

    @property
    def envelope(self) -> dict[str, Any]:
        """The body, with the report as `error.guards`."""
        body = super().envelope
        body["error"]["guards"] = self.guards
        return body


class RateLimited(GuardProxyError):
    """The requests of an address or a key are over a limit; `retry-after` says when the next one passes."""

    status = 429
    type = "rate_limit_exceeded"
    code = "rate_limit_exceeded"


class GuardFailed(GuardProxyError):
    """A guard raised, ran out of its time, or its worker died: the exchange stops (fail closed)."""

    code = "guardrail_failed"
    final = True

    def __init__(
        self,
        message: str,
        *,
        kind: GuardFailure = "raised",
        detector: str | None = None,
        raised: str | None = None,
    ) -> None:
        """`detector` is the one that failed, `raised` the type of its exception."""
        super().__init__(message)
        self.kind: GuardFailure = kind
        self.detector = detector
        self.raised = raised


class InternalError(GuardProxyError):
    """A fault of guardproxy's own; details go to the log, by type and place only."""


class NotImplementedYet(GuardProxyError):
    """A request that guardproxy cannot serve with the guards that are on."""

    status = 501
    type = "invalid_request_error"
    code = "not_implemented"
    final = True


class UpstreamError(GuardProxyError):
    """The upstream refused the connection, could not be reached, or broke off its answer; `failure`: which.

    `invalid` is an answer that is no HTTP, too large, or not to be inspected.
    """

    status = 502
    code = "upstream_error"
    final = True

    def __init__(
        self, message: str, *, param: str | None = None, failure: UpstreamFailure = "invalid"
    ) -> None:
        super().__init__(message, param=param)
        self.failure = failure


class Overloaded(GuardProxyError):
    """A guard's queue was full for longer than `queue_timeout`."""

    status = 503
    code = "overloaded"
    kind: GuardFailure = "overloaded"
    raised: str | None = None

    def __init__(self, message: str, *, detector: str | None = None) -> None:
        super().__init__(message, headers={"retry-after": "1"})
        self.detector = detector


class LimitsUnavailable(GuardProxyError):
    """The storage of the limits fails: what cannot be counted is not let in (fail closed)."""

    status = 503
    code = "limits_unavailable"

    def __init__(self, message: str) -> None:
        super().__init__(message, headers={"retry-after": "1"})


class NoAccounts(GuardProxyError):
    """The upstream that serves the request has no key."""

    status = 503
    code = "no_accounts"
    final = True


class ShuttingDown(GuardProxyError):
    """The exchange was not over when the time to drain was; another instance may serve it."""

    status = 503
    code = "shutting_down"


class StoreUnavailable(GuardProxyError):
    """The store of responses and conversations failed, or took too long; the log says how."""

    status = 503
    code = "store_unavailable"


class UpstreamTimeout(GuardProxyError):
    """The upstream did not connect, answer, or go on in time; `unsent`: it has got nothing of the request."""

    status = 504
    code = "upstream_timeout"
    final = True

    def __init__(self, message: str, *, unsent: bool = False) -> None:
        super().__init__(message)
        self.unsent = unsent


class ConfigError(Exception):
    """Settings or plugins that cannot work; the message names the place and what would be right.

    It stops the startup and is shown, so it holds no key and no text. A plugin may raise it in
    `guardproxy_register_guards`, `guardproxy_startup` and `Detector.load`; of any other exception only
    the type is shown.
    """
