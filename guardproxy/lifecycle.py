"""The life of an exchange around its work: its arrival, its step, what goes wrong, its end, its log line."""

import asyncio
import copy
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import structlog

from guardproxy import encodings, facts
from guardproxy.auth import Credentials, digest, tenant
from guardproxy.calls import BROKE_OFF
from guardproxy.delivery import drain_over, note_error, reply_json
from guardproxy.document import dumps
from guardproxy.errors import (
    GuardProxyError,
    InternalError,
    UnsupportedMedia,
)
from guardproxy.exchange import Exchange, clock, moment
from guardproxy.headers import lower_headers
from guardproxy.hooks import Hooks
from guardproxy.logs import failure, within
from guardproxy.messages import Incoming, Reply
from guardproxy.profiles import OPENRESPONSES, Profile
from guardproxy.settings import ClientKey
from guardproxy.types import Finding, Outcome, Stage, Step, StepKind

if TYPE_CHECKING:
    from guardproxy.limits import Limits

_RANK = (Outcome.BLOCKED, Outcome.REDACTED, Outcome.FLAGGED)
ID_HEADER = "X-Guardproxy-Exchange"  # X-Request-Id is the upstream's where it sends one
RESPONSE_FAILED = "response_failed"  # the code of an exchange whose response says that it failed
_log = structlog.stdlib.get_logger("guardproxy")


@dataclass(slots=True)
class Arrival:
    """What has come of a request: whose key it bears, its body as sent, and what kept either from coming."""

    key: ClientKey | None = None
    tenant: str = ""  # whose the request is: what is kept of it is for nobody else
    body: bytes = b""
    problem: BaseException | None = None
    _plain: bytes | GuardProxyError = field(default=b"")

    def check(self) -> None:
        """Raise the problem, where there is one, and forget it: it knows the frames that know of this."""
        problem, self.problem = self.problem, None
        if problem is not None:
            try:
                raise problem
            finally:
                del problem

    def plain(self) -> bytes:
        """The body without its content encoding.

        Raises:
            UnsupportedMedia, InvalidRequest, BodyTooLarge: it cannot be decoded.
        """
        if isinstance(self._plain, GuardProxyError):
            raise copy.copy(self._plain)  # what is raised knows the frames that know of this
        return self._plain

    def readable(self) -> bytes:
        """The body as `plain` gives it, or as it came where nobody has to be able to read it."""
        return self.body if isinstance(self._plain, GuardProxyError) else self._plain

    def decode(self, encoding: str, limit: int) -> None:
        """Undo the content encoding; `plain` says what came of it."""
        try:
            self._plain = encodings.decoded(
                self.body, encoding, limit, UnsupportedMedia, "The request's body"
            )
        except GuardProxyError as error:
            self._plain = copy.copy(error)


Work = Callable[[Exchange, Step, Arrival], Awaitable[None]]


class Lifecycle:
    """Runs exchanges, each from its arrival to its end; whatever happens, its client gets an answer."""

    def __init__(
        self, credentials: Credentials, hooks: Hooks, max_body: int, limits: "Limits | None" = None
    ) -> None:
        self._credentials = credentials
        self._limits = limits
        self._hooks = hooks
        self._max_body = max_body

    async def live(self, incoming: Incoming, reply: Reply, work: Work) -> None:
        """One exchange; plugins see its end exactly once."""
        exchange = Exchange(
            incoming.method,
            incoming.path,
            lower_headers(incoming.headers),
            creates=incoming.creates,
            client_watch=reply.watch,
        )
        exchange.response_headers[ID_HEADER] = exchange.id
        step = Step(StepKind.EXCHANGE, f"{incoming.method} {incoming.path}")
        # Before the step, which knows by the body to which trace it belongs.
        arrival = await self._arrive(exchange, incoming)
        cut: asyncio.CancelledError | None = None
        with self._hooks.step(exchange, step), within(exchange):
            try:
                arrival.check()
                await work(exchange, step, arrival)
            except GuardProxyError as error:
                await fail(exchange, error, reply, incoming.profile)
            except asyncio.CancelledError as error:
                if reply.gone:
                    exchange.outcome, exchange.error_code = "cancelled", "client_disconnected"
                    raise
                if reply.ended is None:
                    await fail(exchange, drain_over(), reply, incoming.profile)
                else:  # the client has its answer: only guards in shadow are cut off
                    cut = error
            except Exception as error:
                failure("exchange failed", error, exchange=exchange.id)
                mine = InternalError(f"guardproxy failed; its log says more under {exchange.id}.")
                await fail(exchange, mine, reply, incoming.profile)
            finally:
                ended = clock() if reply.ended is None else reply.ended
                exchange.seconds, step.ended = ended - exchange.started, moment(ended)
                await self._end(exchange, step, cut)

    async def admit(self, exchange: Exchange, incoming: Incoming) -> ClientKey | None:
        """The key that the request bears, once it is within its limits; None where there are no keys.

        Raises:
            Unauthorized, RateLimited, LimitsUnavailable: it is not let in.
        """
        given = digest(exchange.headers)
        exchange.client_id = (given or "")[:12] or None
        if self._limits is not None:  # before the credential is looked at, which could be guessed
            await self._limits.count_address(exchange, incoming.address, incoming.profile)
        key = self._credentials.identify(exchange.headers)
        exchange.client = key.name if key else None
        if self._limits is not None:
            await self._limits.count_key(exchange, key, given, incoming.profile)
        return key

    async def _arrive(self, exchange: Exchange, incoming: Incoming) -> Arrival:
        arrival = Arrival()
        try:
            arrival.key = await self.admit(exchange, incoming)
            arrival.tenant = tenant(arrival.key, exchange.headers)
            arrival.body = await incoming.body()
        except (Exception, asyncio.CancelledError) as error:
            arrival.problem = error
        else:
            arrival.decode(exchange.headers.get("content-encoding", ""), self._max_body)
            with suppress(GuardProxyError):  # who has to read it will say so
                facts.of_trace(exchange, arrival.plain())
        return arrival

    async def _end(self, exchange: Exchange, step: Step, cancelled: asyncio.CancelledError | None) -> None:
        try:
            while exchange.deferred:  # which know the exchange: without this circle it goes when it is over
                end = exchange.deferred.pop(0)
                try:
                    await end(cancelled is not None)
                except asyncio.CancelledError as error:  # the time to drain is over; the others must end, too
                    cancelled = error
            if cancelled is not None:
                raise cancelled
        finally:
            _conclude(exchange)
            step.status, step.error_type = exchange.status, exchange.error_code
            try:
                await self._hooks.after_forward(exchange)
            finally:  # a plugin that is cancelled there leaves the line to be written
                if exchange.broke:
                    _log.warning("exchange", **line(exchange))
                else:
                    _log.info("exchange", **line(exchange))


