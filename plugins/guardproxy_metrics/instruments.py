"""Record what a finished step or exchange says, in one go."""

from collections.abc import Callable, Iterable, Mapping

from opentelemetry.metrics import CallbackOptions, Histogram, Meter, Observation

from guardproxy import Exchange, Step
from guardproxy_metrics import table
from guardproxy_metrics.labels import Labels, status_class
from guardproxy_metrics.table import Instrument, Kind
from guardproxy_tracing import attributes as facts
from guardproxy_tracing.counts import SPANS

STATE = "metrics"  # the key of exchange.state: the step of the last attempt
_SCHEME = "http"  # TLS ends before guardproxy
_OPERATION = {table.OPERATION: "chat", table.PROVIDER: "openai"}  # as on spans: the dialect that is spoken
_TOKENS = (("input_tokens", "input"), ("output_tokens", "output"))

Value = str | bool | None


class Sums:
    """Sums by the values of an instrument's attributes, which are read when they are collected.

    That costs a tenth of counting with the SDK. Only the event loop adds.
    """

    def __init__(self, instrument: Instrument) -> None:
        self._names = instrument.attributes
        self._sums: dict[tuple[Value, ...], int] = {}

    def add(self, number: int, *values: Value) -> None:
        """Add for these values, in the order of the attributes; None leaves one out."""
        self._sums[values] = self._sums.get(values, 0) + number

    def observe(self, _: CallbackOptions) -> list[Observation]:
        """What the SDK collects; in any thread."""
        return [
            Observation(number, {n: v for n, v in zip(self._names, values, strict=True) if v is not None})
            for values, number in list(self._sums.items())
        ]


class Instruments:
    """The instruments of one meter."""

    def __init__(self, meter: Meter) -> None:
        self._labels = Labels()
        self._exchanges = _sums(meter, table.EXCHANGES)
        self._active = _sums(meter, table.ACTIVE)
        self._findings = _sums(meter, table.FINDINGS)
        self._guard_errors = _sums(meter, table.GUARD_ERRORS)
        self._guard_duration = _histogram(meter, table.GUARD_DURATION)
        self._overhead = _histogram(meter, table.OVERHEAD)
        self._hold = _histogram(meter, table.HOLD)
        self._first_event = _histogram(meter, table.FIRST_EVENT)
        self._request_duration = _histogram(meter, table.REQUEST_DURATION)
        self._operation_duration = _histogram(meter, table.OPERATION_DURATION)
        self._token_usage = _histogram(meter, table.TOKEN_USAGE)
        _observed(meter, table.SPANS, _spans)

    def begin(self) -> None:
        """An exchange begins."""
        self._active.add(1)

    def guard(self, step: Step) -> None:
        """A guard is through with its stage."""
        stage = step.stage.value if step.stage is not None else None
        self._guard_duration.record(step.seconds, {table.GUARD: step.name, table.STAGE: stage})
        rule = step.rule
        action, shadow = (rule.action.word, rule.shadow) if rule is not None else (None, False)
        for category, number in step.findings.items():
            shown = self._labels.category(category)
            self._findings.add(number, step.name, stage, shown, action, shadow)
        if step.failure is not None:
            self._guard_errors.add(1, step.name, stage, step.failure)

    def end(self, exchange: Exchange) -> None:
        """An exchange is over."""
        self._active.add(-1)
        attempt: Step | None = exchange.state.get(STATE)
        labels = self._labels
        method, route, error = facts.method(exchange), labels.route(exchange), labels.error(exchange)
        self._exchanges.add(
            1,
            facts.label(exchange.outcome),
            method,
            route,
            exchange.stream,
            status_class(exchange.status),
            error,
        )
        request: dict[str, str | int] = {table.METHOD: method, table.SCHEME: _SCHEME, table.ROUTE: route}
        optional = {table.STATUS: exchange.status, table.ERROR: error}
        self._request_duration.record(exchange.seconds or 0.0, request | _present(optional))
        self._overhead.record(exchange.overhead_seconds, {table.ROUTE: route, table.STREAM: exchange.stream})
        if exchange.held_seconds is not None:
            self._hold.record(exchange.held_seconds, {table.ROUTE: route})
        if attempt is not None and facts.is_chat(exchange):
            self._call(exchange, attempt, route)

    def _call(self, exchange: Exchange, attempt: Step, route: str) -> None:
        """The upstream was called for a response."""
        model = self._labels.model(exchange, attempt.status)
        error = self._labels.upstream_error(exchange, attempt.status, attempt.error_type)
        operation: dict[str, str | int] = {**_OPERATION, table.MODEL: model}
        self._operation_duration.record(exchange.upstream_seconds, operation | _present({table.ERROR: error}))
        for name, kind in _TOKENS:
            if (number := exchange.usage.get(name)) is not None:
                self._token_usage.record(number, operation | {table.TOKENS: kind})
        if exchange.stream and exchange.first_event_seconds is not None:
            attributes = {table.ROUTE: route, table.MODEL: model}
            self._first_event.record(exchange.first_event_seconds, attributes)


def _present(values: Mapping[str, str | int | None]) -> dict[str, str | int]:
    return {name: value for name, value in values.items() if value is not None}


def _histogram(meter: Meter, of: Instrument) -> Histogram:
    return meter.create_histogram(
        of.name, of.unit, of.description, explicit_bucket_boundaries_advisory=of.bounds
    )


def _sums(meter: Meter, of: Instrument) -> Sums:
    sums = Sums(of)
    _observed(meter, of, sums.observe)
    return sums


def _observed(
    meter: Meter, of: Instrument, observe: Callable[[CallbackOptions], Iterable[Observation]]
) -> None:
    up_down = of.kind is Kind.UP_DOWN
    create = meter.create_observable_up_down_counter if up_down else meter.create_observable_counter
    create(of.name, [observe], of.unit, of.description)


def _spans(_: CallbackOptions) -> list[Observation]:
    return [Observation(number, {table.RESULT: result}) for result, number in SPANS.sums().items()]
