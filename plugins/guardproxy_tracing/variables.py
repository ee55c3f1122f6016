"""The values of OTEL_* variables that OpenTelemetry would ignore, replace or fail on deep inside: refused.

Where it takes what is there, this says nothing: a variable that is empty counts as not set.
"""

import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from guardproxy import ConfigError
from guardproxy_tracing import environment
from guardproxy_tracing.environment import Signal

_SAMPLERS: Final = (
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
)
_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_VALUE = r'[^\x00-\x1f\x7f-\U0010ffff",;\\]*'
_HEADER = re.compile(rf"(?:{_NAME}[ \t]*={_VALUE})?")


@dataclass(frozen=True, slots=True)
class _Rule:
    right: str  # what follows "must be" in the message
    fits: Callable[[str], bool]
    shows: bool = True  # whether a wrong value may be shown where it is a plain word


def _number(kind: type[int] | type[float], fits: Callable[[float], bool]) -> Callable[[str], bool]:
    def check(value: str) -> bool:
        try:
            return fits(kind(value))
        except ValueError:
            return False

    return check


def _words(*words: str) -> _Rule:
    return _Rule(f"one of {', '.join(words)}", lambda value: value.strip().lower() in words)


def _is_readable(value: str) -> bool:
    return not value or (os.path.isfile(value) and os.access(value, os.R_OK))


def _are_headers(value: str) -> bool:
    return all(_HEADER.fullmatch(piece.strip()) for piece in value.split(","))


def _are_attributes(value: str) -> bool:
    # As for headers, an empty piece is none.
    pieces = (piece.partition("=") for piece in value.split(",") if piece.strip())
    return all(key.strip() and equals for key, equals, _ in pieces)


def _is_positive(number: float) -> bool:
    return 0 < number < math.inf


_MILLISECONDS = _Rule("milliseconds, more than 0", _number(float, _is_positive))
_WHOLE_MILLISECONDS = _Rule("whole milliseconds, more than 0", _number(int, _is_positive))
_COUNT = _Rule("a whole number, more than 0", _number(int, _is_positive))
_LIMIT = _Rule("a whole number, 0 or more", _number(int, lambda number: number >= 0))
_FILE = _Rule("a file that can be read", _is_readable)
_FILE_OR_FOLDER = _Rule(
    "a file or folder that can be read", lambda value: os.path.isdir(value) or _is_readable(value)
)
_RATIO = _Rule("a number from 0 to 1", _number(float, lambda number: 0 <= number <= 1))

_SWITCH: Final = {"OTEL_SDK_DISABLED": _words("true", "false")}
_RESOURCE: Final = {
    "OTEL_RESOURCE_ATTRIBUTES": _Rule("key=value, more of them after commas", _are_attributes, shows=False)
}
# OTEL_EXPORTER_OTLP_<signal>_… goes before OTEL_EXPORTER_OTLP_…
_OTLP: Final = {
    "TIMEOUT": _Rule("seconds, more than 0", _number(float, _is_positive)),
    "HEADERS": _Rule(
        'name=value, more of them after commas; in a value control characters, ", \\, ; and what is no ASCII '
        "are written as %XX",
        _are_headers,
        shows=False,
    ),
    "CLIENT_CERTIFICATE": _FILE,
    "CLIENT_KEY": _FILE,
}
_OF_PROTOCOL: Final = {
    "http/protobuf": {"COMPRESSION": _words("none", "gzip", "deflate"), "CERTIFICATE": _FILE_OR_FOLDER},
    "grpc": {
        "COMPRESSION": _Rule("gzip with grpc, or not set", lambda value: value.strip().lower() == "gzip"),
        "CERTIFICATE": _FILE,
        "INSECURE": _words("true", "false"),
    },
}
_OF_SIGNAL: Final[Mapping[Signal, Mapping[str, _Rule]]] = {
    "TRACES": {
        "OTEL_BSP_SCHEDULE_DELAY": _WHOLE_MILLISECONDS,
        "OTEL_BSP_EXPORT_TIMEOUT": _WHOLE_MILLISECONDS,
        "OTEL_BSP_MAX_QUEUE_SIZE": _COUNT,
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": _COUNT,
    },
    "METRICS": {
        "OTEL_METRIC_EXPORT_INTERVAL": _MILLISECONDS,
        "OTEL_METRIC_EXPORT_TIMEOUT": _MILLISECONDS,
        "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": _words("cumulative", "delta", "lowmemory"),
    },
}
_LIMITS: Final = dict.fromkeys(
    (
        "OTEL_ATTRIBUTE_COUNT_LIMIT",
        "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT",
        "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
        "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT",
        "OTEL_SPAN_EVENT_COUNT_LIMIT",
        "OTEL_SPAN_LINK_COUNT_LIMIT",
        "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT",
        "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT",
    ),
    _LIMIT,
)


def check(environ: Mapping[str, str], signal: Signal, *, drawn: bool = False) -> None:
    """Refuse what the environment gets wrong of a signal that is exported; no connection is opened.

    OTEL_SDK_DISABLED counts always. `drawn` is whether spans are made without an exporter, too.

    Raises:
        ConfigError: names the variable, what is wrong, and what would be right.
    """
    _refuse(environ, _SWITCH)
    used = environment.exporters(environ, signal)
    if used or drawn:
        _refuse(environ, _RESOURCE)
    if used:
        _refuse(environ, _OF_SIGNAL[signal])
    if signal == "TRACES" and (used or drawn):
        _check_spans(environ)
    if signal == "TRACES" and used:
        _check_batches(environ)
    for protocol in used:
        if protocol != "console":
            _check_otlp(environ, signal, protocol)


def _refuse(environ: Mapping[str, str], rules: Mapping[str, _Rule]) -> None:
    for variable, rule in rules.items():
        value = environ.get(variable, "")
        if value.strip() and not rule.fits(value):
            raise _wrong(variable, value, rule)


def _wrong(variable: str, value: str, rule: _Rule) -> ConfigError:
    shown = environment.shown(value) if rule.shows else ""
    return ConfigError(f"{variable}{shown} must be {rule.right}.")


def _check_spans(environ: Mapping[str, str]) -> None:
    if sampler := environ.get("OTEL_TRACES_SAMPLER", ""):
        environment.check_word("OTEL_TRACES_SAMPLER", sampler, _SAMPLERS)
        if sampler.lower().endswith("traceidratio"):
            _refuse(environ, {"OTEL_TRACES_SAMPLER_ARG": _RATIO})
    _refuse(environ, _LIMITS)


def _check_batches(environ: Mapping[str, str]) -> None:
    batch, queue = "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "OTEL_BSP_MAX_QUEUE_SIZE"
    sizes = {
        name: environ.get(name, "").strip() or default for name, default in ((batch, 512), (queue, 2048))
    }
    if int(sizes[batch]) > int(sizes[queue]):
        raise ConfigError(f"{batch} ({sizes[batch]}) must be no larger than {queue} ({sizes[queue]}).")


def _check_otlp(environ: Mapping[str, str], signal: Signal, protocol: str) -> None:
    for suffix, rule in (_OTLP | _OF_PROTOCOL[protocol]).items():
        names = (f"OTEL_EXPORTER_OTLP_{signal}_{suffix}", f"OTEL_EXPORTER_OTLP_{suffix}")
        # The exporter for gRPC fails on some that are empty.
        counts = next(
            (name for name in names if environ.get(name) or (protocol == "grpc" and name in environ)), ""
        )
        value = environ.get(counts, "")
        if counts and not rule.fits(value):
            raise _wrong(counts, value, rule)
