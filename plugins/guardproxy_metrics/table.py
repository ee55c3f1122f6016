"""Every instrument, as data: name, unit, what it tells, its attributes, and a histogram's bounds."""

from dataclasses import dataclass
from enum import Enum
from typing import Final

METHOD: Final = "http.request.method"
ROUTE: Final = "http.route"
STATUS: Final = "http.response.status_code"
SCHEME: Final = "url.scheme"
ERROR: Final = "error.type"
OUTCOME: Final = "guardproxy.outcome"
STREAM: Final = "guardproxy.stream"
STATUS_CLASS: Final = "guardproxy.status_class"
GUARD: Final = "guardproxy.guard"
STAGE: Final = "guardproxy.stage"
CATEGORY: Final = "guardproxy.category"
ACTION: Final = "guardproxy.action"
SHADOW: Final = "guardproxy.shadow"
FAILURE: Final = "guardproxy.failure"
RESULT: Final = "guardproxy.result"
OPERATION: Final = "gen_ai.operation.name"
PROVIDER: Final = "gen_ai.provider.name"
MODEL: Final = "gen_ai.request.model"
TOKENS: Final = "gen_ai.token.type"


class Kind(Enum):
    """What an instrument does with its measurements."""

    COUNTER = "counter"  # a sum that only grows
    UP_DOWN = "up-down counter"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Instrument:
    """One metric; `bounds` are those of a histogram's buckets."""

    kind: Kind
    name: str
    unit: str
    description: str
    attributes: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()


# The bounds of OpenTelemetry's conventions, for their instruments.
_HTTP = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
_OPERATION = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_TOKENS = tuple(4.0**power for power in range(14))
# From a rule that looks at a sentence to the default `guard_timeout`.
_GUARD = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_OVERHEAD = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_HOLD = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_FIRST = (0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 7.5, 10.0, 20.0, 30.0, 60.0)

EXCHANGES: Final = Instrument(
    Kind.COUNTER,
    "guardproxy.exchanges",
    "{exchange}",
    "Exchanges that are over, by their outcome.",
    (OUTCOME, METHOD, ROUTE, STREAM, STATUS_CLASS, ERROR),
)
ACTIVE: Final = Instrument(
    Kind.UP_DOWN, "guardproxy.exchanges.active", "{exchange}", "Exchanges that are under way."
)
GUARD_DURATION: Final = Instrument(
    Kind.HISTOGRAM,
    "guardproxy.guard.duration",
    "s",
    "Compute of one guard at one stage of an exchange, without its time in the queue.",
    (GUARD, STAGE),
    _GUARD,
)
FINDINGS: Final = Instrument(
    Kind.COUNTER,
    "guardproxy.findings",
    "{finding}",
    "What guards found, by category and by what their rule does about it.",
    (GUARD, STAGE, CATEGORY, ACTION, SHADOW),
)
GUARD_TEXTS: Final = Instrument(
    Kind.COUNTER,
    "guardproxy.guard.texts",
    "{text}",
    "Texts, or pieces of texts, that a guard scanned, and those that it knew from an earlier scan.",
    (GUARD, STAGE, RESULT),
)
GUARD_ERRORS: Final = Instrument(
    Kind.COUNTER,
    "guardproxy.guard.errors",
    "{error}",
    "Guards that failed at one stage of an exchange, whether or not that stopped it.",
    (GUARD, STAGE, FAILURE),
)
HOLD: Final = Instrument(
    Kind.HISTOGRAM,
    "guardproxy.stream.hold",
    "s",
    "The longest that an event of a guarded stream was held back before it could leave.",
    (ROUTE,),
    _HOLD,
)
OVERHEAD: Final = Instrument(
    Kind.HISTOGRAM,
    "guardproxy.overhead",
    "s",
    "The duration of an exchange less its waiting for the upstream and for the client.",
    (ROUTE, STREAM),
    _OVERHEAD,
)
FIRST_EVENT: Final = Instrument(
    Kind.HISTOGRAM,
    "guardproxy.time_to_first_event",
    "s",
    "From a request for a stream to the first piece of the stream that could leave.",
    (ROUTE, MODEL),
    _FIRST,
)
SPANS: Final = Instrument(
    Kind.COUNTER,
    "guardproxy.trace.spans",
    "{span}",
    "Spans that were exported, that a backend failed to take, or that a full queue dropped.",
    (RESULT,),
)
REQUEST_DURATION: Final = Instrument(
    Kind.HISTOGRAM,
    "http.server.request.duration",
    "s",
    "Duration of HTTP server requests.",
    (METHOD, SCHEME, ROUTE, STATUS, ERROR),
    _HTTP,
)
OPERATION_DURATION: Final = Instrument(
    Kind.HISTOGRAM,
    "gen_ai.client.operation.duration",
    "s",
    "GenAI operation duration: what an exchange waited for the upstream.",
    (OPERATION, PROVIDER, MODEL, ERROR),
    _OPERATION,
)
TOKEN_USAGE: Final = Instrument(
    Kind.HISTOGRAM,
    "gen_ai.client.token.usage",
    "{token}",
    "Number of input and output tokens used, as the upstream counted.",
    (OPERATION, PROVIDER, MODEL, TOKENS),
    _TOKENS,
)

INSTRUMENTS: Final = (
    EXCHANGES,
    ACTIVE,
    FINDINGS,
    GUARD_DURATION,
    GUARD_TEXTS,
    GUARD_ERRORS,
    OVERHEAD,
    HOLD,
    FIRST_EVENT,
    SPANS,
    REQUEST_DURATION,
    OPERATION_DURATION,
    TOKEN_USAGE,
)
