"""Call the upstream: the ways in turn, each an attempt, until one of them answers."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

import structlog

from guardproxy import facts
from guardproxy.auth import Credentials
from guardproxy.errors import GuardProxyError, UpstreamError, UpstreamTimeout
from guardproxy.exchange import Exchange, clock, moment
from guardproxy.headers import request_headers
from guardproxy.hooks import Hooks
from guardproxy.inputs import Asked, Forwarded, renamed
from guardproxy.messages import Incoming, check_redirect
from guardproxy.profiles import Profile
from guardproxy.threads import off_loop
from guardproxy.types import Stage, Step, StepKind
from guardproxy.upstream import Answer, Upstream
from guardproxy.upstreams import Chosen

_log = structlog.stdlib.get_logger("guardproxy")
BROKE_OFF = (UpstreamError.code, UpstreamTimeout.code)
_PARTIAL = {b"range", b"if-range"}  # a text could come piece by piece, and no guard would see all of it
_ENCODED = {b"content-encoding"}
# Of what was never sent nobody knows; of what was, the upstream may have made, and billed, a response.
_UNSENT = frozenset(("dns", "refused", "unreachable", "proxy", "tls"))


class Calls:
    """Calls of upstreams, with the credentials of the deployment."""

    def __init__(self, credentials: Credentials, hooks: Hooks) -> None:
        self._credentials = credentials
        self._hooks = hooks

    @asynccontextmanager
    async def answered(
        self,
        exchange: Exchange,
        step: Step,
        incoming: Incoming,
        ways: Sequence[Chosen],
        sent: Callable[[Chosen], Awaitable[Forwarded]],
        reads: bool,
    ) -> AsyncIterator[tuple[Answer, Forwarded]]:
        """The answer of the first way that has one, and what it was sent; closed when the block is left.

        It is asked for whole and without encoding where guardproxy `reads` it.

        The next way is tried where the upstream could not be reached, or answered with 429 or 5xx. The
        last one's answer is the answer, whatever it is.

        Raises:
            UpstreamError, UpstreamTimeout: of the last way that was tried.
        """
        call = Step(StepKind.CALL, exchange.model or "", step)
        with self._hooks.step(exchange, call):
            for way in ways:
                last = way is ways[-1]
                forwarded = await sent(way)
                if exchange.upstream is not None:
                    exchange.upstream = way.upstream.name
                attempt = Step(
                    StepKind.ATTEMPT, incoming.method, call, url=way.upstream.shown(incoming.shown)
                )
                with self._hooks.step(exchange, attempt):
                    began = clock()
                    exchange.upstream_status = None  # that of the attempt before was passed over
                    try:
                        answer = await self._send(exchange, incoming, attempt, way.upstream, forwarded, reads)
                    except (UpstreamError, UpstreamTimeout) as error:
                        _broke(error, attempt)
                        if not last and _is_unsent(error):
                            _pass_over(exchange, attempt)
                            continue
                        call.error_type = attempt.error_type
                        raise
                    try:
                        if not last and (answer.status == 429 or answer.status >= 500):
                            _pass_over(exchange, attempt)
                            continue
                        call.status = answer.status
                        if exchange.policy.enforced():
                            check_redirect(answer.status, answer.headers)
                        yield answer, forwarded
                        return
                    except (UpstreamError, UpstreamTimeout) as error:
                        _broke(error, attempt)
                        call.error_type = attempt.error_type
                        raise
                    finally:
                        await self._close(exchange, answer, began, call, attempt)

    async def _close(
        self, exchange: Exchange, answer: Answer, began: float, call: Step, attempt: Step
    ) -> None:
        if exchange.error_code in BROKE_OFF and not exchange.response_failed:
            call.error_type = attempt.error_type = exchange.error_code  # a stream has told of it
        attempt.failure = attempt.failure or exchange.upstream_failure
        await answer.aclose()
        if answer.first is not None:
            exchange.first_chunk_seconds = answer.first - began
        call.ended = attempt.ended = moment(exchange.upstream_watch.last)

    async def _send(
        self,
        exchange: Exchange,
        incoming: Incoming,
        attempt: Step,
        upstream: Upstream,
        forwarded: Forwarded,
        reads: bool,
    ) -> Answer:
        extra = dict(attempt.request_headers)
        if reads:
            extra["accept-encoding"] = "identity"
        gone = (_PARTIAL if reads else set()) | (_ENCODED if forwarded.changed else set())
        headers = [p for p in self.headers(upstream, incoming, extra) if p[0] not in gone]
        # A GET that came without a body must not leave with a Content-Length.
        body = forwarded.body if forwarded.body or incoming.method == "POST" else None
        exchange.upstream_origin = upstream.origin
        answer = await upstream.send(
            incoming.method, incoming.target, incoming.query, headers, body, exchange.upstream_watch
        )
        attempt.status = exchange.upstream_status = answer.status
        return answer

    def headers(
        self, upstream: Upstream, incoming: Incoming, extra: Mapping[str, str], *, passes: bool = True
    ) -> list[tuple[bytes, bytes]]:
        """The headers of a request as `upstream` gets them, with `extra`.

        Without `passes` the client's own credential is not among them.
        """
        authorization = self._credentials.authorization(upstream.api_key)
        return request_headers(
            incoming.headers,
            replace_authorization=authorization if passes else authorization or "",
            extra={**upstream.headers, **extra},
        )


async def as_sent(
    exchange: Exchange, profile: Profile, asked: Asked | None, way: Chosen, forwarded: Forwarded
) -> Forwarded:
    """`forwarded` as it is sent that way, for one model by its name there."""
    if asked is None:
        return forwarded
    picks = profile.falls_back and isinstance(asked.value.get("models"), list)
    if not picks and (way.model is None or way.model == way.asked):
        return forwarded
    now = forwarded if forwarded.changed else forwarded._replace(body=asked.text.encode())
    given = now, way.number, way.asked, way.model
    made = await off_loop(len(now.body), renamed, *given, picks=picks)
    if picks:
        listed = way.number - (asked.value.get("model") is not None)  # its index in `models`
        exchange.model_place = "model" if listed < 0 else str(listed)
        seen = exchange.policy.enforced(Stage.INPUT)
        told = not seen or exchange.may_tell(exchange.model_place, Stage.INPUT)
        exchange.model = facts.label(way.model) if told else None
    elif exchange.model == way.asked:
        exchange.model = way.model
    return made if made.changed else forwarded


def _pass_over(exchange: Exchange, attempt: Step) -> None:
    """Tell the operator of an attempt that its client learns nothing of."""
    told = {
        "model": exchange.told_model,
        "upstream": exchange.upstream,
        "upstream_origin": exchange.upstream_origin,
        "upstream_status": attempt.status,
        "code": attempt.error_type,
        "upstream_failure": attempt.failure,
    }
    known = {name: value for name, value in told.items() if value is not None}
    _log.warning("attempt_passed_over", exchange=exchange.id, **known)


def _broke(error: GuardProxyError, attempt: Step) -> None:
    """Note on an attempt what it failed of."""
    attempt.error_type = error.error_code
    if isinstance(error, UpstreamError):
        attempt.failure = error.failure


def _is_unsent(error: GuardProxyError) -> bool:
    if isinstance(error, UpstreamTimeout):
        return error.unsent
    return isinstance(error, UpstreamError) and error.failure in _UNSENT
