"""What of the OTEL_* environment can work, but is hardly meant: in sentences with what would be right."""

from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import SplitResult, urlsplit

from guardproxy_tracing import environment, names
from guardproxy_tracing.environment import Signal

_PATHS: Final[Mapping[Signal, str]] = {"TRACES": "/v1/traces", "METRICS": "/v1/metrics"}
_PORT_OF_THE_OTHER: Final = {"http/protobuf": (4317, "grpc", 4318), "grpc": (4318, "http/protobuf", 4317)}
_LONG = 600.0  # seconds


def doubts(environ: Mapping[str, str], signal: Signal, *, drawn: bool = False) -> list[str]:
    """The sentences about a signal that is exported, or of spans that are `drawn`; without credentials."""
    used = environment.exporters(environ, signal)
    found = [
        f"{doubt}." for protocol in used if protocol != "console" for doubt in _of(environ, signal, protocol)
    ]
    if signal == "TRACES" and (used or drawn):
        found += [
            f"{names.OPT_IN} has a word{environment.shown(word)} that is not known here: for "
            f" guards there is {names.LATEST_WORD}."
            for word in names.unknown(environ)
        ]
    return found


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
