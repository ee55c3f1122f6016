"""Record what a finished step or exchange says, in one go."""

from collections.abc import Callable, Iterable, Sequence

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from guardproxy import Exchange, Step
from guardproxy_metrics import table
from guardproxy_metrics.labels import Labels, status_class
from guardproxy_metrics.store import Store, Sums, Value
from guardproxy_metrics.table import Instrument, Kind
from guardproxy_tracing import attributes as facts
from guardproxy_tracing.counts import SPANS

STATE = "metrics"  # the key of exchange.state: the step of the last attempt
_SCHEME = "http"  # TLS ends before guardproxy
_OPERATION = ("chat", "openai")  # name and provider, as on spans: the dialect that is spoken
_TOKENS = (("input_tokens", "input"), ("output_tokens", "output"))


class Instruments:
    """All instruments: the sums are the meter's, each of `stores` keeps the histograms for a reader."""

    def __init__(self, meter: Meter, stores: Sequence[Store]) -> None:
        self._stores = tuple(stores)
        self._labels = Labels()
        self._exchanges = _sums(meter, table.EXCHANGES)
        self._active = _sums(meter, table.ACTIVE)
        self._findings = _sums(meter, table.FINDINGS)
        self._guard_texts = _sums(meter, table.GUARD_TEXTS)
        self._guard_errors = _sums(meter, table.GUARD_ERRORS)
        _observed(meter, table.SPANS, _spans)

    def begin(self) -> None:
        """An exchange begins."""
        self._active.add(1)

    def guard(self, step: Step) -> None:
        """A guard is through with its stage."""
        stage = step.stage.value if step.stage is not None else None
        self._record(table.GUARD_DURATION, step.seconds, step.name, stage)
        for result, number in (("scanned", step.scanned), ("cached", step.cached)):
            if number:
                self._guard_texts.add(number, step.name, stage, result)
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
        method, stream, status = facts.method(exchange), exchange.stream, exchange.status
        route, error = self._labels.route(exchange), self._labels.error(exchange)
        outcome = facts.label(exchange.outcome)
        self._exchanges.add(1, outcome, method, route, stream, status_class(status), error)
        seconds = exchange.seconds or 0.0
        self._record(table.REQUEST_DURATION, seconds, method, _SCHEME, route, status, error)
        self._record(table.OVERHEAD, exchange.overhead_seconds, route, stream)
        if exchange.held_seconds is not None:
            self._record(table.HOLD, exchange.held_seconds, route)
        if attempt is not None and exchange.creates:
            self._call(exchange, attempt, route)

    def _call(self, exchange: Exchange, attempt: Step, route: str) -> None:
        """The upstream was called for a response."""
        model = self._labels.model(exchange, attempt.status)
        error = self._labels.upstream_error(exchange, attempt.status, attempt.error_type)
        self._record(table.OPERATION_DURATION, exchange.upstream_seconds, *_OPERATION, model, error)
        for name, kind in _TOKENS:
            if (number := exchange.usage.get(name)) is not None:
                self._record(table.TOKEN_USAGE, number, *_OPERATION, model, kind)
        if exchange.stream and exchange.first_event_seconds is not None:
            self._record(table.FIRST_EVENT, exchange.first_event_seconds, route, model)

    def _record(self, of: Instrument, number: float, *values: Value) -> None:
        for store in self._stores:
            store.record(of, number, values)


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
