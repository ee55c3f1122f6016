"""Exchange: the one mutable object, one per client request and its response."""

import time
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from guardproxy.shapes import GRAMMAR
from guardproxy.types import Content, Finding, Outcome, Policy, Stage, Verdict

UNRESOLVED = Policy()  # the policy of an exchange until it is known which guards are on


def clock() -> float:
    """The time by which exchanges are measured: seconds, from no particular moment."""
    return time.perf_counter()


def moment(instant: float | None) -> int | None:
    """A time of `clock` in nanoseconds since 1970."""
    return None if instant is None else time.time_ns() - int((clock() - instant) * 1e9)


@dataclass(slots=True)
class Stopwatch:
    """Sums the seconds of the blocks that it surrounds, however they are left; `last`: when, by `clock`."""

    seconds: float = 0.0
    last: float | None = None
    _began: float = 0.0

    def __enter__(self) -> None:
        self._began = clock()

    def __exit__(self, *_: object) -> None:
        self.last = clock()
        self.seconds += self.last - self._began


def new_id() -> str:
    """An id for `X-Guardproxy-Exchange`, and for `X-Request-Id` where the upstream gives none."""
    return f"req_{uuid.uuid4().hex}"


def _below(path: str, findings: Iterable[Finding]) -> list[str]:
    """The names of the members at `path` in whose values, or in which, something was found."""
    rests = [finding.path.removeprefix(path) for finding in findings if finding.path.startswith(path)]
    return [rest for rest in rests if "/" not in rest]


