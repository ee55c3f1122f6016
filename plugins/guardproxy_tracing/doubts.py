"""What of the OTEL_* environment can work, but is hardly meant: in sentences with what would be right."""

import difflib
from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import SplitResult, urlsplit

from opentelemetry import environment_variables as of_api
from opentelemetry.sdk import environment_variables as of_sdk

from guardproxy_tracing import environment, names
from guardproxy_tracing.environment import Signal

_PATHS: Final[Mapping[Signal, str]] = {"TRACES": "/v1/traces", "METRICS": "/v1/metrics"}
_PORT_OF_THE_OTHER: Final = {"http/protobuf": (4317, "grpc", 4318), "grpc": (4318, "http/protobuf", 4317)}
_LONG = 600.0  # seconds
_FAMILIES: Final = ("OTEL_EXPORTER_OTLP_", "OTEL_TRACES_", "OTEL_METRICS_", "OTEL_BSP_")
_IN_PYTHON: Final = {name for name in (*vars(of_api), *vars(of_sdk)) if name.startswith(_FAMILIES)}
# The specification has a signal more than the SDK.
_KNOWN: Final = _IN_PYTHON | {name.replace("_LOGS_", "_PROFILES_") for name in _IN_PYTHON}


def doubts(environ: Mapping[str, str], signal: Signal, *, drawn: bool = False) -> list[str]:
    """The sentences about a signal that is exported, or of spans that are `drawn`; without credentials.

    Those about names that nobody reads come with the traces, exported or not.
    """
    if environment.disabled(environ):
        return []
    used = environment.exporters(environ, signal)
    found = [
        f"{doubt}." for protocol in used if protocol != "console" for doubt in _of(environ, signal, protocol)
    ]
    if signal == "TRACES" and (used or drawn):
        found += [f"{doubt}." for doubt in _of_spans(environ)]
    if signal == "TRACES":
        found += [f"{doubt}." for doubt in _of_names(environ)]
    return found


def _of_spans(environ: Mapping[str, str]) -> Iterator[str]:
    for word in names.unknown(environ):
        named = f"'{word}'" if environment.shown(word) else "a word"
        yield f"{names.OPT_IN} has {named}, which is not known here: for guards there is {names.LATEST_WORD}"
    sampler, argument = (environ.get(f"OTEL_TRACES_SAMPLER{end}", "").strip() for end in ("", "_ARG"))
    if argument and not sampler:
        yield (
            "OTEL_TRACES_SAMPLER_ARG has no effect without OTEL_TRACES_SAMPLER, such as "
            "parentbased_traceidratio"
        )


def _of_names(environ: Mapping[str, str]) -> Iterator[str]:
    for name in sorted(environ):
        if name.startswith(_FAMILIES) and name not in _KNOWN and environ[name].strip():
            near = difflib.get_close_matches(name, _KNOWN, 1)
            yield f"{name} is no variable of OpenTelemetry's" + "".join(f": the nearest is {n}" for n in near)


def _of(environ: Mapping[str, str], signal: Signal, protocol: str) -> Iterator[str]:
    yield from _of_timeout(environ, signal)
    own, common = environment.endpoints(signal)
    variable = next((name for name in (own, common) if environ.get(name, "").strip()), None)
    if variable is None:
        return
    value = environ[variable].strip()
    try:
        parts = urlsplit(value if "://" in value else f"//{value}")
        port = parts.port
    except ValueError:  # a name of gRPC's
        return
    where = environment.place(parts)
    other_port, other, right_port = _PORT_OF_THE_OTHER[protocol]
    if port == other_port:
        yield (
            f"{variable} names the port {port} ({where}), where a collector speaks {other}, and the protocol "
            f"is {protocol}: use the port {right_port}, or the protocol {other}"
        )
    if protocol == "http/protobuf":
        yield from _of_path(variable, variable == own, parts, where, _PATHS[signal])


def _of_path(variable: str, is_own: bool, parts: SplitResult, where: str, path: str) -> Iterator[str]:
    given = parts.path.rstrip("/")
    if is_own and not given:
        yield (
            f"{variable} ({where}) has no path, and is used as it is: a collector takes them at {where}{path}"
        )
    doubled = next((known for known in _PATHS.values() if given.endswith(known)), None)
    if not is_own and doubled is not None:
        right = where if given == doubled else f"{where}/…"
        yield f"{variable} ends in {doubled}, and {path} is appended to it: leave it away, as in {right}"


def _of_timeout(environ: Mapping[str, str], signal: Signal) -> Iterator[str]:
    for variable in (f"OTEL_EXPORTER_OTLP_{signal}_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"):
        if value := environ.get(variable, "").strip():
            if float(value) > _LONG:
                yield f"{variable}{environment.shown(value)} counts seconds here, not milliseconds"
            return