async def fail(
    exchange: Exchange, error: GuardProxyError, reply: Reply, profile: Profile = OPENRESPONSES
) -> None:
    """Note what stopped the exchange, and tell the client where it was told nothing yet, in its dialect."""
    note_error(exchange, error)
    if reply.started:
        exchange.severed = reply.ended is None  # closed without an end, the connection lets the client know
        return
    if exchange.status is not None:
        error.headers["x-should-retry"] = "false"  # the upstream has answered, and that was paid for
    await reply_json(exchange, reply, error.status, dumps(profile.told(error)).encode(), error.headers)


def _conclude(exchange: Exchange) -> None:
    """The outcome of an exchange that nothing stopped: its answer's error, or the strictest of its stages."""
    if exchange.error_code is not None:
        if exchange.response_failed and exchange.error_code in BROKE_OFF:
            exchange.error_code = RESPONSE_FAILED  # why it broke off
        return
    if exchange.status is not None and exchange.status >= 400:
        exchange.outcome, exchange.error_code = "error", str(exchange.status)
    elif exchange.response_failed:
        exchange.outcome, exchange.error_code = "error", RESPONSE_FAILED
    else:
        words = {verdict.outcome for verdict in exchange.verdicts.values()}
        exchange.outcome = next((word.value for word in _RANK if word in words), "allowed")


def line(exchange: Exchange) -> dict[str, Any]:
    """The facts of an exchange's line in the log: names, words, counts and seconds, never a text."""
    seconds = exchange.elapsed() if exchange.seconds is None else exchange.seconds
    found: dict[str, Any] = {
        "exchange": exchange.id,
        "method": exchange.method,
        "route": exchange.path,
        "status": exchange.status,
        "outcome": exchange.outcome,
        "code": exchange.error_code,
        "client": exchange.client,
        "client_id": exchange.client_id,
        "name": exchange.told_name,
        "model": exchange.told_model,
        "parent_unusable": exchange.parent_unusable or None,
        "stream": exchange.stream or None,
        "events": exchange.events or None,
        "events_delivered": exchange.events_delivered or None,
        "terminal_added": exchange.terminal_added or None,
        "upstream": exchange.upstream,
        "upstream_status": exchange.upstream_status,
        "upstream_origin": exchange.upstream_origin if exchange.error_code in BROKE_OFF else None,
        "upstream_failure": exchange.upstream_failure,
        "response_status": exchange.response_status,
        "response_id": exchange.told_response_id,
        "response_model": exchange.told_response_model,
    }
    for stage in Stage:
        found |= _of_stage(exchange, stage)
    found |= {name: count for name, count in exchange.usage.items() if name != "total_tokens"}
    found["cost_usd"] = None if exchange.cost_usd is None else float(exchange.cost_usd)
    found["seconds"] = _rounded(seconds)
    found["overhead_seconds"] = _rounded(exchange.overhead_seconds)
    if exchange.called:
        found["upstream_seconds"] = _rounded(exchange.upstream_seconds)
    if exchange.first_event_seconds is not None:
        found["first_event_seconds"] = _rounded(exchange.first_event_seconds)
    found["guard_seconds"] = {name: _rounded(took) for name, took in exchange.guard_seconds.items()} or None
    found["guard_failures"] = exchange.guard_failures or None
    return {name: value for name, value in found.items() if value is not None}


def _of_stage(exchange: Exchange, stage: Stage) -> dict[str, Any]:
    """What the log says of one stage: nothing where no guard is on."""
    if (word := exchange.final_outcome(stage)) is Outcome.OFF:
        return {}
    found: dict[str, Any] = {stage.value: word.value}
    if rules := exchange.policy.stage(stage):
        found[f"{stage}_guards"] = {
            name: f"shadow {rule.action.word}" if rule.shadow else rule.action.word
            for name, rule in rules.items()
        }
    if (verdict := exchange.verdicts.get(stage)) is not None:
        found[f"{stage}_findings"] = _counts(verdict.findings)
        found[f"{stage}_shadowed"] = _counts(verdict.shadowed)
        found[f"{stage}_failed"] = list(verdict.failed) or None
        found[f"{stage}_parts"] = verdict.receipt.parts
        found[f"{stage}_skipped"] = dict(verdict.receipt.skipped) or None
        found[f"{stage}_allowed"] = verdict.receipt.allowed or None
    return found


def _rounded(seconds: float) -> float:
    return round(seconds, 6)


def _counts(findings: Sequence[Finding]) -> dict[str, int] | None:
    """How often each guard found each category."""
    return dict(Counter(f"{finding.guard}.{finding.category}" for finding in findings)) or None