@dataclass(slots=True, eq=False)
class Exchange:
    """What is known of one client request and its response, filled in as it goes.

    `path` is the route's template: an id in it is `{id}`. `headers` are the client's, names in lower
    case, repeated ones joined by a comma. `request` is the body as it is forwarded, redacted where the
    policy redacts; to set it changes nothing.
    `response_headers` can be written until the head is sent. `state` is for plugins, keyed by the
    plugin's name. No text that a guard found is ever kept here.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    id: str = field(default_factory=new_id)
    started: float = field(default_factory=clock)
    trace: Mapping[str, str] = field(default_factory=dict)  # the body's; "" for what is no id
    # What the request says of itself for traces: its session, and the members of `trace` but for its ids.
    session_id: str | None = None
    trace_members: Mapping[str, str | float | bool] = field(default_factory=dict)
    trace_id: str | None = None  # of the exchange's span, where it has one: 32 hexadecimal digits
    span_id: str | None = None  # 16 hexadecimal digits
    client: str | None = None  # the name of the [[keys]] entry that the client's key belongs to
    client_id: str | None = None  # the first 12 digits of the SHA-256 of the credential that came
    policy: Policy = UNRESOLVED
    request: bytes = b""
    creates: bool = False  # a model is asked for a response, and not for one that is there or for a count
    model: str | None = None
    model_place: str = "model"  # where the request names it: its index, where it is one of `models`
    upstream: str | None = None  # the name of the one that serves it, where there are several
    stream: bool = False
    name: str | None = None  # X-Opper-Name
    verdicts: dict[Stage, Verdict] = field(default_factory=dict)
    response_headers: dict[str, str] = field(default_factory=dict)
    status: int | None = None
    response_id: str | None = None
    response_model: str | None = None
    response_status: str | None = None  # completed, failed, incomplete, cancelled, in_progress or queued
    response_failed: bool = False  # the response says so, or its stream has an `error` event
    usage: dict[str, int] = field(default_factory=dict)  # gen_ai.usage.* by short name: input_tokens, ...
    # The upstream's events of a stream under guards, less comments and [DONE]: that came, that were written.
    events: int = 0
    events_delivered: int = 0
    cost_usd: Decimal | None = None  # by `[prices]`; None where it is not known
    terminal_added: bool = False  # the upstream sent no terminal event, so guardproxy made one
    first_event_seconds: float | None = None  # until the first piece of the answer's body could leave
    first_chunk_seconds: float | None = (
        None  # from the upstream's call to the first bytes of its answer's body
    )
    # The longest that an event of a stream under guards that are no shadows was here before it could leave.
    held_seconds: float | None = None
    # From the request's head to the last piece of the answer, or to the failure; shadows may take longer.
    seconds: float | None = None
    outcome: str = "allowed"  # allowed, flagged, redacted, blocked, failed, error, cancelled
    error_code: str | None = None
    error_status: int | None = None  # of the error that stopped it, whatever the client had got by then
    upstream_status: int | None = None
    upstream_origin: str | None = None  # of the last call: scheme, host and port
    upstream_failure: str | None = None  # of an `upstream_error`: refused, dns, tls, broke_off, ...
    parent_unusable: bool = False  # tracing is on, and the parent that the request names is none
    guard_failures: dict[str, str] = field(default_factory=dict)  # by `stage.guard`: timeout, ...
    content: dict[Stage, Content] = field(default_factory=dict)  # with `capture_content`
    guard_seconds: dict[str, float] = field(default_factory=dict)  # of scanning, by `stage.guard`
    state: dict[str, Any] = field(default_factory=dict)
    # The core's own: what has to be brought to its end once the traffic went on, and others' time.
    deferred: list[Callable[[bool], Awaitable[None]]] = field(default_factory=list)  # True: at once
    severed: bool = (
        False  # the answer has begun and gets no end: the connection is closed, and waits for nobody
    )
    upstream_watch: Stopwatch = field(default_factory=Stopwatch)
    client_watch: Stopwatch = field(default_factory=Stopwatch)

    @property
    def upstream_seconds(self) -> float:
        """How long the exchange waited for the upstream so far: to connect, for the head, for its bytes."""
        return self.upstream_watch.seconds

    @property
    def called(self) -> bool:
        """Whether the upstream was called."""
        return self.upstream_watch.last is not None

    @property
    def client_seconds(self) -> float:
        """How long the exchange waited for the client so far: to send its body, and to read the answer."""
        return self.client_watch.seconds

    @property
    def overhead_seconds(self) -> float:
        """What the exchange took, up to its last piece or to now, beyond its waiting for others."""
        total = self.elapsed() if self.seconds is None else self.seconds
        return max(0.0, total - self.upstream_seconds - self.client_seconds)

    def elapsed(self) -> float:
        """Seconds since the request's head was there."""
        return clock() - self.started

    def stage_outcome(self, stage: Stage) -> Outcome:
        """The word of `X-Guardproxy-Verdict` for `stage`, as far as it is known."""
        if stage in self.verdicts:
            found = self.verdicts[stage].outcome
            return Outcome.FAILED if found is Outcome.INTERRUPTED else found
        if not self.policy.stage(stage):
            return Outcome.OFF
        # An error that came before the input's guards leaves it uninspected for good.
        stopped = stage is Stage.INPUT and self.error_code is not None
        return Outcome.FAILED if stopped else Outcome.PENDING

    def final_outcome(self, stage: Stage) -> Outcome:
        """The word of `stage` once the exchange is over."""
        if stage in self.verdicts:
            return self.verdicts[stage].outcome
        # What stopped it before its guards were known could have kept some from running.
        may_have_guards = self.policy is UNRESOLVED or self.policy.stage(stage)
        return Outcome.NOT_RUN if may_have_guards else Outcome.OFF

    @property
    def told_name(self) -> str | None:
        """What the client calls the exchange, where it may be told."""
        return self.name if self.name and self.may_tell("x-opper-name", Stage.INPUT) else None

    @property
    def told_session_id(self) -> str | None:
        """The session that the request names, where it may be told."""
        told = self.may_tell("session_id", Stage.INPUT) and self.may_tell("x-session-id", Stage.INPUT)
        return self.session_id if self.session_id and told and self._fits(self.session_id) else None

    @property
    def told_trace_members(self) -> Mapping[str, str | float | bool]:
        """The members of the request's `trace`, where they may be told."""
        shadowed = verdict.shadowed if (verdict := self.verdicts.get(Stage.INPUT)) is not None else ()
        if any(name not in self.trace_members for name in _below("/trace/", shadowed)):
            return {}  # a key in which something was found: by its path nobody knows which one
        return {
            name: value
            for name, value in self.trace_members.items()
            if self.may_tell(name.lower(), Stage.INPUT) and self._fits(value)
        }

    def _fits(self, value: str | float | bool) -> bool:
        """Whether guards have looked at the request, or the value is none that they would have to look at."""
        return Stage.INPUT in self.verdicts or not isinstance(value, str) or bool(GRAMMAR.fullmatch(value))

    @property
    def told_response_id(self) -> str | None:
        """The id of the response, where it may be told."""
        return self.response_id if self.response_id and self.may_tell("id", Stage.OUTPUT) else None

    @property
    def told_model(self) -> str | None:
        """The model that is asked for, where it may be told."""
        return self.model if self.model and self.may_tell(self.model_place, Stage.INPUT) else None

    @property
    def told_response_model(self) -> str | None:
        """The model that answered, where it may be told: it repeats the one that was asked for."""
        told = self.response_model and self.may_tell("model", Stage.INPUT, Stage.OUTPUT)
        if told and (verdict := self.verdicts.get(Stage.INPUT)) is not None:
            told = not _below("/models/", (*verdict.findings, *verdict.shadowed))
        return self.response_model if told else None

    @property
    def broke(self) -> bool:
        """Whether a fault ended it, ours or the upstream's. A request that was refused did not break."""
        if self.error_code == "client_disconnected" or self.outcome == "blocked":
            return False
        status = self.status or 0
        # Of what stopped it when the client had its head already.
        worst = max(status, self.error_status or 0)
        return worst >= 500 or (self.outcome in ("failed", "error") and not 400 <= status < 500)

    def may_tell(self, name: str, *stages: Stage) -> bool:
        """Whether the value at `name` (lower case) may be told: nothing was found there, by any guard."""
        for stage in stages:
            if (verdict := self.verdicts.get(stage)) is None:
                if self.policy.stage(stage):
                    return False
                continue
            unknown = verdict.failed or verdict.partial
            if unknown or verdict.outcome in (Outcome.FAILED, Outcome.INTERRUPTED):
                return False
            found = (*verdict.findings, *verdict.shadowed)
            if any(finding.path.rpartition("/")[2].lower() == name for finding in found):
                return False
        return True
